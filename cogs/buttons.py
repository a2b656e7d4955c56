"""Buttons under replies: Stop and Cancel, then Retry, Continue, Thoughts, ◀ and ▶, at any age."""

import io
from typing import Any, assert_never, cast

import discord
from discord.ext import commands

from bot.chat import words
from bot.chat.lantern import Lantern
from bot.domain.chat import Turn, TurnKind
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.events import Way
from bot.domain.ids import TurnId, UserId
from bot.policy.code_files import long_code
from bot.policy.splitting import LIMIT, split_reply
from cogs._access import Access
from cogs._again import Again
from cogs._another import PICK, Another
from cogs._faults import say, say_error
from cogs._languages import told
from cogs._loads import Loads
from cogs._places import user_id
from cogs._reply import Replies
from cogs._view import Act, small_line

MAX_SHOWN_PARTS = 2
"""Longer thoughts come as a file: one upload instead of a wall of messages."""


class Buttons(commands.Cog):
    """Answers the event ``reply_button``."""

    def __init__(
        self, lantern: Lantern, access: Access, replies: Replies, loads: Loads, again: Again
    ) -> None:
        self._turns = lantern.turns
        self._access = access
        self._rules = access.rules
        self._replies = replies
        self._loads = loads
        self._again = again
        self._another = Another(lantern, access, again)

    @commands.Cog.listener()
    async def on_reply_button(
        self, interaction: discord.Interaction[Any], act: Act, subject: str
    ) -> None:
        """Does what the button says, or says why not."""
        if not self._replies.questions.is_new(interaction.id):
            return
        try:
            # A button outlives the day on which its place and its person were allowed.
            await self._access.check(interaction.client, interaction)
            await self._press(interaction, act, subject)
        except Exception as error:
            await say_error(interaction, error)
            await self._replies.questions.close(interaction.id)

    @commands.Cog.listener()
    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """A pick of who answers again, in a select of any age; other interactions are not ours."""
        data = cast(dict[str, Any], interaction.data or {})
        mark, _, turn = str(data.get("custom_id", "")).partition(":")
        if mark != PICK or not self._replies.questions.is_new(interaction.id):
            return
        try:
            await self._access.check(interaction.client, interaction)
            await self._another.picked(interaction, TurnId(turn), data["values"][0])
        except Exception as error:
            await say_error(interaction, error)
            await self._replies.questions.close(interaction.id)

    async def _press(self, interaction: discord.Interaction[Any], act: Act, subject: str) -> None:
        turn = TurnId(subject)
        match act:
            case Act.HALT | Act.UNDO:
                of_load = self._loads.halt if act is Act.HALT else self._loads.undo
                await of_load(interaction, subject, self._rules.rights(interaction))
            case Act.STOP | Act.CANCEL:
                await self._stop(interaction, act, turn)
            case Act.WARM | Act.CLOUD:
                await self._go_another_way(interaction, act, turn)
            case Act.RETRY | Act.SEE | Act.CONTINUE | Act.EDITED:
                kind: TurnKind = "continue" if act is Act.CONTINUE else "retry"
                sees, is_edited = act is Act.SEE, act is Act.EDITED
                await self._again.press(interaction, kind, turn, must_see=sees, is_edited=is_edited)
            case Act.OTHER:
                await self._another.offer(interaction, turn)
            case Act.OLDER | Act.NTH | Act.NEWER:
                steps = {Act.OLDER: -1, Act.NEWER: 1}.get(act, 0)
                await self._again.look(interaction, turn, steps)
            case Act.TELL | Act.HUSH:
                await interaction.response.defer(ephemeral=True, thinking=True)
                pings = self._replies.pings
                said = await pings.choose(user_id(interaction.user), is_on=act is Act.TELL)
                await say(interaction, said)
            case Act.THOUGHTS | Act.CODE:
                await interaction.response.defer(ephemeral=True, thinking=True)
                show = self._think_aloud if act is Act.THOUGHTS else self._hand_out
                await show(interaction, await self._turns.store.get(turn))
            case _:
                assert_never(act)

    def _check_asker(
        self, interaction: discord.Interaction[Any], turn: TurnId, author: UserId | None = None
    ) -> bool:
        """Is the turn running? Then only its asker, this author or an admin may go on."""
        asker, user = self._turns.asker(turn), user_id(interaction.user)
        may_go_on = asker is None or user in (asker, author)
        if not may_go_on and not self._rules.is_admin(interaction):
            raise NotPermitted("Only the person who asked, or an admin, may do that.")
        return asker is not None

    async def _go_another_way(
        self, interaction: discord.Interaction[Any], act: Act, turn: TurnId
    ) -> None:
        self._check_asker(interaction, turn)
        way: Way = "warm" if act is Act.WARM else "cloud"
        # First, since what may leave is looked up: a disk that hangs must not make the press fail.
        await interaction.response.defer()
        try:
            await self._turns.check_way(turn, way)
            if not self._turns.choose(turn, way):
                raise RequestRefused("That offer is over; the answer goes on without it.")
            await self._turns.check_taken(turn)
        except RequestRefused:
            self._replies.close_way(turn, way)
            raise

    async def _stop(self, interaction: discord.Interaction[Any], act: Act, turn: TurnId) -> None:
        # Not how it is answered, which whoever pressed pays for.
        if self._check_asker(interaction, turn, self._turns.author(turn)):
            self._turns.stop_turn(turn, cancels_load=act is Act.CANCEL)
            # The press is answered without words: the writer shows the end in the reply itself.
            await interaction.response.defer()
        elif self._replies.is_writing(turn):
            # Its last edit is on the way; one of ours now could cut the answer's end off.
            await interaction.response.defer()
        else:
            # A button that was left over, by a crash or a call that Discord lost: all messages of
            # its answer are brought in line. Which answer is shown is not changed by it.
            answers = await self._turns.store.answers(turn)
            if answers is not None:
                await self._again.look(interaction, answers.shown, 0)
                return
            await interaction.response.edit_message(view=None)
            raise RequestRefused("That answer has already ended.")

    async def _think_aloud(
        self, interaction: discord.Interaction[Any], stored: Turn | None
    ) -> None:
        thoughts = stored.reasoning_text.strip() if stored is not None else ""
        if not thoughts:
            raise RequestRefused("There are no stored thoughts for that answer.")
        receipt = None if stored is None else stored.receipt
        # A provider's thoughts are its words too.
        mark = words.receipt_mark(receipt)
        under = small_line(mark)
        parts = split_reply(thoughts, LIMIT - len(under))
        if len(parts) <= MAX_SHOWN_PARTS:
            for part in parts:
                await say(interaction, f"{part}{under}", is_ours=False)
            return
        file = discord.File(io.BytesIO(thoughts.encode()), "thoughts.md")
        head = told("💭 The thoughts are long:", interaction.locale) + under
        await interaction.followup.send(head, file=file, ephemeral=True)

    async def _hand_out(self, interaction: discord.Interaction[Any], stored: Turn | None) -> None:
        code = () if stored is None else long_code(stored.reply_text)
        if stored is None or not code:
            raise RequestRefused("There is no long code stored for that answer.")
        files = [discord.File(io.BytesIO(each.code.encode()), each.name) for each in code]
        head = told("📄 The code of that answer:", interaction.locale)
        head += small_line(words.receipt_mark(stored.receipt))
        await interaction.followup.send(head, files=files, ephemeral=True)
