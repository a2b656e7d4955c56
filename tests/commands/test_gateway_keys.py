"""``lantern keys``: made, listed, revoked."""

import json
import math
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bot.commands.keys import FIRST_KEY, add_key, drawn_key, list_keys, revoke_key
from bot.commands.once import built_from, show_usage
from bot.domain.chat import Receipt, Usage
from bot.domain.errors import RequestRefused, UnknownName
from bot.domain.ids import HostName, ModelKey, PersonaName, TurnId, UserId
from bot.policy.keys import LENGTH
from bot.settings import Loaded, load_settings


def loaded(folder: Path) -> Loaded:
    return load_settings(None, {}, folder)


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def made(
    folder: Path,
    name: str = "editor",
    *,
    scopes: tuple[str, ...] = ("inference",),
    models: tuple[str, ...] = ("qwen/*",),
    rate: str | None = None,
    expires: str | None = None,
    daily_usd: float = 1.5,
    as_json: bool = True,
) -> None:
    shown, key = drawn_key(
        name, scopes=scopes, models=models, daily_usd=daily_usd, rate=rate, expires=expires
    )
    await add_key(loaded(folder), shown, key, as_json=as_json)


async def test_a_key_is_shown_once_and_listed_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await made(tmp_path, scopes=("metrics", "inference"), rate="60/min", expires="90d")
    shown = json.loads(capsys.readouterr().out)
    key = shown.pop("key")
    assert len(key) == LENGTH
    await list_keys(loaded(tmp_path), as_json=True)
    said = capsys.readouterr().out
    assert key[16:] not in said
    [listed] = json.loads(said)
    assert listed == shown
    assert listed["scopes"] == ["inference", "metrics"]
    assert (listed["models"], listed["daily_usd"], listed["rate"]) == (["qwen/*"], 1.5, "60/min")
    assert listed["prefix"] == f"{key[:16]}…"
    assert listed["expires"] > listed["created"]
    await list_keys(loaded(tmp_path), as_json=False)
    assert key[16:] not in capsys.readouterr().out


async def test_the_first_key_says_whom_it_shuts_out_and_no_other_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plays = (("a", "one", False, True), ("a", "two", False, False), ("b", "one", True, False))
    for folder, name, as_json, is_told in plays:
        (tmp_path / folder).mkdir(exist_ok=True)
        await made(tmp_path / folder, name, as_json=as_json)
        shown = capsys.readouterr()
        assert (" ".join(FIRST_KEY.split()) in " ".join(shown.err.split())) is is_told
        assert "first key" not in shown.out


async def test_the_list_says_which_key_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    await made(tmp_path, "for-ever")
    await made(tmp_path, "editor", expires="90d")
    capsys.readouterr()
    ends_at = datetime.fromisoformat(await shown_end(tmp_path, capsys))
    for now, is_over in ((ends_at - timedelta(seconds=1), False), (ends_at, True)):
        at = now.replace(microsecond=999_000) if is_over else now
        monkeypatch.setattr("bot.commands.keys.utcnow", lambda at=at: at)
        await list_keys(loaded(tmp_path), as_json=False)
        assert capsys.readouterr().out.count("over since") == is_over


async def shown_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    await list_keys(loaded(folder), as_json=True)
    editor, _ = json.loads(capsys.readouterr().out)
    return str(editor["expires"])


async def test_without_a_key_it_is_said_what_that_means_and_how_one_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "No key yet, so only this machine may use the gateway. Add one: lantern keys add NAME\n"
    where = f"There is no database at {tmp_path / 'lantern.db'}. "
    await list_keys(loaded(tmp_path), as_json=False)
    assert "".join(capsys.readouterr().out.split()) == "".join(f"{where}{words}".split())
    await list_keys(loaded(tmp_path), as_json=True)
    assert json.loads(capsys.readouterr().out) == []
    with pytest.raises(UnknownName, match="no key `editor`"):
        await revoke_key(loaded(tmp_path), "editor")
    # Whoever looks around in a wrong folder leaves nothing there.
    assert files_in(tmp_path) == []
    for is_first in (True, False):
        await made(tmp_path, f"editor {is_first}", as_json=False)
        assert ("a gateway on another" in " ".join(capsys.readouterr().out.split())) is is_first
        await revoke_key(loaded(tmp_path), f"editor {is_first}")
        capsys.readouterr()
    await list_keys(loaded(tmp_path), as_json=False)
    assert capsys.readouterr().out == words


async def test_a_key_is_copied_from_its_own_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await made(tmp_path, as_json=False)
    first, *words = capsys.readouterr().out.splitlines()
    assert len(first) == LENGTH
    assert "only time" in " ".join(words)


async def test_a_revoked_name_is_free_again_and_an_unknown_one_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await made(tmp_path)
    with pytest.raises(RequestRefused, match="already"):
        await made(tmp_path)
    with pytest.raises(UnknownName, match="editor"):
        await revoke_key(loaded(tmp_path), "edtor")
    await revoke_key(loaded(tmp_path), "editor")
    await made(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scopes": ("inference", "root")}, "root"),
        ({"rate": "fast"}, "60/min"),
        ({"expires": "soon"}, "duration"),
        ({"expires": "0"}, "duration"),
        ({"daily_usd": math.nan}, "number of dollars"),
        ({"daily_usd": math.inf}, "number of dollars"),
        ({"daily_usd": 1_000_000.01}, "a million at most"),
        ({"name": " "}, "printable"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "a" * 65}, "printable"),
        ({"models": ("qwen/*", "[")}, "fits any model"),
        ({"models": ("qwen/[ab",)}, "fits any model"),
        ({"models": (" ",)}, "fits any model"),
    ],
)
async def test_a_slip_makes_no_key(
    tmp_path: Path, wrong: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestRefused, match=words):
        await made(tmp_path, **wrong)  # pyright: ignore[reportArgumentType]  # one at a time
    await list_keys(loaded(tmp_path), as_json=True)
    assert json.loads(capsys.readouterr().out) == []


async def test_names_are_as_long_as_they_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b" * 64, "ada's laptop é"):
        await made(tmp_path, name)
        assert json.loads(capsys.readouterr().out)["name"] == name


async def test_usage_names_keys_also_revoked_ones_and_nobody_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await made(tmp_path)
    receipt = Receipt(PersonaName("p"), ModelKey("m"), HostName("one"), usage=Usage(1, 2))
    users = ("gateway:editor", "gateway:loopback", "ada")
    async with built_from(loaded(tmp_path), settle_s=0.0) as built:
        for user in users:
            built.usage.note(TurnId(user), UserId(user), None, receipt, has_text=True)
    await revoke_key(loaded(tmp_path), "editor")
    capsys.readouterr()
    await show_usage(loaded(tmp_path), "today", "user", as_json=True)
    names = {line["name"] for line in json.loads(capsys.readouterr().out)["lines"]}
    assert names > {"editor", "loopback"}
    assert len(names) == 3
    assert "ada" not in names
