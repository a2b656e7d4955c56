"""What the check-up says of hosts and personas."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bot.chat.catalog import Catalog
from bot.documents.shelf import PersonaShelf
from bot.domain.hosts import FleetSnapshot, HostSnapshot, Model
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName
from bot.domain.personas import LoadSettings, Persona
from bot.policy.placement import CANNOT_LOAD
from bot.terminal.checkup import Finding, host_findings, persona_findings
from bot.terminal.facts import HOST_COLUMNS, host_row

QWEN = ModelKey("qwen/qwen3-8b")
DEFAULT = PersonaName("default")
UP = HostSnapshot(
    HostName("studio"),
    "10.0.0.2:1234",
    state="up",
    interface="SDK socket",
    version="0.4.1",
    models={QWEN: Model(QWEN, size_bytes=5 * 10**9)},
    memory_bytes=10**10,
    has_token=True,
    lists_only_loaded=True,
)
FLEET = FleetSnapshot({UP.name: UP}, 0.0)


def findings(
    personas: Sequence[Persona], problems: Sequence[str], default: PersonaName
) -> tuple[Finding, ...]:
    return persona_findings(
        FLEET, personas, problems, default, providers=("zai", "openai"), request_types=("code",)
    )


def test_a_good_host_has_one_line() -> None:
    (line,) = host_findings(UP)
    assert line.mark == "ok"
    for part in ("0.4.1", "1 model on disk", "nothing", "JIT off", "given and accepted"):
        assert part in line.text


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        (replace(UP, interface="/api/v1"), "SDK socket is closed"),
        (replace(UP, lists_only_loaded=False), "just-in-time loading is on"),
        (replace(UP, has_token=False), "anyone on the LAN"),
        (replace(UP, memory_bytes=None), "no memory_gb set (largest model: 5.0 GB)"),
        (replace(UP, memory_bytes=None, models={QWEN: Model(QWEN)}), "no memory_gb set: Lantern"),
    ],
)
def test_each_setting_to_change_is_advised(host: HostSnapshot, advice: str) -> None:
    lines = host_findings(host)
    assert any(line.mark == "advice" and advice in line.text for line in lines)


def test_memory_too_small_for_every_chat_model_is_a_warning() -> None:
    # All was green, and each question was told that nobody could answer.
    large, larger, vectors = (
        Model(ModelKey("a"), size_bytes=8 * 10**9),
        Model(ModelKey("b"), size_bytes=9 * 10**9),
        Model(ModelKey("e"), "embedding", size_bytes=10**8),
    )
    host = replace(UP, memory_bytes=4 * 10**9, models={m.key: m for m in (vectors, large, larger)})
    said = [line.text for line in host_findings(host) if line.mark == "warning"]
    assert said == [
        "memory_gb leaves no room to chat: a needs about 9.0 GB, the host has 4.0 GB; nor does any "
        "other of its 2 chat models"
    ]
    one = replace(host, models={large.key: large})
    assert [line.text.endswith("4.0 GB") for line in host_findings(one) if line.mark == "warning"]
    old = replace(one, interface="/api/v0", memory_bytes=None)
    assert not [line for line in host_findings(old) if line.mark == "warning"]
    small = Model(ModelKey("s"), size_bytes=10**9)
    roomy = replace(host, models={**host.models, small.key: small})
    assert not [line for line in host_findings(roomy) if line.mark == "warning"]


@pytest.mark.parametrize(
    ("version", "named"), [("Ollama 0.12.6", "Ollama 0.12.6: not LM Studio"), ("", "speaks /v1")]
)
def test_what_is_no_lm_studio_is_called_by_its_name(version: str, named: str) -> None:
    (line,) = host_findings(replace(UP, interface="/v1", version=version))
    assert line.mark == "warning"
    assert named in line.text
    assert "LM Studio Ollama" not in line.text


def test_every_table_says_of_what_is_no_lm_studio_what_the_check_up_says() -> None:
    other, words = replace(UP, interface="/v1", version="Ollama 0.12.6"), CANNOT_LOAD["/v1"]
    (line,) = host_findings(other)
    snapshot = FleetSnapshot({other.name: other}, 0.0)
    shelf = PersonaShelf(Path("nowhere"), Persona(DEFAULT))
    catalog = Catalog(lambda: snapshot, shelf, lambda _a, _b, _c: ())
    row = dict(zip(HOST_COLUMNS, host_row(other, 0.0), strict=True))
    assert words in line.text
    assert row["state"] == f"up: {words}"
    assert (catalog.option(QWEN).mark, catalog.option(QWEN).seconds) == (words, None)
    assert host_row(replace(other, state="down", reason="gone"), 0.0)[2] == "down: gone"


def test_an_old_lm_studio_with_its_socket_closed_is_told_what_it_lacks() -> None:
    advice = [line.text for line in host_findings(replace(UP, interface="/api/v0"))]
    assert any(CANNOT_LOAD["/api/v0"] in text for text in advice)
    assert not any("loads work" in text for text in advice)


def test_keys_of_a_persona_that_change_nothing_are_told() -> None:
    persona = Persona(
        PersonaName("sage"),
        model=QWEN,
        load=LoadSettings(cpu_threads=8),
    )
    advice = [line.text for line in findings([persona], [], DEFAULT) if line.mark == "advice"]
    assert [text.split()[0] for text in advice] == ["load.cpu_threads"]


def test_a_dead_host_says_where_to_look() -> None:
    host = HostSnapshot(HostName("x"), "x:1", state="down", reason="refused")
    (line,) = host_findings(host)
    assert line.mark == "warning"
    assert "refused" in line.text
    assert "Serve on Local Network" in line.text


@pytest.mark.parametrize(
    ("persona", "mark", "part"),
    [
        (Persona(DEFAULT), "ok", "soonest"),
        (Persona(DEFAULT, model=QWEN), "ok", "uses qwen/qwen3-8b"),
        (Persona(DEFAULT, model=ModelKey("x")), "warning", "no host that answers has x"),
        (Persona(DEFAULT, model=ModelKey("x"), alternatives=(QWEN,)), "warning", "no host has x"),
        (Persona(DEFAULT, model=ModelKey("qwen/qwen3-8")), "warning", "nearest: qwen/qwen3-8b"),
    ],
)
def test_a_persona_says_whether_a_host_can_serve_it(persona: Persona, mark: str, part: str) -> None:
    (line,) = findings([persona], [], DEFAULT)
    assert line.mark == mark
    assert part in line.text


@pytest.mark.parametrize(
    ("persona", "part"),
    [
        (Persona(DEFAULT, cloud=(ProviderName("zia"),)), "cloud names zia, which is no provider"),
        (Persona(DEFAULT, cloud=(ProviderName("zia"),)), "nearest: zai"),
        (Persona(DEFAULT, request_type="cod"), "request_type is cod"),
        (Persona(DEFAULT, request_type="cod"), "nearest: code"),
    ],
)
def test_a_persona_that_names_nobody_is_warned_of(persona: Persona, part: str) -> None:
    _, line = findings([persona], [], DEFAULT)
    assert line.mark == "warning"
    assert part in line.text


@pytest.mark.parametrize(
    ("has_token", "part"), [(False, "as token_env of this host"), (True, "Make a new token")]
)
def test_a_host_that_wants_a_token_is_not_called_switched_off(has_token: bool, part: str) -> None:
    host = HostSnapshot(
        HostName("x"),
        "x:1",
        state="down",
        reason="x:1 wants an API token (HTTP 401).",
        needs_token=True,
        has_token=has_token,
    )
    (line,) = host_findings(host)
    assert part in line.text
    assert "is LM Studio running" not in line.text
    assert ".." not in line.text


def test_broken_files_are_faults() -> None:
    assert findings([], ["sage.yaml:3: odd"], DEFAULT)[0].mark == "warning"


def test_a_default_persona_that_nobody_wrote_is_a_fault() -> None:
    name = PersonaName("sage")
    lines = findings([Persona(name)], [], name)
    assert any("no file defines it" in line.text for line in lines)
