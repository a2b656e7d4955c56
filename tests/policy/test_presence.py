"""The line under the bot's name, for every way a fleet can stand."""

from dataclasses import replace

import pytest

from bot.domain.hosts import HostSnapshot, HostState, Instance, LoadInFlight
from bot.domain.ids import HostName, InstanceId, ModelKey, ProviderName
from bot.policy.presence import Presence, presence_of

ZAI, OPENAI = ProviderName("zai"), ProviderName("openai")


def host(state: HostState = "up", *models: str, leases: int = 0, loads: str = "") -> HostSnapshot:
    instances = tuple(Instance(InstanceId(m), ModelKey(m), leases=leases) for m in models)
    load = LoadInFlight(ModelKey(loads), 0.5, 0.0, None) if loads else None
    return HostSnapshot(HostName("h"), "10.0.0.1:1", state, instances=instances, load=load)


@pytest.mark.parametrize(
    ("hosts", "cloud", "text", "light"),
    [
        ([host("up", "qwen/qwen3-30b"), host(), host("down")], (),
         "2 of 3 hosts · qwen3-30b ready", "online"),
        ([host("up", "b/one", "a/two"), host()], (),
         "2 of 2 hosts · one and 1 more ready", "online"),
        # What answers now goes first, then what more hosts hold.
        ([host("up", "one"), host("up", "two", leases=1)], (),
         "2 of 2 hosts · two and 1 more ready", "online"),
        ([host("up", "one"), host("up", "two"), host("up", "two")], (),
         "3 of 3 hosts · two and 1 more ready", "online"),
        ([*[host("up", "one")] * 102, host("up", "two", leases=1), host("up", "two")], (),
         "104 of 104 hosts · two and 1 more ready", "online"),
        ([host("up", loads="of/q/big")], (), "host up · big is loading", "online"),
        ([host("up", "one", loads="q/big")], (), "host up · one ready", "online"),
        ([host()], (ZAI,), "host up · models load when asked", "online"),
        # What a host that is away still holds, nobody knows.
        ([host("down", "one"), host()], (), "1 of 2 hosts · models load when asked", "online"),
        ([host("down"), host("down")], (ZAI,), "all hosts down · ☁ zai answers", "idle"),
        ([host("down"), host("down")], (ZAI, OPENAI),
         "all hosts down · ☁ zai, openai answer", "idle"),
        ([host("down"), host("down")], (), "all hosts down", "dnd"),
        ([host("down")], (), "host down", "dnd"),
        ([host("draining"), host("draining")], (), "all hosts draining", "dnd"),
        ([host("draining"), host("down")], (), "no host free", "dnd"),
        ([host("unknown"), host("unknown")], (), "all hosts not seen yet", "idle"),
        ([host("unknown"), host("down")], (), "no host free", "idle"),
        ([host("asleep")], (), "host asleep, wakes when asked", "idle"),
        ([host("waking"), host("waking")], (), "all hosts waking up", "idle"),
        ([], (ZAI,), "☁ zai answers", "idle"),
        ([], (), "no hosts yet", "dnd"),
    ],
)  # fmt: skip
def test_it_says_how_the_fleet_stands(
    hosts: list[HostSnapshot], cloud: tuple[ProviderName, ...], text: str, light: str
) -> None:
    assert presence_of(hosts, cloud) == Presence(text, light)  # pyright: ignore[reportArgumentType]  # one of three


def test_a_model_for_vectors_answers_nobody() -> None:
    holder = host("up", "nomic")
    embeds = replace(holder, instances=(replace(holder.instances[0], kind="embedding"),))
    assert "nomic" not in presence_of([embeds]).text


def test_a_name_however_long_stays_within_discords_limit() -> None:
    assert len(presence_of([host("up", "m" * 300)]).text) == 128
    assert len(presence_of([], [ProviderName("p" * 300)]).text) == 128
