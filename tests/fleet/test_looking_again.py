"""Hosts that are out are looked at for whoever found nobody: each time, but for a storm."""

import asyncio
import math

from virtual_time import play

from bot.fleet.probing import MOST_SOUGHT, SOUGHT_WITHIN_S, Probing

PROBE_S = 3.0


class Away:
    """A host whose next probe by itself is an hour off; each takes its time."""

    def __init__(self, back_at: float = math.inf) -> None:
        self.probing = Probing(self._probe, lambda _: None if self.is_back else 3600.0)
        self.back_at = back_at
        self.is_back = False
        self.probes, self.sought = list[float](), list[float]()
        self.clock = asyncio.get_running_loop().time

    async def _probe(self) -> None:
        began = self.clock()
        self.probes.append(began)
        await asyncio.sleep(PROBE_S)
        self.is_back = began >= self.back_at

    async def looked(self, *ask_at: float) -> None:
        """People ask at these times."""

        async def ask(at: float) -> None:
            await asyncio.sleep(at)
            await self.probing.again(lambda: self.sought.append(self.clock()))

        async with asyncio.TaskGroup() as hosts:
            running = hosts.create_task(self.probing.run())
            async with asyncio.TaskGroup() as people:
                for at in ask_at:
                    people.create_task(ask(at))
            running.cancel()


def probes(*ask_at: float, back_at: float = math.inf) -> list[float]:
    """When it was probed."""

    async def scene() -> list[float]:
        host = Away(back_at)
        await host.looked(*ask_at)
        assert len(host.sought) == len(host.probes) - 1, "the first is nobody's"
        return host.probes

    return play(scene())


def test_each_question_has_a_host_in_its_pause_tried() -> None:
    assert probes(10.0, 20.0, 30.0) == [0.0, 10.0, 20.0, 30.0]


def test_one_probe_serves_all_who_ask_meanwhile() -> None:
    assert probes(*[10.0] * 50) == [0.0, 10.0]
    # Whoever comes during it waits for it, and for one that began after they came.
    assert probes(10.0, *[11.0] * 50) == [0.0, 10.0, 13.0]


def test_a_probe_that_began_before_the_question_and_failed_is_not_the_last_word() -> None:
    assert probes(1.0, back_at=0.5) == [0.0, PROBE_S]


def test_one_that_is_back_is_not_tried_once_more() -> None:
    assert probes(1.0, 5.0, back_at=0.0) == [0.0]


def test_in_a_storm_the_newest_word_stands() -> None:
    ask_at = [10.0 + n * 0.01 for n in range(5000)]
    found = probes(*ask_at)
    for first, later in zip(found[1:], found[1 + MOST_SOUGHT :], strict=False):
        assert later - first >= SOUGHT_WITHIN_S
    assert len(found) > 2 * MOST_SOUGHT
