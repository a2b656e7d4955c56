"""After a 429 that is not Discord's own nobody calls Discord before it is over."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import discord
import pytest
from aiohttp import web
from cogs_doubles import lantern_of
from discord.http import Route
from virtual_time import play

from cogs._ban import APART_S, TRIES_ITSELF, UNTOLD_S, VOID_S, Ban
from cogs._faults import DiscordFault, fault_of
from cogs.client import DiscordFace, DiscordRules, LanternBot

URL = f"{Route.BASE}/channels/7/messages"
ANSWER = f"{Route.BASE}/interactions/41/token/callback"
HTML = {"Content-Type": "text/html", "Retry-After": "12"}


def leaving(
    *urls: str, status: int = 429, headers: Mapping[str, str] = HTML, again_at: float | None = None
) -> list[float | None]:
    """When calls made together right after that answer may leave; None: never."""

    async def story() -> list[float | None]:
        ban = Ban()
        left: list[float | None] = [None] * len(urls)
        loop = asyncio.get_running_loop()

        async def call(number: int, url: str) -> None:
            try:
                await ban.passed(url)
            except TimeoutError:
                return
            left[number] = round(loop.time(), 3)

        ban.heard(URL, status, headers)
        async with asyncio.TaskGroup() as group:
            for number, url in enumerate(urls):
                group.create_task(call(number, url))
            if again_at is not None:
                await asyncio.sleep(again_at)
                ban.heard(URL, 429, HTML)
        return left

    return play(story())


def test_calls_wait_until_it_is_over_and_leave_one_after_the_other() -> None:
    assert leaving(URL, URL, URL) == [12.0, 12 + APART_S, 12 + 2 * APART_S]


def test_a_second_refusal_on_the_way_puts_it_off_for_those_that_wait() -> None:
    first, second = leaving(URL, URL, again_at=5.0)
    assert first is not None
    assert second is not None
    assert 17.0 <= first < second < 17.5


def test_a_refusal_that_ends_sooner_changes_nothing() -> None:
    async def story() -> float:
        ban = Ban()
        ban.heard(URL, 429, HTML)
        ban.heard(URL, 429, {"Retry-After": "1"})
        await ban.passed(URL)
        return asyncio.get_running_loop().time()

    assert play(story()) == 12.0


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [
        (429, {}, UNTOLD_S),
        (429, {"Retry-After": "Sat, 21 Nov 2026 18:00:00 GMT"}, UNTOLD_S),
        (429, {"Via": "1.1 x", "Retry-After": "3", "Content-Type": "text/html"}, 3.0),
        (429, {"Retry-After": "3", "Content-Type": "application/json"}, 3.0),
        (429, {"Via": "1.1 x", "Retry-After": "3", "Content-Type": "application/json"}, 0.0),
        (503, HTML, 0.0),
    ],
)
def test_what_counts_as_a_ban_and_how_long_it_lasts(
    status: int, headers: Mapping[str, str], waits: float
) -> None:
    assert leaving(URL, status=status, headers=headers) == [waits]


def test_an_interaction_that_will_be_void_is_not_answered_at_all() -> None:
    assert leaving(ANSWER) == [None]
    soon = {"Retry-After": str(VOID_S)}
    assert leaving(ANSWER, headers=soon) == [VOID_S]


def test_other_addresses_are_free() -> None:
    assert leaving("wss://gateway.discord.gg/", "https://cdn.discordapp.com/x") == [0.0, 0.0]


@asynccontextmanager
async def calling(
    status: int, headers: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[tuple[aiohttp.ClientSession, list[str]]]:
    """A session as the library's own client has it, and what reached a Discord of that status."""
    met: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        met.append(request.path)
        return web.Response(status=status, headers=headers, text="<html>")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(Route, "BASE", f"http://127.0.0.1:{runner.addresses[0][1]}/api")
    bot = LanternBot(DiscordFace(lantern_of(), DiscordRules()), reads_content=True)
    try:
        trace = bot.http.http_trace
        assert trace is not None
        trace.freeze()
        async with aiohttp.ClientSession(trace_configs=[trace]) as session:
            yield session, met
    finally:
        await bot.close()
        await runner.cleanup()


async def test_every_call_of_the_librarys_own_client_passes_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with calling(429, {"Retry-After": "3600"}, monkeypatch) as (session, met):
        async with session.get(f"{Route.BASE}/first"):
            pass
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.get(f"{Route.BASE}/second")
    assert met == ["/api/first"]


@pytest.mark.parametrize(
    ("status", "method", "tries_itself", "is_handed_on"),
    [
        (500, "PATCH", True, True),
        (502, "PATCH", True, True),
        (502, "PATCH", False, False),
        # Whether it was made all the same only the library's next try with the same nonce tells.
        (502, "POST", True, False),
        (499, "PATCH", True, False),
    ],
)
async def test_what_its_caller_tries_again_is_not_left_to_the_librarys_pauses(
    status: int,
    method: str,
    tries_itself: bool,
    is_handed_on: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with calling(status, {}, monkeypatch) as (session, met):
        before = TRIES_ITSELF.set(tries_itself)
        outcome: object = None
        try:
            async with session.request(method, f"{Route.BASE}/channels/7/messages/8"):
                pass
        except discord.DiscordServerError as error:
            outcome = fault_of(error)
        TRIES_ITSELF.reset(before)
    assert outcome == (DiscordFault.PASSING if is_handed_on else None)
    assert len(met) == 1
