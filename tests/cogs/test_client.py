"""Logging in and staying: what ends the program, what is tried again, what is only said."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock
from urllib.parse import parse_qs, urlsplit

import aiohttp
import discord
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cogs_doubles import (
    ALICE,
    REQUEST,
    STARTED,
    PaperTransport,
    ScriptedTurns,
    double,
    http_error,
    interaction_of,
    lantern_of,
    partial_channel,
)
from discord import http
from discord.http import Route
from discord.webhook.async_ import async_context, interaction_response_params
from discord_double import DiscordDouble
from discord_shapes import BOT, TOKEN
from structlog.testing import capture_logs
from virtual_time import play

from bot.domain.errors import BotError, ConfigError, HostUnreachable
from bot.domain.events import TextDelta
from bot.policy.pacing import CREATION
from cogs._boards import NOTE as BOARDS
from cogs._languages import CommandNames
from cogs._missed import MissedChanges
from cogs._pings import NOTE as PINGS
from cogs.client import (
    DiscordFace,
    DiscordRules,
    FirstResponses,
    LanternBot,
    ShardedBot,
    WantsShards,
)
from cogs.closing import Closing
from cogs.identity import identify

Ends = list[BaseException | None]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> tuple[Ends, list[tuple[float, bool]]]:
    """How each start ends, and when each was made with or without message content."""
    ends: Ends = []
    made: list[tuple[float, bool]] = []

    async def start(self: LanternBot, token: str, *, reconnect: bool = True) -> None:
        assert isinstance(async_context.get(), FirstResponses)
        made.append((asyncio.get_running_loop().time(), self.intents.message_content))
        if ends and (end := ends.pop(0)) is not None:
            raise end
        await asyncio.sleep(10_000)

    monkeypatch.setattr(LanternBot, "start", start)
    return ends, made


def serve_for(seconds: float) -> None:
    async def story() -> None:
        face = DiscordFace(lantern_of(), DiscordRules())
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(face.serve("token"))
            await asyncio.sleep(seconds)
            serving.cancel()

    play(story())


@pytest.mark.parametrize("end", [discord.LoginFailure("no")])
def test_a_refused_token_ends_the_program_in_words(
    starts: tuple[Ends, list[tuple[float, bool]]], end: BaseException
) -> None:
    starts[0].append(end)
    with pytest.raises(ConfigError, match="Discord refuses this bot token"):
        play(DiscordFace(lantern_of(), DiscordRules()).serve("token"))


def test_without_the_privilege_it_goes_on_without_message_content(
    starts: tuple[Ends, list[tuple[float, bool]]],
) -> None:
    ends, made = starts
    ends.append(discord.PrivilegedIntentsRequired(None))
    serve_for(10.0)
    assert [reads for _, reads in made] == [True, False]


@pytest.mark.parametrize("module", [discord.client, discord.shard])
def test_a_cut_line_is_tried_again_within_half_a_minute_however_long_it_was_cut(
    module: Any,
) -> None:
    pauses = [module.ExponentialBackoff(integral=False) for _ in range(8)]
    waited = [[backoff.delay() for _ in range(14)] for backoff in pauses]
    assert max(map(max, waited)) == 30.0  # 17 minutes would have been drawn from
    assert all(each[0] <= 2.0 for each in waited)


@pytest.mark.parametrize("module", [discord.client, discord.shard])
def test_after_a_line_that_stood_two_minutes_its_next_cut_is_tried_again_at_once(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("discord.backoff.time", SimpleNamespace(monotonic=lambda: now))
    pauses = [module.ExponentialBackoff(integral=False) for _ in range(8)]
    waited: list[float] = []
    for _ in range(10):
        # What one try and the pause before it last at most is no line that stood.
        now += 90.0
        waited += [backoff.delay() for backoff in pauses]
    assert max(waited) == 30.0
    now += 121.0
    assert max(backoff.delay() for backoff in pauses) <= 2.0


@pytest.mark.parametrize(
    ("told_ago_s", "free_at"),
    # Near its end as long as the network's jitter may be: a call that comes too early is refused.
    [(0.0, 5.0), (3.5, 5.0), (4.95, 4.95 + CREATION.margin_s), (9.0, 9.0)],
)
def test_a_limit_that_is_used_up_is_waited_for_from_when_it_was_told(
    told_ago_s: float, free_at: float
) -> None:
    answer: Any = SimpleNamespace(
        headers={
            "X-Ratelimit-Limit": "2",
            "X-Ratelimit-Remaining": "1",
            "X-Ratelimit-Reset-After": "5.0",
        }
    )

    async def story() -> float:
        limit = http.Ratelimit(None)
        async with limit:
            limit.update(answer)
        await asyncio.sleep(told_ago_s)
        with suppress(ConnectionResetError):
            # The last one, which fails and tells nothing.
            async with limit:
                raise ConnectionResetError
        return asyncio.get_running_loop().time()

    assert play(story()) == pytest.approx(free_at)


class Callbacks:
    """Discord's answers to an interaction's first response; each is given once, None cuts."""

    def __init__(self, *codes: int | None) -> None:
        self.codes = [*codes]
        self.bodies: list[Any] = []
        self.leaving: aiohttp.ClientSession | None = None
        """Closed as the first response comes."""

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[str]:
        app = web.Application()
        app.router.add_post("/interactions/{id}/{token}/callback", self._meet)
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")

    async def _meet(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        if self.leaving is not None:
            await self.leaving.close()
        code = self.codes.pop(0)
        if code is None and request.transport is not None:
            request.transport.abort()
        told = {"interaction": {"id": "7", "type": 2, "response_message_id": "8"}}
        body = json.dumps({"code": code, "message": "Refused"} if code else told).encode()
        # With a charset behind its type the library takes it for plain text.
        headers = {"Content-Type": "application/json"}
        return web.Response(body=body, status=400 if code else 200, headers=headers)


async def deferred(
    callbacks: Callbacks, monkeypatch: pytest.MonkeyPatch, *, leaves: bool = False
) -> object:
    """Defers an interaction as a command does; gives what Discord tells of it."""
    async with callbacks.listening() as url, aiohttp.ClientSession() as session:
        monkeypatch.setattr(Route, "BASE", url)
        callbacks.leaving = session if leaves else None
        params = interaction_response_params(type=5)
        told = await FirstResponses().create_interaction_response(
            7, "token", session=session, params=params
        )
    return told["interaction"]["id"], told["interaction"].get("response_message_id")


@pytest.mark.parametrize(
    ("answers", "message"),
    # Taken with the answer lost on its way, and lost before Discord took it.
    [((None, 40060), None), ((None, 0), "8"), ((None, None, 0), "8")],
)
async def test_a_first_response_whose_answer_was_lost_is_given_again(
    answers: tuple[int | None, ...], message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks = Callbacks(*answers)
    assert await deferred(callbacks, monkeypatch) == ("7", message)
    assert callbacks.codes == []
    assert all(body == callbacks.bodies[0] for body in callbacks.bodies)


async def test_an_interaction_that_another_process_answered_is_not_taken_for_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(discord.HTTPException):
        await deferred(Callbacks(40060), monkeypatch)


async def test_a_line_that_stays_cut_ends_a_first_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callbacks = Callbacks(None, None, None, 0)
    with pytest.raises(aiohttp.ClientError):
        await deferred(callbacks, monkeypatch)
    assert callbacks.codes == [0]


async def test_a_first_response_that_we_cut_ourselves_as_we_leave_is_not_given_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given again it met a closed session, which was logged as a fault of ours.
    with pytest.raises(aiohttp.ClientError):
        await deferred(Callbacks(None, 0), monkeypatch, leaves=True)


def closed_with(code: int) -> discord.ConnectionClosed:
    socket = double(aiohttp.ClientWebSocketResponse)
    return discord.ConnectionClosed(socket, shard_id=None, code=code)


@pytest.mark.parametrize("end", [closed_with(4011), WantsShards()])
def test_in_too_many_servers_for_one_connection_it_goes_on_over_several_at_once(
    starts: tuple[Ends, list[tuple[float, bool]]], monkeypatch: pytest.MonkeyPatch, end: Exception
) -> None:
    ends, made = starts
    ends += [end, discord.PrivilegedIntentsRequired(None), OSError()]
    kinds: list[bool] = []
    original = LanternBot.start

    async def start(self: LanternBot, token: str, *, reconnect: bool = True) -> None:
        kinds.append(isinstance(self, discord.AutoShardedClient))
        await original(self, token, reconnect=reconnect)

    monkeypatch.setattr(LanternBot, "start", start)
    serve_for(10.0)
    assert kinds == [False, True, True, True]
    assert [at for at, _ in made] == [0.0, 0.0, 0.0, 1.0]
    assert [reads for _, reads in made] == [True, True, False, False]


def test_a_token_refused_in_the_middle_ends_the_program_too(
    starts: tuple[Ends, list[tuple[float, bool]]],
) -> None:
    starts[0].append(closed_with(4004))
    with pytest.raises(ConfigError, match="Discord refuses this bot token"):
        play(DiscordFace(lantern_of(), DiscordRules()).serve("token"))


@pytest.mark.parametrize(
    ("advice", "wants_more"),
    [((2, "", None), True), ((1, "", None), False), (discord.GatewayNotFound(), False)],
)
async def test_as_many_connections_as_discord_advises_are_made(
    advice: object, *, wants_more: bool
) -> None:
    for kind in (LanternBot, ShardedBot):
        bot = kind(DiscordFace(lantern_of(), DiscordRules()), reads_content=True)
        bot.tree.sync = AsyncMock(return_value=[])
        bot.http.get_bot_gateway = AsyncMock(side_effect=[advice])
        async with bot:
            if wants_more and kind is LanternBot:
                with pytest.raises(WantsShards):
                    await bot.setup_hook()
            else:
                await bot.setup_hook()


@pytest.fixture
async def bot(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[LanternBot, Any]]:
    """Logged in, with what closes the questions of before written down."""
    closing = AsyncMock(spec=Closing)
    monkeypatch.setattr("cogs.client.Closing", Mock(return_value=closing))
    lantern = lantern_of()
    await lantern.notes.put(PINGS, json.dumps([ALICE]))
    await lantern.notes.put(BOARDS, json.dumps([[5, 7, 100]]))
    made = LanternBot(DiscordFace(lantern, DiscordRules()), reads_content=True)
    made.tree.sync = AsyncMock(return_value=[])
    made.http.get_bot_gateway = AsyncMock(return_value=(1, "", None))
    async with made:
        await made.setup_hook()
        yield made, closing


async def test_before_it_connects_it_remembers_who_is_pinged_its_boards_and_what_was_left(
    bot: tuple[LanternBot, Any],
) -> None:
    made, closing = bot
    face = made._face  # pyright: ignore[reportPrivateUsage]  # which outlives the connection
    assert face.replies.pings.wants(ALICE)
    client = double(discord.Client)
    client.get_partial_messageable.return_value = partial_channel()
    assert await face.boards.take_down(client, 5)
    assert isinstance(made.tree.translator, CommandNames)
    # And nothing is closed or heard before there is a connection.
    assert [call[0] for call in closing.mock_calls] == ["collect"]


async def test_left_questions_are_closed_once_and_missed_ones_heard_with_every_session(
    bot: tuple[LanternBot, Any],
) -> None:
    made, closing = bot
    for _ in range(2):
        await made.on_ready()
    told = [call[0] for call in closing.mock_calls]
    assert told == ["collect", "run", "hear_missed", "hear_missed"]


async def test_with_every_session_what_was_deleted_before_it_is_looked_for(
    bot: tuple[LanternBot, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, closing = bot
    face = made._face  # pyright: ignore[reportPrivateUsage]  # which outlives the connection
    turns: Any = face.lantern.turns
    turns.store.newest_questions = {"7": ("41",)}
    missed = AsyncMock(spec=MissedChanges)
    monkeypatch.setattr(face.again, "missed", missed)
    order = Mock()
    order.attach_mock(missed.begin_session, "begin_session")
    order.attach_mock(closing.hear_missed, "hear_missed")
    order.attach_mock(missed.tell, "tell")
    for _ in range(2):
        await made.on_ready()
    # Who waits is told before anything is looked for.
    assert [call[0] for call in order.mock_calls] == ["begin_session", "hear_missed", "tell"] * 2
    assert missed.tell.await_args.args == (made, {"7": ("41",)})


def test_the_line_under_its_name_is_said_again_where_a_session_goes_on() -> None:
    async def story() -> list[float]:
        face, said = DiscordFace(lantern_of(), DiscordRules()), list[float]()
        made: Any = LanternBot(face, reads_content=True)
        made.is_closed = lambda: False

        async def change(**_: object) -> None:
            said.append(asyncio.get_running_loop().time())

        made.change_presence = change
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(face.presence.keep())
            for _ in range(2):
                await made.on_resumed()
                await asyncio.sleep(30.0)
            keeping.cancel()
        return said

    assert play(story()) == [0.0, 30.0]


async def test_whoever_presses_in_private_is_known_by_their_language_after_the_next_start() -> None:
    lantern, press = lantern_of(), interaction_of(guild=None)
    press.locale = discord.Locale.german
    await LanternBot(DiscordFace(lantern, DiscordRules()), reads_content=True).on_interaction(press)
    later = DiscordFace(lantern, DiscordRules())
    bot = LanternBot(later, reads_content=True)
    bot.tree.sync = AsyncMock(return_value=[])
    bot.http.get_bot_gateway = AsyncMock(return_value=(1, "", None))
    await bot.setup_hook()
    assert later.readers.locale_at(bot, 7) == "de"
    await bot.close()


@pytest.mark.parametrize(("count", "logged"), [(None, 1), (3, 3)])
async def test_how_many_connections_there_are_is_logged(
    bot: tuple[LanternBot, Any], count: int | None, logged: int
) -> None:
    bot[0].shard_count = count
    with capture_logs() as logs:
        await bot[0].on_ready()
    (line,) = [line for line in logs if line["event"] == "discord connected"]
    assert line["shards"] == logged


async def test_a_sharded_bot_says_its_line_and_takes_commands_on_all_connections() -> None:
    bot: Any = ShardedBot(DiscordFace(lantern_of(), DiscordRules()), reads_content=True)
    assert bot.change_presence.__func__ is discord.AutoShardedClient.change_presence
    assert bot.connect.__func__ is discord.AutoShardedClient.connect
    assert bot.shard_count is None  # Discord says
    async with bot:
        pass  # the library cannot close one that was never entered


def test_an_unreachable_discord_is_tried_again_with_growing_pauses(
    starts: tuple[Ends, list[tuple[float, bool]]],
) -> None:
    ends, made = starts
    ends.extend([aiohttp.ClientConnectionError(), OSError(), http_error(503)])
    serve_for(60.0)
    assert [at for at, _ in made] == [0.0, 1.0, 3.0, 7.0]


@pytest.mark.parametrize("grants_content", [True, False])
async def test_a_token_names_its_bot_its_servers_and_the_link_that_adds_it_to_one(
    monkeypatch: pytest.MonkeyPatch, grants_content: bool
) -> None:
    async with DiscordDouble() as double:
        double.gateway.grants_content = grants_content
        monkeypatch.setattr(Route, "BASE", f"{double.url}/api/v10")
        found = await identify(TOKEN)
        double.servers = ()
        assert (await identify(TOKEN)).servers == ()
    assert (found.name, found.servers) == ("lantern", ("Home",))
    assert found.reads_content is grants_content
    link = urlsplit(found.invite)
    asked = parse_qs(link.query)
    assert (link.netloc, asked["client_id"]) == ("discord.com", [BOT])
    assert asked["scope"] == ["bot applications.commands"]
    wanted = {"read_messages", "send_messages", "send_messages_in_threads"}
    wanted |= {"read_message_history", "attach_files", "embed_links"}
    given = discord.Permissions(int(asked["permissions"][0]))
    assert {name for name, is_on in given if is_on} == wanted


@pytest.mark.parametrize(
    ("trouble", "error"),
    [(discord.LoginFailure("no"), ConfigError), (aiohttp.ClientError(), HostUnreachable)],
)
async def test_a_check_that_cannot_log_in_says_why(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception, error: type[BotError]
) -> None:
    async def login(self: discord.Client, token: str) -> None:
        raise trouble

    monkeypatch.setattr(discord.Client, "login", login)
    with pytest.raises(error, match="Discord"):
        await identify("token")


def test_leaving_lets_replies_show_their_end(
    starts: tuple[Ends, list[tuple[float, bool]]],
) -> None:
    async def story() -> float:
        face = DiscordFace(
            lantern_of(ScriptedTurns((STARTED, TextDelta("Hello"), 3.0))), DiscordRules()
        )
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(face.serve("token"))
            await asyncio.sleep(1.0)
            group.create_task(face.replies.play(REQUEST, PaperTransport()))
            await asyncio.sleep(1.0)
            await face.close(30.0)
            serving.cancel()
        return asyncio.get_running_loop().time()

    assert 4.0 < play(story()) < 10.0


def test_leaving_lets_loads_show_their_end_too(
    starts: tuple[Ends, list[tuple[float, bool]]],
) -> None:
    left: list[float] = []

    async def story() -> None:
        face = DiscordFace(lantern_of(), DiscordRules())
        loads = face.loads

        async def leave(limit_s: float) -> bool:
            left.append(limit_s)
            return True

        object.__setattr__(loads, "leave", leave)
        await face.close(30.0)

    play(story())
    assert left == [30.0]
