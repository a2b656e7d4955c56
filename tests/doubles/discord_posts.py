"""The messages of the double as their readers see them, and whoever waits for a change of them."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from discord_shapes import ME, PEOPLE, PERSON, Json, button_ids, message

from bot.app import utcnow

T = TypeVar("T")

_DISCORD_EPOCH_MS = 1_420_070_400_000

HANGS_S = 60.0
"""Only against hanging: beside other work a child took over fifteen seconds for its first line."""


class Changes:
    """Something happened; look again whether it was what you wait for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def until(self, look: Callable[[], T | None], timeout_s: float = HANGS_S) -> T:
        """The first thing ``look`` finds.

        Raises:
            TimeoutError: it found nothing in time.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                changed = self._changed
                if found := look():
                    return found
                await changed.wait()


@dataclass(slots=True)
class Post:
    """One message of the bot: what it reads now, and everything it ever read."""

    id: str
    channel: str
    content: str = ""
    buttons: tuple[str, ...] = ()
    answers: str | None = None
    """The message it replies to."""
    interaction: str | None = None
    """The interaction it responds to."""
    is_loading: bool = False
    nonce: str | None = None
    history: list[str] = field(default_factory=list[str])
    components: list[object] = field(default_factory=list[object])

    def show(self, body: Json) -> None:
        """Takes the fields a call names; the others stay."""
        if "content" in body:
            self.is_loading = False
            self.content = str(body["content"] or "")
            self.history.append(self.content)
        if "components" in body:
            self.components = cast("list[object]", body["components"] or [])
            self.buttons = button_ids(self.components)

    def has_button(self, act: str) -> bool:
        return any(button.startswith(f"lantern:{act}:") for button in self.buttons)

    def payload(self) -> Json:
        payload = message(self.id, self.channel, ME, self.content, self.components)
        payload["flags"] = 1 << 7 if self.is_loading else 0
        if self.answers is not None:
            reference = {"message_id": self.answers, "channel_id": self.channel, "type": 0}
            payload |= {"type": 19, "message_reference": reference}
        if self.interaction is not None:
            cause = {"id": self.interaction, "type": 2, "user": PEOPLE[PERSON]}
            payload["interaction_metadata"] = {**cause, "authorizing_integration_owners": {}}
        return payload


class Posts:
    """All messages of the bot, oldest first."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._posts: dict[str, Post] = {}
        self._counter = itertools.count()

    def __iter__(self) -> Iterator[Post]:
        return iter(tuple(self._posts.values()))

    def new_id(self) -> str:
        """A snowflake of now: a later one is greater."""
        ms = round(utcnow().timestamp() * 1000) - _DISCORD_EPOCH_MS
        return str((ms << 22) | (next(self._counter) & 0x3FFFFF))

    def find(self, post_id: str) -> Post | None:
        return self._posts.get(post_id)

    def create(self, channel: str, body: Json) -> Post:
        reference = body.get("message_reference")
        answers = str(cast(Json, reference)["message_id"]) if reference else None
        nonce = cast("str | None", body.get("nonce"))
        # A create that is sent again gives the message it made the first time.
        for made in self if nonce is not None else ():
            if made.nonce == nonce:
                return made
        post = Post(self.new_id(), channel, answers=answers, nonce=nonce)
        self._posts[post.id] = post
        return self.change(post, body)

    def change(self, post: Post, body: Json) -> Post:
        post.show(body)
        self._changes.tell()
        return post

    def delete(self, post_id: str) -> None:
        self._posts.pop(post_id, None)
        self._changes.tell()

    def answers_to(self, message_ids: Sequence[str]) -> tuple[Post, ...]:
        return tuple(post for post in self if post.answers in message_ids)
