"""Whether any model could ever serve a request."""

from dataclasses import replace
from typing import Any

import pytest

from bot.domain.hosts import (
    FleetSnapshot,
    HostSnapshot,
    HostState,
    Instance,
    Interface,
    Model,
    ModelKind,
)
from bot.domain.ids import AUTO, HostName, InstanceId, ModelKey
from bot.policy.fitness import (
    MOST_ROOM,
    OVERESTIMATE,
    ROOM,
    Need,
    Unfit,
    is_too_old,
    may_come,
    unfit,
    widest,
    window_room,
)


def model(
    name: str, kind: ModelKind = "llm", most: int | None = 1000, *, sees: bool = False
) -> Model:
    return Model(ModelKey(name), kind, max_context_length=most, vision=sees)


def fleet(*models: Model) -> FleetSnapshot:
    host = HostSnapshot(HostName("one"), "10.0.0.1:1", "up", models={m.key: m for m in models})
    return FleetSnapshot({host.name: host}, 0.0)


def need(*names: str, tokens: int = 10, **more: Any) -> Need:
    return replace(Need(tuple(map(ModelKey, names)), tokens), **more)


FLEET = fleet(
    model("plain"),
    model("eyes", "vlm", 4000),
    model("sharp", sees=True),
    model("vectors", "embedding", 500),
    model("unsaid", most=None),
)


def hosts(*found: HostSnapshot) -> FleetSnapshot:
    return FleetSnapshot({host.name: host for host in found}, 0.0)


def a_host(name: str, state: HostState, *models: str) -> HostSnapshot:
    known = {ModelKey(key): model(key) for key in models}
    return HostSnapshot(HostName(name), "10.0.0.1:1", state, models=known)


@pytest.mark.parametrize(
    ("fleet_of", "is_absent"),
    [
        ((a_host("one", "up", "plain"),), True),
        ((a_host("one", "up", "plain"), a_host("two", "draining")), False),
        ((a_host("one", "up"),), True),
        ((a_host("one", "up", "other"),), False),
        ((a_host("one", "up"), a_host("two", "down", "plain")), True),
        ((a_host("one", "up"), a_host("two", "down", "wanted")), False),
        # Nobody knows what they have.
        ((a_host("one", "up"), a_host("two", "down")), False),
        ((a_host("one", "up"), a_host("two", "unknown")), False),
        ((), False),
    ],
)
def test_what_no_host_has_is_absent_once_all_were_looked_at(
    fleet_of: tuple[HostSnapshot, ...], is_absent: bool
) -> None:
    found = unfit(hosts(*fleet_of), need("wanted", "other"))
    assert (found is not None and found.about == "absence") == is_absent
    # A provider may, and whoever asks for any model asks for none that is absent.
    assert unfit(hosts(*fleet_of), need("wanted", is_local=False)) is None
    assert unfit(hosts(*fleet_of), need("wanted", AUTO)) is None


def test_an_absent_model_is_told_with_the_nearest() -> None:
    found = unfit(hosts(a_host("one", "up", "qwen-8b", "zephyr")), need("qwen-9b"))
    assert found == Unfit(
        "absence",
        "No host has `qwen-9b` on its disk: download it in LM Studio, or name another. "
        "Nearest: `qwen-8b`.",
    )


@pytest.mark.parametrize(("interface", "is_absent"), [("/v1", False), ("/api/v0", True)])
def test_a_host_that_may_list_only_what_is_in_memory_may_have_more(
    interface: Interface, is_absent: bool
) -> None:
    host = replace(a_host("one", "up", "plain"), interface=interface)
    assert (unfit(hosts(host), need("wanted")) is not None) == is_absent


def test_a_copy_in_memory_alone_is_there() -> None:
    copy = Instance(InstanceId("wanted"), ModelKey("wanted"))
    host = replace(a_host("one", "up", "plain"), instances=(copy,))
    assert unfit(hosts(host), need("wanted")) is None


@pytest.mark.parametrize(
    ("asked", "about", "words"),
    [
        (need("plain"), None, ""),
        (need("plain", "vectors"), None, ""),
        (need("stranger"), "absence", "No host has `stranger`"),
        (
            need("vectors"),
            "kind",
            "`vectors` is an embedding model. Models that chat: `eyes`, `plain`",
        ),
        (need("vectors", is_embedding=True), None, ""),
        (
            need("plain", is_embedding=True),
            "kind",
            "makes no embeddings. Models that do: `vectors`.",
        ),
        (need(AUTO, is_embedding=True), None, ""),
        (
            need("plain", has_pictures=True),
            "sight",
            "`plain` cannot see pictures. Models that can: ",
        ),
        (need("plain", "eyes", has_pictures=True), None, ""),
        (need("sharp", has_pictures=True), None, ""),
        (need(AUTO, has_pictures=True), None, ""),
        (need("plain", tokens=int(1000 * OVERESTIMATE)), None, ""),
        (need("plain", tokens=int(1000 * OVERESTIMATE) + 1), "size", "reads at most 1,000."),
        (need("plain", tokens=9000, is_local=False), None, ""),
        (need("plain", "eyes", tokens=5200), None, ""),
        (need("plain", "eyes", tokens=5201), "size", "reads at most 4,000."),
        (need("unsaid", tokens=10**9), None, ""),
        (need("unsaid", tokens=131, window=100), "size", "reads at most 100."),
        (need("plain", tokens=131, window=100), "size", "reads at most 100."),
        (need("vectors", tokens=651, is_embedding=True), "size", "reads at most 500."),
    ],
)
def test_what_no_waiting_mends_is_said(asked: Need, about: str | None, words: str) -> None:
    found = unfit(FLEET, asked)
    assert (found.about if found else None) == about
    if found:
        assert words in found.words


def test_of_many_that_can_it_is_said_that_there_are_more() -> None:
    many = fleet(model("vectors", kind="embedding"), *(model(f"chat-{n}") for n in range(7)))
    found = unfit(many, need("vectors"))
    assert found is not None
    assert found.words.endswith("`chat-3`, `chat-4` and 2 more.")


def test_where_nobody_can_nobody_is_named() -> None:
    blind = fleet(model("plain"))
    found = unfit(blind, need(AUTO, has_pictures=True))
    assert found is not None
    assert found.words == "No model here can see pictures."
    found = unfit(blind, need(AUTO, is_embedding=True))
    assert found is not None
    assert found.words == "No model here makes embeddings."
    assert unfit(fleet(), need(AUTO, has_pictures=True)) is None


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        (need("plain"), 1000),
        (need("plain", "eyes"), 4000),
        (need("plain", "vectors"), 1000),
        (need("plain", "unsaid"), None),
        (need("plain", window=1001), 1000),
        (need("plain", window=999), 999),
        (need("stranger"), None),
        (need("stranger", window=7), 7),
    ],
)
def test_the_widest_window_is_that_of_any_model_it_may_go_to(asked: Need, most: int | None) -> None:
    assert widest(FLEET, asked) == most


@pytest.mark.parametrize(
    ("tokens", "most", "limit", "room"),
    [
        (10, 9999, None, (10, ROOM)),
        (10, 9999, 0, (10, ROOM)),
        (10, 9999, 50, (10, 50)),
        (10, 9999, MOST_ROOM, (10, MOST_ROOM)),
        (10, 9999, MOST_ROOM + 1, (10, MOST_ROOM)),
        (10, None, 10**6, (10, MOST_ROOM)),
        (900, 1000, 500, (900, 100)),
        (1000, 1000, 500, (1000, 0)),
        (1300, 1000, 500, (1000, 0)),
        (1301, 1000, 500, (1301, 0)),
    ],
)
def test_a_window_is_chosen_by_the_prompt_and_some_room(
    tokens: int, most: int | None, limit: int | None, room: tuple[int, int]
) -> None:
    assert window_room(need("plain", tokens=tokens), most, limit) == room


def test_an_embedding_needs_no_room() -> None:
    assert window_room(need("vectors", is_embedding=True), 500, 9) == (10, 0)


@pytest.mark.parametrize(
    ("version", "path", "is_old"),
    [
        ("0.3.28", "/responses", True),
        ("0.3.29", "/responses", False),
        ("0.4.0", "/messages", True),
        ("0.4.1+2", "/messages", False),
        ("0.3.28", "/chat/completions", False),
        ("", "/responses", False),
        ("0.3", "/responses", False),
        ("1.0.0", "/messages", False),
    ],
)
def test_a_host_is_too_old_only_where_its_version_says_so(
    version: str, path: str, is_old: bool
) -> None:
    host = HostSnapshot(HostName("one"), "10.0.0.1:1", version=version)
    assert is_too_old(host, path) is is_old


@pytest.mark.parametrize(
    ("state", "models", "version", "may"),
    [
        ("down", ("one",), "", True),
        ("down", ("one",), "0.4.1", True),
        ("down", ("one",), "0.4.0", False),
        ("down", ("two",), "", False),
        # Never looked at: nobody knows what it has.
        ("down", (), "", True),
        ("asleep", ("one",), "", True),
        ("up", ("one",), "", False),
    ],
)
def test_who_is_away_may_come_back_with_what_the_others_lack(
    state: HostState, models: tuple[str, ...], version: str, may: bool
) -> None:
    away = replace(a_host("one", state, *models), version=version)
    there = hosts(away, a_host("two", "up", "one"))
    assert may_come(there, [ModelKey("one")], "/messages") is may
    assert may_come(there, [AUTO], "/messages") is (may or models == ("two",))
    # Each reads a thousand tokens.
    assert may_come(there, [ModelKey("one")], "/messages", 1000) is (may and bool(models))
    assert not may_come(there, [ModelKey("one")], "/messages", 1001)
    untold = replace(
        away,
        models={key: replace(one, max_context_length=None) for key, one in away.models.items()},
    )
    assert may_come(hosts(untold), [ModelKey("one")], "/messages", 1001) is (may and bool(models))
