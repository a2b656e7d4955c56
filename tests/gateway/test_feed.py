"""The ring of events and those who read it too slowly, over sockets."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from clocks import LoopClock

from bot.gateway.errors import Problem
from bot.gateway.events import BACKLOG, COMMENT_S, LOOK_S, RING, Admit, Feed
from tests.gateway.gate import Viewer


@dataclass(slots=True)
class Stand:
    """A feed on a server of its own."""

    feed: Feed
    address: str
    session: aiohttp.ClientSession

    @asynccontextmanager
    async def viewer(self, last_id: int | None = None) -> AsyncGenerator[Viewer]:
        headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
        async with self.session.get(self.address, headers=headers) as got:
            seen = Viewer(got.content)
            if last_id is None:
                assert (await seen.next())["type"] == "snapshot"
            yield seen


async def _anybody(_: web.Request) -> None: ...


@asynccontextmanager
async def stand(admit: Admit = _anybody) -> AsyncGenerator[Stand]:
    async def prepare() -> Callable[[], dict[str, object]]:
        return lambda: {"whole": True}

    feed = Feed(prepare, lambda: datetime(2026, 11, 21, tzinfo=UTC))
    app = web.Application()
    app.router.add_get("/", partial(feed.serve, admit))
    app.on_shutdown.append(feed.close)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield Stand(feed, str(server.make_url("/")), session)


@pytest.mark.slow
async def test_a_slow_viewer_loses_events_and_is_sent_a_new_snapshot() -> None:
    async with stand() as it, it.viewer() as slow, it.viewer() as quick:
        # More than the buffers of both sockets and of both libraries hold.
        for number in range(1500):
            it.feed.publish("test", number=number, filling="x" * 20_000)
            if number % 50 == 49:
                # The quick one reads on meanwhile: nobody waits for the slow one.
                await quick.until("test", number=number)
        while slow.kinds.count("snapshot") < 2:
            await slow.next()
        numbers = [event["number"] for event in slow.seen if event["type"] == "test"]
        assert 0 < len(numbers) < 1500
        assert numbers == sorted(numbers)
        it.feed.publish("test", number=-1)
        await slow.until("test", number=-1)
        assert quick.kinds.count("snapshot") == 1


async def test_exactly_so_many_events_wait_for_a_viewer_and_one_more_is_too_many() -> None:
    async with stand() as it, it.viewer() as seen:
        for number in range(BACKLOG):
            it.feed.publish("test", number=number)
        await seen.until("test", number=BACKLOG - 1)
        assert len(seen.seen) == 1 + BACKLOG
        for _ in range(BACKLOG + 1):
            it.feed.publish("test")
        assert (await seen.next())["type"] == "snapshot"


async def test_whoever_was_away_for_more_than_is_kept_gets_a_snapshot() -> None:
    async with stand() as it:
        async with it.viewer() as seen:
            pass
        for number in range(RING + 1):
            it.feed.publish("test", number=number)
        async with it.viewer(seen.last_id + 1) as just:
            assert (await just.next())["number"] == 1
            await just.until("test", number=RING)
            it.feed.publish("test", number=-1)
            assert (await just.next())["number"] == -1
        async with it.viewer(seen.last_id) as late:
            assert (await late.next())["type"] == "snapshot"
        async with it.viewer(just.last_id + 1) as ahead:
            assert (await ahead.next())["type"] == "snapshot"


async def test_what_is_only_shown_has_no_number_and_is_not_told_again() -> None:
    async with stand() as it:
        async with it.viewer() as seen:
            it.feed.show("state", hosts=[])
            await seen.until("state")
            it.feed.publish("test")
            await seen.until("test")
        async with it.viewer(seen.last_id - 1) as again:
            assert (await again.next())["type"] == "test"


async def test_a_server_that_stops_ends_its_viewers() -> None:
    async with stand() as it, it.viewer() as seen:
        await it.feed.close()
        assert (await seen.content.read()).strip() == b""


async def test_words_that_no_utf8_holds_stop_no_event() -> None:
    async with stand() as it, it.viewer() as seen:
        it.feed.publish("test", words="\ud800 and \U0001f3ee")
        assert json.dumps((await seen.until("test"))["words"])


async def test_nothing_is_made_for_nobody_and_whoever_comes_back_later_gets_a_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stand() as it:
        assert not it.feed.is_heard()
        it.feed.publish("test", number=-1)
        async with it.viewer() as first:
            assert it.feed.is_heard()
            it.feed.publish("test", number=0)
            await first.until("test", number=0)
        # Gone for a moment: what happens is kept for it.
        it.feed.publish("test", number=1)
        async with it.viewer(first.last_id) as again:
            assert (await again.next())["number"] == 1
            monkeypatch.setattr("bot.gateway.events.KEPT_S", 0.0)
        while it.feed.viewers:  # noqa: ASYNC110  # nothing tells of one who left
            await asyncio.sleep(0)
        assert not it.feed.is_heard()
        it.feed.publish("test", number=2)
        # Also where nothing had been told since its snapshot.
        async with it.viewer(again.last_id) as late:
            assert (await late.next())["type"] == "snapshot"


@pytest.mark.parametrize("has_news", [True, False])
async def test_whoever_may_not_stay_is_told_no_more_but_why(
    loop_clock: LoopClock, has_news: bool
) -> None:
    asked = 0
    is_over = False

    async def admit(_: web.Request) -> None:
        nonlocal asked
        asked += 1
        if is_over:
            raise Problem(401, "It is over.", "invalid_api_key")

    async with stand(admit) as it, it.viewer() as seen:
        await loop_clock.armed(LOOK_S)
        is_over = True
        if has_news:
            it.feed.publish("test")
        else:
            loop_clock.passes(LOOK_S)
        last = await seen.next()
        told = ("closed", 401, "invalid_api_key", "It is over.")
        assert (last["type"], last["status"], last["code"], last["message"]) == told
        assert (await seen.content.read()).strip() == b""
        assert asked == 2
    assert not it.feed.viewers


async def test_a_line_without_news_shows_life_so_often_and_no_oftener(
    loop_clock: LoopClock,
) -> None:
    async with stand() as it, it.viewer() as seen:
        assert await seen.content.readline() == b"\n"
        for _ in range(2):
            for _ in range(round(COMMENT_S / LOOK_S)):
                await loop_clock.armed(LOOK_S)
                loop_clock.passes(LOOK_S)
            assert await seen.content.readline() == b": still here\n"
            assert await seen.content.readline() == b"\n"
