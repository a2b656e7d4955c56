"""A persona that was written in a form: shown with its first answer, then saved or not."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import discord
from discord import ui

from bot.chat import words
from bot.chat.lantern import Lantern
from bot.chat.personas import SAMPLE, Sheet
from bot.chat.switch import Switch
from bot.documents.persona_files import changed
from bot.domain.chat import TurnRequest
from bot.domain.errors import BotError, NotPermitted, RequestRefused
from bot.domain.events import Evicting, Failed, Finished, Loading, Queued, TextDelta
from bot.domain.ids import PersonaName
from bot.policy.formulas import plain_formulas
from bot.policy.markup import harmless
from bot.policy.names import shown_name
from bot.policy.personas import Editor
from bot.policy.splitting import LIMIT
from bot.policy.tables import tabled
from cogs._access import Access
from cogs._faults import SENDING_ERRORS, error_words
from cogs._forms import FormKey, clash_words, form_buttons, form_texts
from cogs._languages import told
from cogs._places import place_of, user_id

EDIT_EVERY_S = 1.0
"""Five edits in two seconds are allowed to one interaction; presses need some of them."""

CLOSE_S = 3.0
_SHOWN_ANSWER = 1200


async def kept_words(
    switch: Switch, interaction: discord.Interaction[Any], name: PersonaName, done: str, said: str
) -> str:
    """That a persona is saved or changed, and how it comes to answer here.

    Args:
        switch: Knows who answers here.
        interaction: Where.
        name: The persona's.
        done: ``saved`` or ``changed``.
        said: What else there is to say of it.
    """
    called = shown_name(name)
    how = f"`/persona {called}` lets it answer here."
    # It is kept, whatever cannot be looked up now.
    with suppress(BotError):
        here = await switch.explain(place_of(interaction), user_id(interaction.user))
        how = "It answers here already." if here.persona.name == name else how
    return f"💾 **{called}** is {done}. {how} {said}".rstrip()


class Trial:
    """One person's form, from its opening to a press that saves or discards it."""

    def __init__(
        self,
        lantern: Lantern,
        access: Access,
        key: FormKey,
        sheet: Sheet,
        author: int,
        locale: object = None,
    ) -> None:
        self._locale = locale
        # Below a German line stood an English question, and mostly an English answer.
        self._sample = told(SAMPLE, locale)
        self._personas = lantern.personas
        self._acts = lantern.acts
        self._switch = lantern.switch
        self._settings = lantern.place_settings
        self._usage = lantern.usage
        self._access = access
        self._key = key
        self._sheet = sheet
        self._author = author
        self._texts, too_long = form_texts(sheet.persona, key.part)
        self._notes = [
            told(f"Too long for a form, and left as it is: {label}.", locale) for label in too_long
        ]
        self._answering: asyncio.Timeout | None = None
        self._loading: Loading | None = None
        self._rests = asyncio.Event()
        self._rests.set()
        self._is_over = False
        """Saved or discarded."""
        self._acting = asyncio.Lock()

    def form(self) -> ui.Modal:
        """The form, with what was written last; what is sent comes to ``written``."""
        return self._key.form(shown_name(self._sheet.persona.name), self._texts, self._locale)

    async def written(
        self, interaction: discord.Interaction[Any], texts: Mapping[str, str]
    ) -> None:
        """Takes in what was written, and lets the persona answer once."""
        await self._stop()
        self._texts = dict(texts)
        # A form that comes back from a button changes its message; the first has none yet.
        is_first = interaction.message is None
        await interaction.response.defer(ephemeral=True, thinking=is_first)
        async with self._acting:
            # Saved from another device while it was open: what was typed in it may be saved, too.
            self._is_over = False
        settings = texts.get("settings")
        plain = {key: text for key, text in texts.items() if key != "settings"}
        try:
            persona = changed(self._sheet.persona, plain, settings)
        except RequestRefused as error:
            # What was typed is not lost: Change opens it again.
            await self._show(interaction, told(error_words(error), self._locale), is_open=False)
            return
        user, place = user_id(interaction.user), place_of(interaction)
        self._sheet = await self._personas.written(self._sheet, persona, user, place)
        await self._try(interaction)

    async def _try(self, interaction: discord.Interaction[Any]) -> None:
        """Shows the first answer; a press ends it, its last edit included."""
        self._rests.clear()
        try:
            if (text := await self._answered(interaction)) is not None:
                await self._show(interaction, text)
        finally:
            self._rests.set()

    async def _answered(self, interaction: discord.Interaction[Any]) -> str | None:
        """What is to be shown once it has answered; None where a press came before."""
        try:
            # A question like any other: by the limits of whoever asks, and counted.
            asker = self._access.take(interaction.client, interaction)
            request = TurnRequest(asker.user, "", place_of(interaction), self._sample, asker=asker)
            async with asyncio.timeout(None) as self._answering:
                # Saved while this looked the limits up, it was asked all the same, and its answer
                # written over the word that it was saved.
                await self._settings.admit(request, asker.user)
                return self._laid_out(await self._heard(interaction, request), is_whole=True)
        except TimeoutError:
            return None  # a press came, and shows what it did
        except BotError as error:
            why = error_words(error).removeprefix("❌ ")
            return self._laid_out(told(f"No first answer: {why}", self._locale), is_whole=True)
        finally:
            self._answering = None

    async def _heard(self, interaction: discord.Interaction[Any], request: TurnRequest) -> str:
        """Shows what it answers as it comes; gives the whole.

        Raises:
            BotError: whatever ends a turn.
        """
        text, status, last_s, loop = "", "…", 0.0, asyncio.get_running_loop()
        user, place = request.user, request.place
        editor = Editor(user, is_admin=False)
        async with self._personas.preview(
            self._sheet.persona, place, editor, self._sample
        ) as events:
            async for event in events:
                match event:
                    case TextDelta(text=more):
                        text += more
                    case Queued() | Evicting() | Loading():
                        status = words.progress_line(event)
                        self._loading = event if isinstance(event, Loading) else None
                    case Failed(error=error):
                        raise error
                    case Finished(turn=turn, receipt=receipt):
                        self._usage.note(turn, user, place.server, receipt, has_text=bool(text))
                    case _:
                        pass
                if loop.time() - last_s >= EDIT_EVERY_S:
                    last_s = loop.time()
                    shown = text or told(status, self._locale)
                    await self._show(interaction, self._laid_out(shown, is_whole=False))
        return text

    def _laid_out(self, answer: str, *, is_whole: bool) -> str:
        name = shown_name(self._sheet.persona.name)
        text = tabled(plain_formulas(answer, is_whole=is_whole), is_whole=is_whole)
        shown = harmless(text, is_whole=is_whole).strip()[:_SHOWN_ANSWER]
        quoted = shown.replace("\n", "\n> ")
        unknown = (told(note, self._locale) for note in self._sheet.unknown)
        small = "".join(f"\n-# {note}" for note in (*self._notes, *unknown))
        head = told(
            f"**{name}** is not saved yet. Asked “{self._sample}”, it answers:", self._locale
        )
        return f"{head}\n> {quoted or '…'}{small}"[:LIMIT]

    async def press(self, interaction: discord.Interaction[Any], act: str, editor: Editor) -> None:
        """Saves, opens the form again, or discards.

        Raises:
            NotPermitted: the form is somebody else's.
            BotError: it cannot be saved; it stays open.
        """
        if interaction.user.id != self._author:
            raise NotPermitted("Only the person who wrote this may do that.")
        if act == "change" and not self._is_over:
            await interaction.response.send_modal(self.form())
            return
        await interaction.response.defer()
        await self._stop()
        # Pressed twice, the second was told that nothing had been saved.
        async with self._acting:
            if not self._is_over:
                text = await self._ended(interaction, act, editor)
                self._is_over = True
                said = harmless(told(text, self._locale))[:LIMIT]
                await interaction.edit_original_response(content=said, view=None)

    async def _ended(self, interaction: discord.Interaction[Any], act: str, editor: Editor) -> str:
        """Saves or discards; says what became of it."""
        name = shown_name(self._sheet.persona.name)
        if act == "discard":
            # A load outlives its asker; where nobody else waits, nobody wants this one.
            if (load := self._loading) is not None:
                await self._acts.cancel_load(load.host, load.model)
            return f"Discarded; nothing of **{name}** was saved."
        done = "saved" if self._sheet.changes is None else "changed"
        self._sheet, both = await self._personas.rebased(self._sheet)
        self._texts, _ = form_texts(self._sheet.persona, self._key.part)
        if both and self._sheet.changes is not None:
            # Two had opened one persona: whoever saved last overwrote the other without a word.
            raise RequestRefused(clash_words(self._sheet.changes.persona, both, self._locale))
        try:
            made, said = await self._personas.keep(
                self._sheet, self._key.scope, editor, place_of(interaction)
            )
        except RequestRefused:
            now, _ = await self._personas.rebased(self._sheet)
            if now is self._sheet:
                raise
            # Another Save came in this very instant: what it wrote is looked at like any other's.
            return await self._ended(interaction, act, editor)
        # Sent once more, the form changes what it has just saved.
        self._sheet = self._personas.opened(str(made.persona.name), editor)
        return await kept_words(self._switch, interaction, made.persona.name, done, said)

    async def _stop(self) -> None:
        """Ends the first answer, its last edit included: none may write over what follows."""
        if self._answering is not None:
            self._answering.reschedule(0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._rests.wait()

    async def _show(
        self, interaction: discord.Interaction[Any], text: str, *, is_open: bool = True
    ) -> None:
        acts = ("save", "change", "discard") if is_open else ("change", "discard")
        # Dismissed by its reader, or older than its token: whoever presses is still answered.
        with suppress(*SENDING_ERRORS):
            await interaction.edit_original_response(
                # A persona's name, too, may look like a link to somewhere else.
                content=harmless(text)[:LIMIT],
                view=form_buttons(self._key.ticket, *acts, locale=self._locale),
            )
