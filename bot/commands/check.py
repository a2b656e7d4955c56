"""``lantern check``: looks at everything ``run`` will need and says what it found."""

from bot.cloud.checkup import check_provider
from bot.commands.once import built_from
from bot.domain.errors import BotError
from bot.domain.ids import PersonaName
from bot.settings import Loaded, missing_for_run
from bot.terminal.checkup import Line, host_findings, persona_findings


async def findings(loaded: Loaded) -> list[Line]:
    """The configuration, Discord, every host, every provider, every persona."""
    settings = loaded.settings
    lines = [Line("ok", "configuration", str(loaded.config_path or "environment and .env"))]
    lines.extend(Line("advice", "configuration", text) for text in loaded.warnings)
    lines.extend(Line("fault", "configuration", text) for text in missing_for_run(loaded))
    if settings.discord.token is not None:
        # Imported on first use: of the commands that look, only this one needs discord.py.
        from cogs.client import identify

        try:
            name = await identify(settings.discord.token.get_secret_value())
            lines.append(Line("ok", "Discord", f"logged in as {name}"))
        except BotError as error:
            lines.append(Line("fault", "Discord", error.user_message))
    async with built_from(loaded, leaves_nothing=True) as built:
        snapshot, shelf = built.catalog.snapshot(), built.shelf
        for host in snapshot.hosts.values():
            lines.extend(host_findings(host))
        checked = [await check_provider(built.providers, name) for name in built.providers.names]
        lines.extend(
            Line("ok" if found.is_fine else "warning", f"☁ {found.name}", found.words)
            for found in checked
        )
        # A host that is away is only a warning: one that answers is enough for `run`.
        serving = any(host.is_serving for host in snapshot.hosts.values())
        if not serving and not any(found.is_fine for found in checked):
            lines.append(Line("fault", "hosts and providers", "none of them can answer now"))
        lines.extend(
            persona_findings(
                snapshot,
                shelf.all(),
                shelf.problems(),
                PersonaName(settings.discord.default_persona),
                providers=tuple(settings.providers),
                request_types=tuple(settings.routing.request_types),
            )
        )
    return lines
