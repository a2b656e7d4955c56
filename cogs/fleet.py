"""``/fleet``: the hosts, their models and their memory; acts by hand for admins."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat import words
from bot.chat.lantern import Lantern
from bot.domain.errors import ForeignInstance, RequestRefused
from bot.domain.ids import AUTO
from bot.policy.access import check_may_manage
from bot.policy.pacing import Pacers
from cogs._autocomplete import (
    CHOICES,
    StringChoices,
    host_choices,
    loaded_choices,
    model_choices,
)
from cogs._boards import Boards
from cogs._faults import DiscordFault, fault_of, say
from cogs._languages import told
from cogs._loads import Loads
from cogs._places import DiscordRules
from cogs._transport import InteractionTransport


class FleetCog(
    commands.GroupCog, group_name="fleet", group_description="The LM Studio hosts and their memory"
):
    """Shows the fleet; acts on it for admins."""

    def __init__(
        self,
        lantern: Lantern,
        rules: DiscordRules,
        loads: Loads,
        pacers: Pacers,
        boards: Boards,
    ) -> None:
        self._catalog = lantern.catalog
        self._acts = lantern.acts
        self._providers = lantern.providers
        self._rules = rules
        self._loads = loads
        self._pacers = pacers
        self._boards = boards

    @app_commands.command(description="Every host and cloud provider, and what it is doing")
    async def status(self, interaction: discord.Interaction[Any]) -> None:
        """A page from memory and the ledger; nothing is asked of hosts or providers for it."""
        # A disk that hangs must not make the command late: Discord waits three seconds.
        await interaction.response.defer(ephemeral=True, thinking=True)
        snapshot = self._catalog.snapshot()
        hosts = snapshot.hosts.values()
        lines = [line for host in hosts for line in words.host_lines(host, snapshot.taken_at)]
        is_admin = self._rules.is_admin(interaction)
        for standing in await self._providers.standings():
            lines += words.provider_lines(standing, is_admin=is_admin)
        lines = lines or ["No hosts are configured."]
        if self._rules.rights(interaction).may_manage and interaction.guild_id is not None:
            lines += filter(None, [self._boards.in_the_way(interaction.guild_id)])
        await say(interaction, "\n".join(lines))

    @app_commands.command(description="Every model, and how soon it could answer")
    @app_commands.describe(model="A part of the name")
    async def models(self, interaction: discord.Interaction[Any], model: str = "") -> None:
        """From memory too, and over several messages where there are many."""
        options = self._catalog.models(model, limit=1000)
        lines = [f"`{option.key}` {option.mark}" for option in options if option.key != AUTO]
        lines += [f"✗ {reason}" for reason in self._catalog.outage()]
        await say(interaction, "\n".join(lines) or "No host has a model of that name.")

    @app_commands.command(description="Load a model now (admins)")
    @app_commands.describe(model="The model", host="Where; the best host when left out")
    async def load(
        self, interaction: discord.Interaction[Any], model: str, host: str | None = None
    ) -> None:
        """Loads with a progress bar in the reply."""
        check_may_manage("load models", is_allowed=self._rules.rights(interaction).may_load)
        catalog = self._catalog
        # Before anything is shown: what cannot be begun is told to whoever asked, alone.
        key = catalog.any_model(model)
        where = catalog.holder(host, key) if host else None
        transport = InteractionTransport(interaction, self._pacers)
        await transport.begin()
        head = told(f"📥 Loading `{key}`{f' on {where}' if where else ''}.", transport.locale)
        await self._loads.show(interaction, transport, head, self._acts.load(where, key))

    @app_commands.command(description="Take a model out of memory now (admins)")
    @app_commands.describe(
        model="The model, or the identifier of one loaded copy",
        host="Where; every host that has it when left out",
        even_foreign="Also when somebody else loaded it",
    )
    async def unload(
        self,
        interaction: discord.Interaction[Any],
        model: str,
        host: str | None = None,
        even_foreign: bool = False,
    ) -> None:
        """Unloads and says what happened."""
        check_may_manage("unload models", is_allowed=self._rules.rights(interaction).may_manage)
        unload = partial(self._unloaded, host, model, even_foreign=even_foreign)
        await _done(interaction, unload)

    async def _unloaded(self, host: str | None, model: str, *, even_foreign: bool) -> str:
        try:
            return (await self._acts.unload(host, model, even_foreign=even_foreign)).said
        except ForeignInstance as error:
            hint = "Say `even_foreign: True` to unload it all the same."
            raise ForeignInstance(f"{error.user_message} {hint}") from error

    @app_commands.command(description="Keep a loaded model in memory (admins)")
    @app_commands.describe(model="The model, or the identifier of one loaded copy", host="Where")
    async def pin(
        self, interaction: discord.Interaction[Any], model: str, host: str | None = None
    ) -> None:
        """No eviction takes it; an unload by hand does."""
        check_may_manage("pin models", is_allowed=self._rules.rights(interaction).may_manage)
        await _done(interaction, partial(self._acts.pin, host, model, is_pinned=True))

    @app_commands.command(description="Let a pinned model be evicted again (admins)")
    @app_commands.describe(model="The model, or the identifier of one loaded copy", host="Where")
    async def unpin(
        self, interaction: discord.Interaction[Any], model: str, host: str | None = None
    ) -> None:
        """Its rest counts from the end of its last answer."""
        check_may_manage("unpin models", is_allowed=self._rules.rights(interaction).may_manage)
        await _done(interaction, partial(self._acts.pin, host, model, is_pinned=False))

    @app_commands.command(description="Give a machine back to its owner: no new answers (admins)")
    @app_commands.describe(host="Which machine", duration="30m, 2h, 1d; else until it is resumed")
    async def drain(
        self, interaction: discord.Interaction[Any], host: str, duration: str | None = None
    ) -> None:
        """Running answers end; nothing is cut."""
        check_may_manage("drain hosts", is_allowed=self._rules.rights(interaction).may_manage)
        drain = partial(self._acts.drain, host, is_draining=True, lasting=duration)
        await _done(interaction, drain)

    @app_commands.command(description="Use a drained machine or a paused provider again (admins)")
    @app_commands.describe(host="Which machine or cloud provider")
    async def resume(self, interaction: discord.Interaction[Any], host: str) -> None:
        """New turns may go there at once."""
        check_may_manage("resume hosts", is_allowed=self._rules.rights(interaction).may_manage)
        await _done(interaction, partial(self._acts.resume, host))

    @app_commands.command(description="A message here that always shows the fleet (admins)")
    @app_commands.describe(show="off takes this server's board away; here is the default")
    @app_commands.guild_only()
    async def board(
        self, interaction: discord.Interaction[Any], show: Literal["here", "off"] = "here"
    ) -> None:
        """One for each server; put up elsewhere, it moves."""
        check_may_manage("put up a board", is_allowed=self._rules.rights(interaction).may_manage)
        server, channel = interaction.guild_id, interaction.channel_id
        if server is None or channel is None:
            raise RequestRefused("A board stands in a server's channel.")
        await interaction.response.defer(ephemeral=True, thinking=True)
        if show == "off":
            was_there = await self._boards.take_down(interaction.client, server)
            await say(interaction, "The board is gone." if was_there else "There is no board here.")
            return
        try:
            stands = await self._boards.put_up(interaction.client, server, channel)
        except discord.HTTPException as error:
            if fault_of(error) is DiscordFault.LOCKED:
                raise RequestRefused("This thread is locked, so no board can stand.") from error
            if not isinstance(error, discord.Forbidden):
                raise
            raise RequestRefused("I may not send messages here, so no board can stand.") from error
        if stands is None:
            await say(interaction, "The board was taken away again meanwhile.")
            return
        if stands.channel != channel:
            await say(interaction, f"The board was put up in <#{stands.channel}> meanwhile.")
            return
        await say(
            interaction,
            "📋 The board stands here and follows the fleet once a minute. It goes by "
            "`/fleet board show:off`, or when somebody deletes it.",
        )

    @load.autocomplete("model")
    @models.autocomplete("model")
    async def _models(self, asked: discord.Interaction[Any], typed: str) -> StringChoices:
        return model_choices(self._catalog.models(typed, CHOICES), asked.locale)

    @unload.autocomplete("model")
    @pin.autocomplete("model")
    @unpin.autocomplete("model")
    async def _loaded(self, _: discord.Interaction[Any], typed: str) -> StringChoices:
        return loaded_choices(self._catalog, typed)

    @load.autocomplete("host")
    @unload.autocomplete("host")
    @pin.autocomplete("host")
    @unpin.autocomplete("host")
    @drain.autocomplete("host")
    async def _hosts(self, asked: discord.Interaction[Any], typed: str) -> StringChoices:
        return host_choices(self._catalog, typed, locale=asked.locale)

    @resume.autocomplete("host")
    async def _resumable(self, asked: discord.Interaction[Any], typed: str) -> StringChoices:
        return host_choices(self._catalog, typed, self._providers.names, asked.locale)


async def _done(interaction: discord.Interaction[Any], act: Callable[[], Awaitable[str]]) -> None:
    """Tells everybody what an admin did, which others notice; why it was not done, them alone."""
    # A disk or a host that hangs must not make the command late.
    await interaction.response.defer(ephemeral=True, thinking=True)
    said = await act()
    # What follows a deferred answer fills it and is seen as it would have been.
    await interaction.delete_original_response()
    await say(interaction, said, ephemeral=False)
