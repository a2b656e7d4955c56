"""What the owners are told of, one after the other, none of it lost."""

import asyncio
from typing import cast

from virtual_time import play

from bot.commands.run import MOST_NEWS, NEWS_AGAIN_S, News
from bot.domain.cloud import ProviderNews
from bot.domain.ids import ProviderName
from cogs.client import DiscordFace


class Owners:
    """Hears texts, each in a second; away as often as told."""

    def __init__(self, *, away: int = 0) -> None:
        self.heard: list[str] = []
        self._away = away

    async def tell_owners(self, text: str) -> bool:
        await asyncio.sleep(1.0)
        self._away -= 1
        if self._away >= 0:
            return False
        self.heard.append(text)
        return True


def news_of(number: int) -> ProviderNews:
    return ProviderNews("out", ProviderName(f"p{number}"), reason=f"reason {number}")


def told(owners: Owners, early: int, late: int) -> list[str]:
    """The reasons told when some news are there at first and others come during the first."""

    async def story() -> None:
        news = News()
        for number in range(early):
            news.hear(news_of(number))
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(news.tell(cast(DiscordFace, owners)))
            await asyncio.sleep(0.5)
            for number in range(early, early + late):
                news.hear(news_of(number))
            await asyncio.sleep(2.0 * MOST_NEWS + 3 * NEWS_AGAIN_S)
            telling.cancel()

    play(story())
    return owners.heard


def test_news_that_come_while_the_first_of_many_is_told_cost_no_other_its_place() -> None:
    heard = told(Owners(), MOST_NEWS, 1)
    assert [f"p{n}" in text for n, text in enumerate(heard)] == [True] * (MOST_NEWS + 1)


def test_news_wait_while_discord_is_away() -> None:
    heard = told(Owners(away=2), 2, 1)
    assert [f"p{n}" in text for n, text in enumerate(heard)] == [True] * 3


def test_with_every_place_taken_the_oldest_gives_way() -> None:
    heard = told(Owners(away=1), MOST_NEWS, 2)
    assert len(heard) == MOST_NEWS
    assert "p2" in heard[0]
