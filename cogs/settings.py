"""``/settings``: what stays on the LAN, and for admins the panel of all that holds in a place."""

from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, cast, get_args

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.chat.lantern import Lantern
from bot.chat.words import counted
from bot.domain.chat import Place
from bot.domain.errors import RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import check_may_set
from bot.policy.choice import key_for
from bot.policy.place_rules import FORMS, Level
from bot.policy.privacy import Sources
from cogs._access import Access
from cogs._faults import SENDING_ERRORS, say, say_error
from cogs._panel import PANEL_S, changed_limits, limits_form, panel, picked, typed_limits
from cogs._places import place_of, user_id

ScopeName = Literal["me", "channel", "server"]

OLD = "This panel is older than 15 minutes; `/settings` opens a new one. Nothing was changed."

MOST_OPEN = 50
"""Panels told of changes that others make; the newest."""


class SettingsCog(commands.Cog):
    """Shows and changes what holds for people, channels and servers."""

    def __init__(self, lantern: Lantern, access: Access) -> None:
        self._privacy = lantern.privacy
        self._settings = lantern.place_settings
        self._switch = lantern.switch
        self._shelf = lantern.shelf
        self._access = access
        self._rules = access.rules
        self._open = OrderedDict[int, tuple[discord.Interaction[Any], Level]]()
        """Open panels by their message, with what may still edit them."""

    @app_commands.command(description="See or set what never leaves the LAN; admins: all settings")
    @app_commands.describe(
        local_only="on: these words never go to a cloud provider, whatever fails",
        scope="Whose words; a channel or server is for admins to set",
    )
    async def settings(
        self,
        interaction: discord.Interaction[Any],
        local_only: Literal["on", "off"] | None = None,
        scope: ScopeName = "me",
    ) -> None:
        """Without ``local_only`` it shows how things stand; to admins with a select for each."""
        place, user = place_of(interaction), user_id(interaction.user)
        rights, is_on = self._rules.rights(interaction), local_only == "on"
        if local_only is not None and scope == "me":
            await self._privacy.mark("user", user, local_only=is_on, by=user)
        elif local_only is not None:
            # A private conversation is its one person's own to mark.
            if not place.is_private:
                check_may_set(rights)
            at = key_for(scope, place, user).place
            await self._privacy.mark("place", at, local_only=is_on, by=user)
        elif rights.is_admin:
            level: Level = "channel" if scope == "channel" else "server"
            level = "everywhere" if place.is_private else level
            view = await self._view(interaction, level)
            sent = await interaction.response.send_message(view=view, ephemeral=True)
            self._note(sent.message_id or 0, interaction, level)
            return
        lines = await self._lines(place, user)
        here = self._settings.at(place)
        if here.turns is not None:
            lines.append(
                f"⏱ Each person may ask {counted(here.turns[0], 'question')} a minute here."
            )
        if here.tokens_per_day is not None:
            lines.append(f"⏱ Each person has {here.tokens_per_day:,} tokens a day in this server.")
        if not here.own_choice:
            lines.append("Nobody chooses a model or persona for themselves here.")
        await say(interaction, "\n".join(lines))

    @commands.Cog.listener()
    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """A press in a panel of any age, or a form sent; other interactions are not ours."""
        kinds = (discord.InteractionType.component, discord.InteractionType.modal_submit)
        data = cast(dict[str, Any], interaction.data or {})
        mark, _, key = str(data.get("custom_id", "")).partition(":")
        if interaction.type not in kinds or mark != "set":
            return
        level_name, opened, name = key.split(":", 2)
        levels: dict[str, Level] = {known: known for known in get_args(Level)}
        try:
            age_s = interaction.created_at.timestamp() - int(opened)
            if age_s > PANEL_S or level_name not in levels:
                raise RequestRefused(f"{OLD}{typed_limits(data, interaction.locale)}")
            asker = await self._access.check(interaction.client, interaction, aim="set")
            check_may_set(self._rules.rights(interaction))
            await self._pressed(interaction, levels[level_name], name, data, asker.user)
        except Exception as error:
            await say_error(interaction, error)

    async def _pressed(
        self,
        interaction: discord.Interaction[Any],
        level: Level,
        name: str,
        data: dict[str, Any],
        user: UserId,
    ) -> None:
        place = replace(place_of(interaction), thread=None)
        shown = {one.name: one for one in self._settings.shown(place, level)}
        is_form = interaction.type is discord.InteractionType.modal_submit
        if name == "limits" and not is_form:
            opened_s = int(interaction.created_at.timestamp())
            form = limits_form(level, opened_s, tuple(shown.values()), interaction.locale)
            await interaction.response.send_modal(form)
            return
        if name.startswith("to "):
            level, news = "channel" if name == "to channel" else "server", ""
        else:
            try:
                news = await self._change(interaction, place, level, name, data)
            except RequestRefused as refused:
                # Said in the panel: what was chosen in vain must not stay on the screen.
                news = f"❌ {refused.user_message}{typed_limits(data, interaction.locale)}"
        view = await self._view(interaction, level, news)
        await interaction.response.edit_message(view=view)
        shown_in = 0 if interaction.message is None else interaction.message.id
        self._note(shown_in, interaction, level)
        if news.startswith("✅"):
            news = f"{news[2:]}\n-# <@{user[8:]}>"
            await self._tell_others(shown_in, interaction, level, news)

    async def _change(
        self,
        interaction: discord.Interaction[Any],
        place: Place,
        level: Level,
        name: str,
        data: dict[str, Any],
    ) -> str:
        """Changes what was pressed; says what."""
        asker = self._rules.asker(interaction.client, interaction)
        at = place.server if level == "server" else place.channel
        values = picked(data, None)
        if name == "local_only" and at is not None:
            is_on = values == ("on",)
            await self._privacy.mark("place", at, local_only=is_on, by=asker.user)
            return "✅ Local only was changed."
        if name == "persona" and level != "everywhere":
            rights, chosen = self._rules.rights(interaction), values[0] if values else None
            await self._switch.set_default(place, asker.user, level, chosen, rights)
            return "✅ Who answers was changed."
        if name == "limits":
            limits = changed_limits(data)
            if not limits:
                return "Nothing was changed."
            await self._settings.change(place, level, limits, asker)
            return "✅ " + "\n".join(f"{FORMS[known].title}: changed." for known in limits)
        shown = next((o for o in self._settings.shown(place, level) if o.name == name), None)
        if shown is None:
            raise RequestRefused(OLD)
        await self._settings.change(place, level, {shown.name: picked(data, shown)}, asker)
        return f"✅ {shown.form.title}: changed."

    async def _tell_others(
        self, own: int, interaction: discord.Interaction[Any], level: Level, news: str
    ) -> None:
        """Brings the other open panels it shows in into line: the last change holds for all.

        News are told where the very same page stands open: what changed for a server is no change
        of its channel's own, whose page says by itself where each value comes from.
        """
        channel = place_of(interaction).channel
        for message, (other, page) in tuple(self._open.items()):
            is_near = level != "channel" or place_of(other).channel == channel
            age_s = interaction.created_at - other.created_at
            if age_s.total_seconds() > PANEL_S:
                del self._open[message]
            elif message != own and other.guild_id == interaction.guild_id and is_near:
                told = news if page == level else ""
                with suppress(*SENDING_ERRORS):
                    await other.edit_original_response(view=await self._view(other, page, told))

    async def _view(
        self, interaction: discord.Interaction[Any], level: Level, news: str = ""
    ) -> ui.LayoutView:
        place = replace(place_of(interaction), thread=None)
        lines = await self._lines(place, user_id(interaction.user))
        marked = await self._privacy.marked([*filter(None, (place.channel, place.server))])
        found: tuple[tuple[Level, PlaceId | None], ...] = (
            ("channel", place.channel),
            ("server", place.server),
        )
        return panel(
            level,
            self._settings.shown(place, level),
            opened_s=int(interaction.created_at.timestamp()),
            head=lines,
            personas=self._shelf.seen_by(None, place.server),
            default=self._switch.default_persona,
            chosen=await self._switch.defaults(place),
            private={each: marked[at] for each, at in found if at and at in marked},
            news=news,
            locale=interaction.locale,
        )

    def _note(self, message: int, interaction: discord.Interaction[Any], level: Level) -> None:
        self._open[message] = interaction, level
        self._open.move_to_end(message)
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)

    async def _lines(self, place: Place, user: UserId) -> list[str]:
        """What stays on the LAN here, in words."""
        here = frozenset(filter(None, (place.conversation, place.channel, place.server)))
        asked = Sources(here, frozenset({user}), frozenset())
        marks = await self._privacy.look_up(asked)
        # What is marked farther out holds for what is within it, too: a channel whose server was
        # marked was said to be open.
        by_server = "server" if place.server in marks.places else ""
        is_marked = bool({place.conversation, place.channel} & marks.places)
        lines = [
            _line(
                "Your words", user in marks.people, by_server or ("channel" if is_marked else "")
            ),
            _line("This channel", is_marked, by_server),
        ]
        if place.server is not None:
            lines.append(_line("This server", bool(by_server)))
        return lines


def _line(what: str, is_private: bool, by: str = "") -> str:
    if is_private:
        return f"🔒 {what}: local only, never sent to a cloud provider."
    if by:
        return f"🔒 {what}: local only here, as this {by} is."
    return f"🌐 {what}: may go to a cloud provider when no host can answer."
