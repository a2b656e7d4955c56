"""What the owners are told of, one after the other, none of it lost."""

import asyncio
from collections.abc import Iterable

import pytest
from virtual_time import play

from bot.commands.news import AGAIN_S, LONGEST_PAUSE_S, MOST_NEWS, OwnerNews
from bot.domain.cloud import ProviderChange, ProviderNews
from bot.domain.errors import FailureKind
from bot.domain.events import FleetEvent
from bot.domain.ids import HostName, ModelKey, ProviderName
from bot.policy.outages import PASSING_S, SETTLED_S

ZAI = ProviderName("zai")
Script = Iterable[tuple[float, ProviderChange | FailureKind]]


class Owners:
    """Hears texts, each in a second; away as often as told."""

    def __init__(self, *, away: int = 0) -> None:
        self.heard: list[tuple[float, str]] = []
        self.asked: list[float] = []
        self._away = away

    async def tell(self, text: str) -> bool:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1.0)
        self._away -= 1
        if self._away >= 0:
            return False
        self.heard.append((self.asked[-1], text))
        return True


def news_of(number: int) -> ProviderNews:
    return ProviderNews("trouble", ProviderName(f"p{number}"), reason=f"reason {number}")


def told(owners: Owners, early: int, late: int) -> list[str]:
    """The reasons told when some news are there at first and others come during the first."""

    async def story() -> None:
        news = OwnerNews()
        for number in range(early):
            news.hear(news_of(number))
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(news.tell(owners.tell))
            await asyncio.sleep(0.5)
            for number in range(early, early + late):
                news.hear(news_of(number))
            await asyncio.sleep(2.0 * MOST_NEWS + 6 * AGAIN_S)
            telling.cancel()

    play(story())
    return [text for _, text in owners.heard]


def played(script: Script, owners: Owners | None = None) -> list[tuple[float, str]]:
    """What is told, and when, of one provider's changes; a failure's kind puts it out."""
    owners = owners or Owners()

    async def story() -> None:
        news, clock = OwnerNews(), asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(news.tell(owners.tell))
            for at, what in script:
                await asyncio.sleep(at - clock())
                if isinstance(what, FailureKind):
                    news.hear(ProviderNews("out", ZAI, what, f"It said {what}."))
                else:
                    news.hear(ProviderNews(what, ZAI))
            await asyncio.sleep(10_000)
            telling.cancel()

    play(story())
    return owners.heard


def test_news_that_come_while_the_first_of_many_is_told_cost_no_other_its_place() -> None:
    heard = told(Owners(), MOST_NEWS, 1)
    assert [f"p{n}" in text for n, text in enumerate(heard)] == [True] * (MOST_NEWS + 1)


def test_owners_hear_of_a_copy_that_spilled_and_not_of_every_load() -> None:
    owners = Owners()

    async def story() -> None:
        news = OwnerNews()
        news.hear_host(FleetEvent("model loaded", HostName("studio"), ModelKey("m")))
        news.hear_host(FleetEvent("host resumed", HostName("studio")))
        for what in ("model slow", "model quick"):
            news.hear_host(FleetEvent(what, HostName("studio"), ModelKey("m"), "5.0 where 30.0"))
        news.hear_host(FleetEvent("host resumed", HostName("studio"), reason="its time was over"))
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(news.tell(owners.tell))
            await asyncio.sleep(60.0)
            telling.cancel()

    play(story())
    slow, quick, resumed = (text for _, text in owners.heard)
    assert "`m` on studio has become far slower: 5.0 where 30.0" in slow
    assert "`/fleet unload m`" in slow
    assert "as fast as usual again" in quick
    assert resumed == "🟢 studio takes new turns again: its time was over."


def test_news_wait_while_discord_is_away() -> None:
    heard = told(Owners(away=2), 2, 1)
    assert [f"p{n}" in text for n, text in enumerate(heard)] == [True] * 3


def test_with_every_place_taken_the_oldest_gives_way() -> None:
    heard = told(Owners(away=1), MOST_NEWS, 2)
    assert len(heard) == MOST_NEWS
    assert "p2" in heard[0]


def test_owners_who_cannot_be_told_are_tried_again_ever_less_often() -> None:
    owners = Owners(away=10)
    heard = played([(0.0, "out")], owners)
    pauses = [round(b - a - 1) for a, b in zip(owners.asked, owners.asked[1:], strict=False)]
    assert pauses[:4] == [5, 10, 20, 40]
    assert max(pauses) == LONGEST_PAUSE_S
    assert len(heard) == 1


SERVER, AUTH = FailureKind.SERVER, FailureKind.AUTH


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param(
            [(t, k) for at in (0, 10, 20) for t, k in ((at, SERVER), (at + 5, "back"))],
            [(25 + SETTLED_S, "answers again. It was out for 25 s (3 times)")],
            id="six messages in half a minute are one",
        ),
        pytest.param(
            [(0, SERVER), (300, "passed"), (400, "passed"), (600, "back")],
            [
                (PASSING_S, "has not answered for 60 s: It said server error."),
                (
                    600 + SETTLED_S,
                    "in 10 min 00 s. It left 2 questions to others.",
                ),
            ],
            id="one that lasts is told while it lasts",
        ),
        pytest.param(
            [(0, AUTH), (7200, "back")],
            [(0, "is out: It said auth."), (7200, "for the first time in 2 h 00 min")],
            id="a key is told at once, and so is that it is mended",
        ),
        pytest.param(
            [(0, SERVER), (10, AUTH), (11, "passed")],
            [(10, "is out: It said auth.")],
            id="a key refused within another outage",
        ),
        pytest.param(
            [(0, SERVER), (100, AUTH), (101, AUTH)],
            [(PASSING_S, "has not answered"), (100, "is out: It said auth.")],
            id="a key refused after the outage was told",
        ),
        pytest.param(
            [(0, SERVER), (100, "back"), (110, SERVER), (120, "back")],
            [
                (PASSING_S, "has not answered"),
                (120 + SETTLED_S, "for the first time in 2 min 00 s"),
            ],
            id="a stumble on the way back is no second outage",
        ),
        pytest.param(
            [(0, SERVER), (5, "back"), (5 + SETTLED_S + 2, SERVER), (100, "back")],
            [(5 + SETTLED_S, "out for 5.0 s:"), (100 + SETTLED_S, "out for 33 s:")],
            id="one after the other, well between",
        ),
        pytest.param(
            # Out again in the second in which the first is being told.
            [(0, SERVER), (5, "back"), (5 + SETTLED_S + 0.5, SERVER)],
            [
                (5 + SETTLED_S, "out for 5.0 s:"),
                (5.5 + SETTLED_S + PASSING_S, "has not answered for 60 s: It said server error."),
            ],
            id="out again while it is told",
        ),
        pytest.param([(0, "passed"), (1, "back")], [], id="of who was never out"),
        pytest.param(
            [
                *((at, "passed") for at in (0, 100, 102)),
                (103, SERVER),
                (104, "passed"),
                (110, "back"),
            ],
            [
                (
                    110 + SETTLED_S,
                    "7.0 s: It said server error. It left 3 questions to others.",
                )
            ],
            id="the failures that opened its breaker count",
        ),
    ],
)
def test_an_outage_is_told_once(script: Script, expected: list[tuple[float, str]]) -> None:
    heard = played(script)
    assert [at for at, _ in heard] == [at for at, _ in expected]
    for (_, text), (_, part) in zip(heard, expected, strict=True):
        assert part in text


def test_a_question_that_went_elsewhere_counts_for_each_key_that_is_out() -> None:
    async def story() -> list[str]:
        news, owners = OwnerNews(), Owners()
        for name in ("zai/1", "zai/2", "openai"):
            news.hear(ProviderNews("out", ProviderName(name), AUTH, "Wrong key."))
        news.hear(ProviderNews("passed", ZAI))
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(news.tell(owners.tell))
            await asyncio.sleep(60.0)
            telling.cancel()
        return sorted(text for _, text in owners.heard)

    told = play(story())
    assert ["to others" in text for text in told] == [False, True, True]
    assert "☁ **zai/1** is out" in told[1]


def test_an_outage_that_ended_while_discord_was_away_is_told_as_over() -> None:
    ((at, text),) = played([(0, AUTH), (8, "passed"), (20, "back")], Owners(away=3))
    assert at > 20
    assert "answers again. It was out for 20 s: It said auth. It left 1 question to others." in text
