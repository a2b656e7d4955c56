"""How urgent a client's request is: as its persona says, in the lines of hosts and of providers."""

import asyncio
from dataclasses import replace
from pathlib import Path

from house import QWEN, cloud, house, sim
from relayed import relay

from bot.chat.choices import PLAIN
from bot.domain.events import Progress, Queued
from bot.domain.hosts import Wish
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName
from bot.domain.personas import Persona, Priority
from bot.sim.journal import PredictionStarted

KEY = ModelKey(QWEN.key)
ASKERS: tuple[Priority, ...] = ("low", "normal", "high")
"""As they come."""


def persona_of(priority: Priority) -> Persona:
    return replace(PLAIN, name=PersonaName(priority), priority=priority)


async def test_at_a_host_the_more_urgent_client_goes_first(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN, parallel=1)) as home:
        await home.hosts["one"].preload(QWEN.key)
        one = home.lantern.fleet.host(HostName("one"))
        await one.probe()
        async with asyncio.TaskGroup() as tasks, one.lease(Wish(KEY, user="somebody")) as lease:
            async for _ in lease:
                pass
            for nth, priority in enumerate(ASKERS, start=1):
                asked = relay(
                        home.lantern.relaying, priority, user=f"key:{nth}", model=KEY,
                        persona=persona_of(priority),
                    )  # fmt: skip
                tasks.create_task(asked)
                await one.until(lambda seen, nth=nth: seen.waiting.get(KEY) == nth)
        heard = home.hosts["one"].journal.of(PredictionStarted)
        assert [record.messages[-1].text for record in heard] == ["high", "normal", "low"]


async def test_at_a_provider_the_more_urgent_client_goes_first(tmp_path: Path) -> None:
    personas = {priority: f"priority: {priority}\n" for priority in ASKERS}
    async with house(
        tmp_path,
        personas=dict[str, str](personas),
        providers=cloud(zai="zai"),
        provider_changes={"max_concurrent": 1},
    ) as home:
        (zai,) = home.lantern.providers.deployments(ProviderName("zai"))

        async def unheard(_: int) -> None:
            """Whoever is in waits for no place."""

        await zai.gate.enter("somebody", 0.0, unheard)

        async def asks(nth: int, priority: Priority, waits: asyncio.Event) -> None:
            async def told(step: Progress) -> None:
                if isinstance(step, Queued):
                    waits.set()

            await relay(
                home.lantern.relaying, priority, user=f"key:{nth}", waits=told,
                persona=persona_of(priority),
            )  # fmt: skip

        async with asyncio.TaskGroup() as tasks:
            for nth, priority in enumerate(ASKERS):
                waits = asyncio.Event()
                tasks.create_task(asks(nth, priority, waits))
                await waits.wait()
            zai.gate.leave("somebody")
        sent = [str(call.arrival.payload) for call in home.doubles["zai"].journal.calls]
        assert [next(p for p in ASKERS if p in words) for words in sent] == [
            "high",
            "normal",
            "low",
        ]
