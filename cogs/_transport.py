"""How a reply reaches its readers; here by plain messages, in ``_response`` by an interaction."""

import asyncio
from typing import Any, Protocol

import discord

from bot.policy.pacing import Pacer, Pacers, Writing
from cogs._buttons import view_of
from cogs._view import Look

CALL_S = 60.0
"""Longest one plain call may hang; the library's own retries of a 5xx take 25 seconds."""


class Transport(Protocol):
    """Shows the messages of one reply. Errors are those of ``SENDING_ERRORS``."""

    @property
    def channel_id(self) -> int:
        """Where the messages stand."""
        ...

    def pacers(self, *, is_new: bool) -> tuple[Pacer, ...]:
        """What the next call is paced by: a new message, or a change to one."""
        ...

    async def begin(self) -> int | None:
        """Answers whoever waits; gives the message that is there already, to be filled."""
        ...

    async def show_typing(self) -> None:
        """Shows for about ten seconds that an answer is coming."""
        ...

    async def send(self, part: int, look: Look) -> int:
        """A new message; gives its id."""
        ...

    async def edit(self, message_id: int, look: Look) -> None:
        """Changes a message of this reply."""
        ...

    async def delete(self, message_id: int) -> None:
        """Takes a message of this reply away."""
        ...


class ChannelTransport:
    """Plain messages in a channel, thread or direct message; the first answers ``question``."""

    def __init__(
        self, channel: discord.PartialMessageable, pacers: Pacers, question: int | None = None
    ) -> None:
        self._channel = channel
        self._pacers = pacers
        self._question = question
        self._sent: set[int] = set()

    @property
    def channel_id(self) -> int:
        """Where the messages stand."""
        return self._channel.id

    def pacers(self, *, is_new: bool) -> tuple[Pacer, ...]:
        """Edits share the channel's limit; new messages have one the library waits for."""
        if is_new:
            return (self._pacers.everywhere,)
        now = asyncio.get_running_loop().time()
        return (self._pacers.of_channel(self._channel.id, now), self._pacers.everywhere)

    async def begin(self) -> int | None:
        """Nothing is there yet, and nobody waits for an acknowledgement."""
        return None

    async def show_typing(self) -> None:
        """Shows for about ten seconds that an answer is coming."""
        everywhere, key = self._pacers.everywhere, f"typing in {self._channel.id}"
        now = asyncio.get_running_loop().time()
        # It could as well be left out: it takes a place that is free and waits for none.
        is_free = everywhere.ask(now, key, Writing(ready=1)) <= now
        everywhere.left(key)
        if is_free:
            everywhere.began(now, key)
            await self._channel.typing()

    async def send(self, part: int, look: Look) -> int:
        """A new message; sent again after a lost answer it still comes once, by its nonce."""
        options: dict[str, Any] = {}
        if (view := view_of(look)) is not None:
            options["view"] = view
        if self._question is not None and part not in self._sent:
            options["nonce"] = f"{self._question}.{part}"
            if part == 0:
                options["reference"] = self._reference(self._question)
        async with asyncio.timeout(CALL_S):
            message = await self._channel.send(look.content, suppress_embeds=True, **options)
        self._sent.add(part)
        return message.id

    async def edit(self, message_id: int, look: Look) -> None:
        """Changes a message of this reply."""
        message = self._channel.get_partial_message(message_id)
        async with asyncio.timeout(CALL_S):
            await message.edit(content=look.content, view=view_of(look))

    async def delete(self, message_id: int) -> None:
        """Takes a message of this reply away."""
        async with asyncio.timeout(CALL_S):
            await self._channel.get_partial_message(message_id).delete()

    def _reference(self, question: int) -> discord.MessageReference:
        # The question may be deleted meanwhile; the answer then stands alone.
        return discord.MessageReference(
            message_id=question, channel_id=self._channel.id, fail_if_not_exists=False
        )
