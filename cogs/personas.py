"""``/personas``: list, show, create, edit, delete, import, export."""

import io
import secrets
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.lantern import Lantern
from bot.chat.personas import Sheet, persona_lines
from bot.documents.cards import MAX_FILE_BYTES, FileKind
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import PersonaName
from bot.domain.personas import PersonaScope
from bot.policy.access import size_words
from bot.policy.names import shown_name
from bot.policy.personas import Editor, check_may_edit
from cogs._access import Access
from cogs._autocomplete import StringChoices, persona_choices
from cogs._faults import SENDING_ERRORS, say, say_error
from cogs._forms import FormBegin, FormKey, FormPart, sent_form
from cogs._languages import told
from cogs._places import owners_of, place_of, user_id
from cogs._questions import Questions
from cogs._trials import Trial, kept_words

MOST_FORMS = 200
"""Forms kept open at once; the oldest is forgotten."""

GONE = "This form is not open any more; nothing was saved. Give the command again."
GIVEN_BACK = "What you wrote is in this file."


class PersonasCog(
    commands.GroupCog, group_name="personas", group_description="Personas: make, change, share"
):
    """Personas by form and by file."""

    def __init__(self, lantern: Lantern, access: Access, questions: Questions) -> None:
        self._lantern = lantern
        self._questions = questions
        self._acts = lantern.personas
        self._access = access
        self._trials: OrderedDict[str, Trial] = OrderedDict()

    def _editor(self, interaction: discord.Interaction[Any]) -> Editor:
        owners = owners_of(interaction.client.application)
        return Editor(
            user_id(interaction.user),
            place_of(interaction).server,
            is_admin=interaction.guild_id is not None and self._access.rules.is_admin(interaction),
            is_owner=interaction.user.id in owners,
        )

    @app_commands.command(description="Every persona you may choose here")
    async def list(self, interaction: discord.Interaction[Any]) -> None:
        """Names, models and what they are for."""
        seen, locale = self._acts.seen(self._editor(interaction)), interaction.locale
        # Of those made by one person for themselves nobody else sees any.
        yours = [made is not None and made.scope == "me" for _, made in seen]
        parts = (
            (shown_name(p.name), p.model, p.description, told("yours" if own else p.source, locale))
            for (p, _), own in zip(seen, yours, strict=True)
        )
        lines = [
            " · ".join(filter(None, (f"**{name}**", f"`{model}`", *more)))
            for name, model, *more in parts
        ]
        # Descriptions are their makers' words.
        await say(interaction, "\n".join(lines), is_ours=False)

    @app_commands.command(description="What a persona is, and what its model is told")
    @app_commands.describe(name="The persona")
    async def show(self, interaction: discord.Interaction[Any], name: str) -> None:
        """Its texts, where they are this person's to read."""
        persona, _, is_whole = self._acts.found(name, self._editor(interaction))
        lines = persona_lines(persona, partial(told, locale=interaction.locale), is_whole=is_whole)
        await say(interaction, "\n".join(lines), is_ours=False)

    @app_commands.command(description="Make a persona; you see its first answer before it is saved")
    @app_commands.describe(
        name="What it is called",
        scope="For whom: me, server (admins), all (the owner)",
        copy="Begin with another persona's texts",
    )
    async def create(
        self,
        interaction: discord.Interaction[Any],
        name: app_commands.Range[str, 1, 64],
        scope: PersonaScope = "me",
        copy: str | None = None,
    ) -> None:
        """Opens the form."""
        sheet = self._acts.blank(name, scope, self._editor(interaction), copy)
        begin: FormBegin = "new" if copy is None else "copy"
        key = FormKey(secrets.token_hex(4), "persona", scope, begin, name)
        await interaction.response.send_modal(self._trial(interaction, key, sheet).form())

    @app_commands.command(
        description="Change a persona; you see its first answer before it is saved"
    )
    @app_commands.describe(
        name="The persona", part="persona: prompt, greeting, model; character: scenario and more"
    )
    async def edit(
        self, interaction: discord.Interaction[Any], name: str, part: FormPart = "persona"
    ) -> None:
        """Opens the form, filled in."""
        sheet = self._acts.opened(name, self._editor(interaction))
        version = 0 if sheet.changes is None else sheet.changes.version
        key = FormKey(secrets.token_hex(4), part, "me", "edit", sheet.persona.name, version)
        await interaction.response.send_modal(self._trial(interaction, key, sheet).form())

    @app_commands.command(description="Delete a persona; you are given it as a file")
    @app_commands.describe(name="The persona")
    async def delete(self, interaction: discord.Interaction[Any], name: str) -> None:
        """Deletes; what was deleted comes as a card, should it have been a slip."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        editor = self._editor(interaction)
        self._acts.opened(name, editor)
        file, content = await self._acts.export(name, "png", editor)
        said = await self._acts.delete(name, editor)
        upload = discord.File(io.BytesIO(content), file)
        said = told(said, interaction.locale)
        await interaction.followup.send(said, file=upload, ephemeral=True)

    @app_commands.command(
        name="import", description="A character card (PNG, JSON), LM Studio preset or YAML"
    )
    @app_commands.describe(
        file="The card",
        name="What it is called here; else as in the file",
        scope="For whom: me, server (admins), all (the owner)",
        replace="Put it in place of this persona",
    )
    async def import_(
        self,
        interaction: discord.Interaction[Any],
        file: discord.Attachment,
        name: app_commands.Range[str, 1, 64] | None = None,
        scope: PersonaScope = "me",
        replace: str | None = None,
    ) -> None:
        """Reads the file, and keeps what it holds."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        # Judged by what Discord says of it, before a byte is fetched.
        if file.size > MAX_FILE_BYTES:
            size, most = size_words(file.size), size_words(MAX_FILE_BYTES)
            raise RequestRefused(f"`{file.filename}` is {size}; files up to {most} are taken.")
        try:
            content = await file.read()
        except SENDING_ERRORS as error:
            words = f"`{file.filename}` could not be fetched from Discord; attach it again."
            raise RequestRefused(words) from error
        editor = self._editor(interaction)
        sheet = await self._acts.brought(
            file.filename, content, editor, name=name, scope=scope, replaces=replace
        )
        made, said = await self._acts.keep(sheet, scope, editor, place_of(interaction))
        tell = partial(told, locale=interaction.locale)
        lines = persona_lines(made.persona, tell, is_whole=True)
        head = await kept_words(self._lantern.switch, interaction, made.persona.name, "saved", said)
        await say(interaction, "\n".join([tell(head), *lines[1:]]), is_ours=False)

    @app_commands.command(description="A persona as a file: a character card or YAML")
    @app_commands.describe(name="The persona", kind="png holds V2 and V3; json is V3")
    async def export(
        self, interaction: discord.Interaction[Any], name: str, kind: FileKind = "png"
    ) -> None:
        """Gives the file to whoever asks, alone."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        file, content = await self._acts.export(name, kind, self._editor(interaction))
        upload = discord.File(io.BytesIO(content), file)
        await interaction.followup.send(f"`{file}`", file=upload, ephemeral=True)

    @show.autocomplete("name")
    @export.autocomplete("name")
    @create.autocomplete("copy")
    async def _all(self, asked: discord.Interaction[Any], typed: str) -> StringChoices:
        return persona_choices(self._lantern.catalog, typed, asked)

    @edit.autocomplete("name")
    @delete.autocomplete("name")
    @import_.autocomplete("replace")
    async def _own(self, asked: discord.Interaction[Any], typed: str) -> StringChoices:
        editor, own = self._editor(asked), set[PersonaName]()
        for persona, made in self._acts.seen(editor):
            try:
                if made is not None:
                    check_may_edit(made, editor)
                    own.add(persona.name)
            except NotPermitted:
                continue
        return persona_choices(self._lantern.catalog, typed, asked, own)

    def _trial(self, interaction: discord.Interaction[Any], key: FormKey, sheet: Sheet) -> Trial:
        author, locale = interaction.user.id, interaction.locale
        trial = Trial(self._lantern, self._access, key, sheet, author, locale)
        self._trials[key.ticket] = trial
        if len(self._trials) > MOST_FORMS:
            self._trials.popitem(last=False)
        return trial

    @commands.Cog.listener()
    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """A form that was sent, opened by this process or one before; others are not ours."""
        custom_id, texts = sent_form(interaction)
        key = FormKey.read(custom_id)
        if key is None or not self._questions.is_new(interaction.id):
            return
        trial = self._trials.get(key.ticket)
        try:
            if trial is None:
                await self._access.check(interaction.client, interaction)
                editor = self._editor(interaction)
                if key.begin == "copy":
                    # What it was to be like is not in its id, nor in the texts.
                    raise RequestRefused(GONE)
                if key.begin == "edit":
                    sheet = self._acts.opened(key.name, editor, key.version)
                else:
                    sheet = self._acts.blank(key.name, key.scope, editor, None)
                trial = self._trial(interaction, key, sheet)
            await trial.written(interaction, texts)
        except Exception as error:
            await say_error(interaction, error)
            if trial is None:
                with suppress(*SENDING_ERRORS):
                    words, file = told(GIVEN_BACK, interaction.locale), key.given_back(texts)
                    await interaction.followup.send(words, file=file, ephemeral=True)

    @commands.Cog.listener()
    async def on_form_button(
        self, interaction: discord.Interaction[Any], act: str, ticket: str
    ) -> None:
        """Does what the button says, or says why not."""
        try:
            await self._access.check(interaction.client, interaction)
            trial = self._trials.get(ticket)
            if trial is None:
                # Of before a restart, or of long ago.
                gone = told(GONE, interaction.locale)
                await interaction.response.edit_message(content=gone, view=None)
                return
            await trial.press(interaction, act, self._editor(interaction))
        except Exception as error:
            await say_error(interaction, error)
