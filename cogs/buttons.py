"""Buttons under replies: Stop and Cancel, then Retry, Continue and Thoughts, at any age."""

import io
from typing import Any, assert_never

import discord
from discord.ext import commands

from bot.domain.chat import TurnKind, TurnRequest
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import TurnId, UserId
from bot.policy.access import check_server
from bot.policy.pacing import Pacers
from bot.policy.splitting import LIMIT, split_reply
from cogs._buttons import view_of
from cogs._loads import Loads
from cogs._places import Admins, interaction_place, user_id
from cogs._reply import Replies
from cogs._response import InteractionTransport
from cogs._say import say, say_error
from cogs._view import Act, restored
from cogs.face import Face

MAX_SHOWN_PARTS = 2
"""Longer thoughts come as a file: one upload instead of a wall of messages."""


class Buttons(commands.Cog):
    """Answers the event ``reply_button``."""

    def __init__(
        self, face: Face, replies: Replies, loads: Loads, pacers: Pacers, admins: Admins
    ) -> None:
        self._face = face
        self._replies = replies
        self._loads = loads
        self._pacers = pacers
        self._admins = admins
        self._under_way: set[tuple[TurnId, TurnKind, UserId]] = set()
        """Buttons whose answer is still being written."""

    @commands.Cog.listener()
    async def on_reply_button(
        self, interaction: discord.Interaction[Any], act: Act, subject: str
    ) -> None:
        """Does what the button says, or says why not."""
        try:
            place = interaction_place(interaction)
            check_server(place.server, self._face.rules.allowed_servers)
            await self._pressed(interaction, act, subject)
        except Exception as error:
            await say_error(interaction, error)

    async def _pressed(self, interaction: discord.Interaction[Any], act: Act, subject: str) -> None:
        match act:
            case Act.HALT:
                await self._loads.halt(interaction, subject, is_admin=self._is_admin(interaction))
            case Act.STOP | Act.CANCEL:
                await self._stop(interaction, act, TurnId(subject))
            case Act.WARM | Act.CLOUD:
                await self._choose(interaction, act, TurnId(subject))
            case Act.RETRY | Act.CONTINUE:
                kind = TurnKind.RETRY if act is Act.RETRY else TurnKind.CONTINUE
                await self._again(interaction, kind, TurnId(subject))
            case Act.THOUGHTS:
                await self._think_aloud(interaction, TurnId(subject))
            case _:
                assert_never(act)

    def _is_admin(self, interaction: discord.Interaction[Any]) -> bool:
        return self._admins.includes(interaction)

    async def _stop(self, interaction: discord.Interaction[Any], act: Act, turn: TurnId) -> None:
        turns = self._face.turns
        asker = turns.asker(turn)
        if asker is None:
            await self._mend(interaction, turn)
            return
        self._check_asker(interaction, asker)
        if act is Act.STOP:
            turns.stop_turn(turn)
        # The press is answered without words: the writer shows the end in the reply itself.
        await interaction.response.defer()
        if act is Act.CANCEL:
            await turns.cancel_load(turn)

    async def _choose(self, interaction: discord.Interaction[Any], act: Act, turn: TurnId) -> None:
        asker = self._face.turns.asker(turn)
        if asker is not None:
            self._check_asker(interaction, asker)
        if not self._face.turns.choose(turn, "warm" if act is Act.WARM else "cloud"):
            raise RequestRefused("That way is not open any more.")
        await interaction.response.defer()

    def _check_asker(self, interaction: discord.Interaction[Any], asker: UserId) -> None:
        if asker != user_id(interaction.user) and not self._is_admin(interaction):
            raise NotPermitted("Only the person who asked, or an admin, may do that.")

    async def _mend(self, interaction: discord.Interaction[Any], turn: TurnId) -> None:
        """A button of a reply that has ended: brings its message in line, or says so."""
        if self._replies.is_writing(turn):
            await interaction.response.defer()  # its last edit is on the way
            return
        stored = await self._face.turns.find(turn)
        looks = restored(stored, has_footer=self._face.rules.has_footer) if stored else ()
        if len(looks) != 1:
            raise RequestRefused("That answer has already ended.")
        await interaction.response.edit_message(content=looks[0].content, view=view_of(looks[0]))

    async def _again(
        self, interaction: discord.Interaction[Any], kind: TurnKind, turn: TurnId
    ) -> None:
        press = (turn, kind, user_id(interaction.user))
        if press in self._under_way:
            # Pressed twice by a nervous finger: one answer is enough.
            await interaction.response.defer()
            return
        self._under_way.add(press)
        try:
            await self._play(interaction, kind, turn)
        finally:
            self._under_way.discard(press)

    async def _play(
        self, interaction: discord.Interaction[Any], kind: TurnKind, turn: TurnId
    ) -> None:
        request = TurnRequest(
            user=user_id(interaction.user),
            user_name=interaction.user.display_name,
            place=interaction_place(interaction),
            text="",
            parent=turn,
            kind=kind,
        )
        await self._replies.play(request, InteractionTransport(interaction, self._pacers))

    async def _think_aloud(self, interaction: discord.Interaction[Any], turn: TurnId) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        stored = await self._face.turns.find(turn)
        thoughts = stored.reasoning_text.strip() if stored is not None else ""
        if not thoughts:
            raise RequestRefused("There are no stored thoughts for that answer.")
        if len(split_reply(thoughts, LIMIT)) <= MAX_SHOWN_PARTS:
            await say(interaction, thoughts)
            return
        file = discord.File(io.BytesIO(thoughts.encode()), "thoughts.md")
        await interaction.followup.send("💭 The thoughts are long:", file=file, ephemeral=True)
