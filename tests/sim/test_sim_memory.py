import pytest

from bot.sim.answers import Message
from bot.sim.errors import DoesNotFit, IdentifierInUse
from bot.sim.memory import Instance, LoadOrder, Memory
from bot.sim.models import GB, SimHostConfig, SimModel

SMALL = SimModel("small", 4 * GB, max_context_length=8192)
LARGE = SimModel("large", 9 * GB)
VECTORS = SimModel("vectors", 1 * GB, kind="embedding")


def memory(context_bytes_per_token: int = 0) -> Memory:
    return Memory(
        SimHostConfig(
            models=(SMALL, LARGE),
            memory_bytes=10 * GB,
            context_bytes_per_token=context_bytes_per_token,
        )
    )


def put(target: Memory, model: SimModel, identifier: str | None = None) -> Instance:
    return target.settle(target.reserve(LoadOrder(model, identifier)), 0.0)


def test_copies_of_a_model_are_numbered() -> None:
    host = memory()
    names = [put(host, VECTORS).identifier for _ in range(3)]
    assert names == ["vectors", "vectors:2", "vectors:3"]


def test_a_name_is_taken_from_the_moment_a_load_begins() -> None:
    host = memory()
    host.reserve(LoadOrder(VECTORS, "mine"))
    with pytest.raises(IdentifierInUse):
        host.reserve(LoadOrder(VECTORS, "mine"))


def test_a_load_that_does_not_fit_is_refused_with_its_size() -> None:
    host = memory()
    put(host, SMALL)
    with pytest.raises(DoesNotFit, match=r"9\.00 GB"):
        host.reserve(LoadOrder(LARGE))


def test_loads_in_flight_hold_their_memory_until_given_up() -> None:
    host = memory()
    reserved = host.reserve(LoadOrder(SMALL))
    assert not host.fits(LARGE, 4096)
    host.give_up(reserved)
    assert host.fits(LARGE, 4096)


def test_context_takes_memory_where_the_host_says_so() -> None:
    host = memory(context_bytes_per_token=1_000_000)
    assert host.bytes_needed(SMALL, 4096) == 4 * GB + 4096 * 1_000_000


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({}, 4096),
        ({"llm.load.contextLength": 2048}, 2048),
        ({"llm.load.contextLength": 99_999}, 8192),
        ({"llm.load.contextLength": "many"}, 4096),
    ],
)
def test_the_context_length_is_asked_defaulted_and_capped(
    fields: dict[str, object], context: int
) -> None:
    assert memory().context_of(SMALL, fields) == context


def test_an_instance_is_found_by_identifier_before_key() -> None:
    host = memory()
    first = put(host, SMALL)
    second = put(host, VECTORS, "small-vectors")
    assert host.find("small") is first
    assert host.find("small-vectors") is second
    assert host.find("vectors") is second
    assert host.find(second.reference) is second
    assert host.find("vectors", embedding=False) is None


def test_every_instance_has_its_own_reference() -> None:
    host = memory()
    references = {put(host, VECTORS).reference for _ in range(4)}
    assert len(references) == 4


def test_a_follow_up_shares_the_messages_before_it() -> None:
    instance = put(memory(), SMALL)
    first = (Message("user", "one"), Message("assistant", "two"))
    instance.prefixes.append(first)
    assert instance.cached_messages((*first, Message("user", "three"))) == 2
    assert instance.cached_messages((Message("user", "other"),)) == 0


@pytest.mark.parametrize(
    ("phase", "status"),
    [(None, "idle"), ("processingPrompt", "processingPrompt"), ("generating", "generating")],
)
def test_the_status_follows_the_phases(phase: str | None, status: str) -> None:
    instance = put(memory(), SMALL)
    if phase == "processingPrompt" or phase == "generating":
        instance.phases[phase] += 1
    assert instance.status == status


def test_slots_follow_the_generation_and_the_load_configuration() -> None:
    old = Memory(SimHostConfig(models=(SMALL,), generation="0.3"))
    assert put(old, SMALL).slots.count == 1
    assert put(memory(), SMALL).slots.count == 4
    order = LoadOrder(SMALL, fields={"llm.load.numParallelSessions": 2})
    host = memory()
    assert host.settle(host.reserve(order), 0.0).slots.count == 2
