"""The frame of ``run`` and ``serve``."""

import asyncio
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from patience import GUARD_S
from structlog.testing import capture_logs

from bot.app import Plan
from bot.commands.serve import serve
from bot.commands.service import look_for_twins, until_stopped
from bot.domain.errors import ConfigError
from bot.process.supervisor import Supervisor
from bot.settings import load_settings


async def test_what_check_would_warn_of_a_service_logs_before_it_serves(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("log: {level: debug}")
    loaded = load_settings(None, {"lantern_hosts": "a"}, tmp_path)
    assert len(loaded.warnings) == 2
    before: list[str] = []

    async def play(_: Supervisor, asked: asyncio.Event) -> None:
        before.extend(str(line["warning"]) for line in logs if line["log_level"] == "warning")
        assert not asked.is_set()

    with capture_logs() as logs:
        assert await until_stopped(loaded, {}, play) == 0
    assert tuple(before) == loaded.warnings
    assert logs[-1]["event"] == "stopped"


@pytest.mark.parametrize(
    ("addresses", "twins"),
    [
        ("a.lan:1234,10.0.0.2:1234", ["a.lan:1234 and 10.0.0.2:1234 (10.0.0.2)"]),
        ("[fd00::2]:1,b.lan:1,a.lan:1", ["[fd00::2]:1 and a.lan:1 (fd00::2)"]),
        ("a.lan:1234,10.0.0.2:1235", []),
        ("a.lan:1,b.lan:1,10.0.0.2:2,10.0.0.3:2", []),
        ("alone.lan:7,a.lan:1", []),
        ("gone.lan:1234,a.lan:1234,b.lan:1234", []),
        ("[fd00::2]:1,[fd00:0::2]:1", ["[fd00::2]:1 and [fd00:0::2]:1 (fd00::2)"]),
        # A resolver that hangs withholds nothing that is known without it.
        ("hangs.lan:1,a.lan:1,10.0.0.2:1", ["a.lan:1 and 10.0.0.2:1 (10.0.0.2)"]),
    ],
)
async def test_one_machine_named_twice_is_warned_of_as_soon_as_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: str, twins: list[str]
) -> None:
    known = {"a.lan": ["10.0.0.2", "fd00::2"], "b.lan": ["10.0.0.3"], "gone.lan": []}

    async def found(name: str, port: int, **_how: int) -> list[object]:
        assert name != "alone.lan", "no other has its port"
        if name == "hangs.lan":
            await asyncio.Event().wait()
        if not (at := known[name]):
            raise socket.gaierror
        return [(0, 0, 0, "", (address, port)) for address in at]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    loaded = load_settings(None, {"LANTERN_HOSTS": addresses}, tmp_path)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(look_for_twins(loaded))
            for _ in range(3):
                await asyncio.sleep(0)
            looking.cancel()
    told = [str(line["warning"]).split(": name it")[0] for line in logs if "warning" in line]
    assert [words.replace(" are the same machine and port", "") for words in told] == twins


async def test_a_resolver_that_hangs_holds_up_neither_start_nor_stop_of_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, asked = asyncio.get_running_loop(), asyncio.Event()

    async def found(*_name: object, **_how: int) -> list[object]:
        asked.set()
        return await asyncio.Event().wait()  # pyright: ignore[reportReturnType]  # never

    def stop(*_served: object) -> None:
        # As a supervisor does that changed its mind.
        loop.call_soon(signal.raise_signal, signal.SIGTERM)

    monkeypatch.setattr(loop, "getaddrinfo", found)
    monkeypatch.setattr("bot.commands.serve.FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(Supervisor, "ready", stop)
    (tmp_path / "config.yaml").write_text("gateway: {listen: '127.0.0.1:0'}")
    hosts = {"LANTERN_HOSTS": "a.lan:1,b.lan:1"}
    loaded = load_settings(None, hosts, tmp_path)
    async with asyncio.timeout(GUARD_S):
        assert await serve(loaded, {}, lambda: loaded) == 0
    assert asked.is_set()


async def test_serve_takes_a_key_that_was_changed_as_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It was given nothing to read again, so that there a wrong key lasted until a restart.
    keys = ["old-key-of-zai", "new-key-of-zai"]
    old, new = (load_settings(None, {"Z_AI_API_KEY": key}, tmp_path) for key in keys)
    plans: list[Plan] = []

    def planned(plan: Plan) -> None:
        plans.append(plan)
        raise ConfigError(("far enough",))

    monkeypatch.setattr("bot.commands.serve.lantern", planned)
    with pytest.raises(ConfigError, match="far enough"):
        await serve(old, {}, lambda: new)
    (plan,) = plans
    assert plan.reread is not None
    hidden: list[str] = []
    monkeypatch.setattr("bot.app.hide_also", hidden.extend)
    assert [[c.api_key for c in configs] for configs in (plan.providers, plan.reread())] == [
        keys[:1],
        keys[1:],
    ]
    # A refusal that says the key is logged, and only the old one was known to the log.
    assert hidden == keys[1:]


async def test_a_set_up_without_doubts_warns_of_nothing(tmp_path: Path) -> None:
    async def play(_supervisor: Supervisor, _asked: asyncio.Event) -> None:
        return

    loaded = replace(load_settings(None, {}, tmp_path), warnings=())
    with capture_logs() as logs:
        assert await until_stopped(loaded, {}, play) == 0
    assert [line["event"] for line in logs] == ["stopped"]
