"""A reply as an interaction's response: faster than plain edits, until the token ends."""

import asyncio
from typing import Any

import discord

from bot.policy.pacing import INTERACTION, Pacer, Pacers
from cogs._buttons import view_of
from cogs._faults import Fault, fault_of
from cogs._transport import ChannelTransport
from cogs._view import Look

TOKEN_LIFE_S = 14.5 * 60
"""An interaction's token lives 15 minutes from its creation; plain edits take over before."""


class InteractionTransport:
    """An interaction's response and followups, then plain messages.

    Its calls are never cancelled: the library sleeps inside a lock that a cancelled call would
    leave locked for the rest of the token's life.
    """

    def __init__(self, interaction: discord.Interaction[Any], pacers: Pacers) -> None:
        self._interaction = interaction
        self._own = Pacer(INTERACTION)
        channel = interaction.client.get_partial_messageable(
            interaction.channel_id or 0, guild_id=interaction.guild_id
        )
        self._plain = ChannelTransport(channel, pacers)
        self._ends_at = asyncio.get_running_loop().time() + TOKEN_LIFE_S
        self._original: int | None = None
        self._is_over = False

    @property
    def channel_id(self) -> int:
        """Where the messages stand."""
        return self._plain.channel_id

    def pacers(self, *, is_new: bool) -> tuple[Pacer, ...]:
        """The token's own, for edits and followups alike; the channel's once it has ended."""
        return self._plain.pacers(is_new=is_new) if self._has_ended() else (self._own,)

    async def begin(self) -> int | None:
        """Defers, once: the person sees that somebody thinks."""
        if not self._interaction.response.is_done():
            response = await self._interaction.response.defer(thinking=True)
            self._original = response.message_id if response is not None else None
        return self._original

    async def show_typing(self) -> None:
        """The deferred message says it already."""

    async def send(self, part: int, look: Look) -> int:
        """A followup; the very first message fills the deferred one."""
        if not self._has_ended():
            try:
                return await self._respond(look)
            except discord.HTTPException as error:
                self._go_over(error)
        return await self._plain.send(part, look)

    async def edit(self, message_id: int, look: Look) -> None:
        """Changes a message of this reply."""
        if not self._has_ended():
            try:
                await self._change(message_id, look)
            except discord.HTTPException as error:
                self._go_over(error)
            else:
                return
        await self._plain.edit(message_id, look)

    async def delete(self, message_id: int) -> None:
        """Takes a message of this reply away."""
        await self._plain.delete(message_id)

    async def _respond(self, look: Look) -> int:
        view = view_of(look)
        if self._original is None:
            message = await self._interaction.edit_original_response(
                content=look.content, view=view
            )
            self._original = message.id
            return message.id
        options: dict[str, Any] = {} if view is None else {"view": view}
        followup = self._interaction.followup
        return (await followup.send(look.content, wait=True, suppress_embeds=True, **options)).id

    async def _change(self, message_id: int, look: Look) -> None:
        view = view_of(look)
        if message_id == self._original:
            await self._interaction.edit_original_response(content=look.content, view=view)
        else:
            followup = self._interaction.followup
            await followup.edit_message(message_id, content=look.content, view=view)

    def _has_ended(self) -> bool:
        self._is_over = self._is_over or asyncio.get_running_loop().time() >= self._ends_at
        return self._is_over

    def _go_over(self, error: discord.HTTPException) -> None:
        """Goes over to plain edits when the token is the trouble; raises any other error again."""
        if fault_of(error) is not Fault.EXPIRED:
            raise error
        self._is_over = True
