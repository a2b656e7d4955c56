"""A double of Discord on loopback, for one bot, one server with one channel, and direct messages.

Enough of the gateway and of REST for discord.py 2.7.1 to log in, hear people and write. It checks
no limits and no permissions.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

from aiohttp import web
from discord_gateway import Gateway
from discord_posts import Changes, Post, Posts
from discord_shapes import (
    CHANNEL,
    ME,
    OWNER,
    PEOPLE,
    PERSON,
    TOKEN,
    Json,
    application,
    interaction,
    member,
    said,
    server,
)

BODY = web.RequestKey("body", dict[str, object])
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Call:
    """One REST call of the bot."""

    method: str
    path: str
    body: Json
    at: float
    """When it was read, on the event loop's clock."""


class DiscordDouble:
    """Use as ``async with DiscordDouble() as discord:``."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.changes = Changes()
        self.posts = Posts(self.changes)
        self.gateway = Gateway(self.changes)
        self.commands: list[Json] = []
        """As last announced."""
        self.servers: tuple[str, ...] = ("Home",)
        """Names of the servers that REST says the bot is in."""
        self._answering = asyncio.Event()
        self._answering.set()
        self.may_read_history = True
        self._said: list[Json] = []
        """What people wrote, as history has it."""
        self._deferred: dict[str, Post] = {}
        """The first message of an interaction, by its token."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._meet])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._routes(app.router)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.gateway.url = f"{self.url}/gateway".replace("http", "ws", 1)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answering.set()
        self.gateway.let_in()
        self.gateway.hear_again()
        await self._stack.aclose()

    # --- what people do --------------------------------------------------------------------

    async def say(self, text: str, channel: str = CHANNEL, reply_to: Post | None = None) -> str:
        """A person mentions the bot in the server, or writes to it directly; the message's id."""
        message_id = self.posts.new_id()
        payload = reply_to.payload() if reply_to is not None else None
        event = said(message_id, channel, text, reply_to=payload)
        self._said.append(event)
        await self.gateway.dispatch("MESSAGE_CREATE", event)
        return message_id

    async def repeat(self) -> None:
        """The gateway delivers the last message once more, as after a resume."""
        await self.gateway.dispatch("MESSAGE_CREATE", self._said[-1])

    async def command(self, name: str, options: Mapping[str, object]) -> str:
        """The owner gives a command in the server; the interaction's token."""
        given = [{"name": key, "type": 3, "value": value} for key, value in options.items()]
        data: Json = {"id": "400000000000000001", "name": name, "type": 1, "options": given}
        return await self._interact(interaction(self.posts.new_id(), 2, data, OWNER))

    async def press(self, post: Post, act: str) -> str:
        """A person presses a button of a message; the interaction's token."""
        button = next(name for name in post.buttons if name.startswith(f"lantern:{act}:"))
        data: Json = {"custom_id": button, "component_type": 2, "id": 1}
        pressed = interaction(self.posts.new_id(), 3, data, PERSON)
        return await self._interact({**pressed, "message": post.payload()})

    async def _interact(self, payload: Json) -> str:
        await self.gateway.dispatch("INTERACTION_CREATE", payload)
        return cast(str, payload["token"])

    # --- what people see -------------------------------------------------------------------

    def answer(self, message_id: str) -> Post | None:
        """The bot's first message in reply to a person's."""
        return next(iter(self.posts.answers_to([message_id])), None)

    def response(self, token: str) -> Post | None:
        """The first message of the response to an interaction."""
        return self._deferred.get(token)

    def calls_to(self, last: str) -> Callable[[], Sequence[Call]]:
        """Gives the calls so far whose path ends so."""
        return lambda: [call for call in self.calls if call.path.endswith(f"/{last}")]

    async def until_ready(self) -> None:
        """Waits for the bot to be let in."""
        await self.changes.until(lambda: self.gateway.is_connected)

    def hang(self) -> None:
        """From now on REST takes calls and does not answer, until ``go_on``."""
        self._answering.clear()

    def go_on(self) -> None:
        self._answering.set()

    # --- what the bot calls ----------------------------------------------------------------

    def _routes(self, router: web.UrlDispatcher) -> None:
        api, hook = "/api/v10", "/api/v10/webhooks/{application}/{token}"
        router.add_get("/gateway", self.gateway.handle)
        router.add_get(f"{api}/gateway/bot", self._advice)
        router.add_get(f"{api}/users/@me", self._me)
        router.add_get(f"{api}/users/@me/guilds", self._guilds)
        router.add_get(f"{api}/oauth2/applications/@me", self._application)
        router.add_get(f"{api}/guilds/{{server}}/members/{{user}}", self._member)
        router.add_put(f"{api}/applications/{{application}}/commands", self._announce)
        router.add_post(f"{api}/channels/{{channel}}/messages", self._create)
        router.add_get(f"{api}/channels/{{channel}}/messages", self._history)
        router.add_get(f"{api}/channels/{{channel}}", self._channel)
        router.add_patch(f"{api}/channels/{{channel}}/messages/{{message}}", self._edit)
        router.add_delete(f"{api}/channels/{{channel}}/messages/{{message}}", self._delete)
        router.add_post(f"{api}/channels/{{channel}}/typing", self._nothing)
        router.add_post(f"{api}/interactions/{{interaction}}/{{token}}/callback", self._respond)
        router.add_post(hook, self._follow_up)
        router.add_patch(f"{hook}/messages/{{message}}", self._edit)
        router.add_get(f"{hook}/messages/{{message}}", self._show)

    @web.middleware
    async def _meet(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/api"):
            body: object = await request.json() if request.can_read_body else {}
            held = cast(Json, body) if isinstance(body, dict) else {"list": body}
            request[BODY] = held
            self.calls.append(
                Call(request.method, request.path, held, asyncio.get_running_loop().time())
            )
            self.changes.tell()
            await self._answering.wait()
            if not _may_enter(request):
                return _answer({"message": "401: Unauthorized", "code": 0}, 401)
        return await handler(request)

    async def _advice(self, request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1}
        return _answer({"url": self.url, "shards": 1, "session_start_limit": limit})

    async def _me(self, request: web.Request) -> web.Response:
        return _answer(ME)

    async def _guilds(self, request: web.Request) -> web.Response:
        own: Json = {"icon": None, "owner": False, "permissions": "0", "features": []}
        return _answer([{**server(), **own, "name": name} for name in self.servers])

    async def _application(self, request: web.Request) -> web.Response:
        return _answer(application(grants_content=self.gateway.grants_content))

    async def _announce(self, request: web.Request) -> web.Response:
        announced = cast("list[Json]", request[BODY]["list"])
        ids = range(400_000_000_000_000_001, 400_000_000_000_000_999)
        own: Json = {"application_id": request.match_info["application"], "version": "1"}
        self.commands = [
            # Commands in menus are announced without a description and listed with an empty one.
            {"description": "", **command, **own, "id": str(number)}
            for number, command in zip(ids, announced, strict=False)
        ]
        return _answer(self.commands)

    async def _create(self, request: web.Request) -> web.Response:
        body = request[BODY]
        if "message_reference" in body and not self.may_read_history:
            return _answer({"message": "Cannot reply", "code": 160002}, 400)
        return _answer(self.posts.create(request.match_info["channel"], body).payload())

    async def _history(self, request: web.Request) -> web.Response:
        if not self.may_read_history:
            return _answer({"message": "Missing Access", "code": 50001}, 403)
        channel, after = request.match_info["channel"], int(request.query.get("after", 0))
        ours = [post.payload() for post in self.posts if post.channel == channel]
        people = [message for message in self._said if message["channel_id"] == channel]
        found = [message for message in (*ours, *people) if int(str(message["id"])) > after]
        # Newest first, and without what only the gateway adds.
        found.sort(key=lambda message: int(str(message["id"])), reverse=True)
        bare = [
            {key: part for key, part in message.items() if key not in ("guild_id", "member")}
            for message in found
        ]
        limit = int(request.query.get("limit", 50))
        # With `after` those next to it, else the newest.
        return _answer(bare[-limit:] if after else bare[:limit])

    async def _channel(self, request: web.Request) -> web.Response:
        person = PEOPLE[PERSON]
        return _answer({"id": request.match_info["channel"], "type": 1, "recipients": [person]})

    async def _member(self, request: web.Request) -> web.Response:
        found = member(request.match_info["user"])
        if found is None:
            return _answer({"message": "Unknown Member", "code": 10007}, 404)
        return _answer(found)

    async def _show(self, request: web.Request) -> web.Response:
        post = self._deferred.get(request.match_info["token"])
        if post is None:
            return _answer({"message": "Unknown Webhook", "code": 10015}, 404)
        return _answer(post.payload())

    async def _edit(self, request: web.Request) -> web.Response:
        name = request.match_info["message"]
        if name == "@original":
            post = self._deferred.get(request.match_info["token"])
        else:
            post = self.posts.find(name)
        if post is None:
            return _answer({"message": "Unknown Message", "code": 10008}, 404)
        return _answer(self.posts.change(post, request[BODY]).payload())

    async def _delete(self, request: web.Request) -> web.Response:
        self.posts.delete(request.match_info["message"])
        return await self._nothing(request)

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_HEADERS)

    async def _respond(self, request: web.Request) -> web.Response:
        body = request[BODY]
        told: Json = {"id": request.match_info["interaction"], "type": 2}
        resource: Json = {"type": body["type"]}
        if body["type"] in (4, 5):
            post = self.posts.create(CHANNEL, cast(Json, body.get("data") or {}))
            post.interaction = request.match_info["interaction"]
            post.is_loading = body["type"] == 5
            self._deferred[request.match_info["token"]] = post
            told["response_message_id"] = post.id
            resource["message"] = post.payload()
        return _answer({"interaction": told, "resource": resource})

    async def _follow_up(self, request: web.Request) -> web.Response:
        return _answer(self.posts.create(CHANNEL, request[BODY]).payload())


_HEADERS = {"Via": "1.1 double"}
"""Discord's answers come through a proxy; discord.py takes those that do not for a ban."""


def _may_enter(request: web.Request) -> bool:
    """Interactions carry their right in their address, everything else the bot's token."""
    by_address = request.path.startswith(("/api/v10/interactions/", "/api/v10/webhooks/"))
    return by_address or request.headers.get("Authorization") == f"Bot {TOKEN}"


def _answer(payload: Json | list[Json], status: int = 200) -> web.Response:
    # Exactly this content type: with a charset behind it discord.py does not parse the body.
    body = json.dumps(payload).encode()
    headers = {**_HEADERS, "Content-Type": "application/json"}
    return web.Response(body=body, status=status, headers=headers)
