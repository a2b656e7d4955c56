"""``lantern check``: looks at everything ``run`` will need and says what it found."""

from bot.app import Lantern
from bot.cloud.checkup import check_provider
from bot.commands.launch import built_from
from bot.domain.errors import BotError
from bot.domain.ids import PersonaName
from bot.settings import Loaded, missing_for_run
from bot.terminal.checkup import (
    KnownNames,
    Line,
    host_findings,
    persona_findings,
    provider_findings,
)


async def findings(loaded: Loaded) -> list[Line]:
    """The configuration, Discord, every host, every provider, every persona."""
    lines = [Line("ok", "configuration", str(loaded.config_path or "environment and .env"))]
    lines.extend(Line("advice", "configuration", text) for text in loaded.warnings)
    lines.extend(Line("fault", "configuration", text) for text in missing_for_run(loaded))
    token = loaded.settings.discord.token
    if token is not None:
        lines.append(await _discord_line(token.get_secret_value()))
    async with built_from(loaded, leaves_nothing=True) as built:
        lines.extend(await _who_can_answer(built))
        lines.extend(_personas(loaded, built))
    return lines


async def _who_can_answer(built: Lantern) -> list[Line]:
    hosts = built.catalog.snapshot().hosts.values()
    lines = [line for host in hosts for line in host_findings(host)]
    checked = [await check_provider(built.providers, name) for name in built.providers.names]
    lines.extend(provider_findings(checked))
    if not any(host.is_serving for host in hosts) and not any(c.is_fine for c in checked):
        lines.append(Line("fault", "hosts and providers", "none of them can answer now"))
    return lines


def _personas(loaded: Loaded, built: Lantern) -> tuple[Line, ...]:
    settings, shelf = loaded.settings, built.shelf
    names = KnownNames(tuple(settings.providers), tuple(settings.routing.request_types))
    return persona_findings(
        built.catalog.snapshot(),
        shelf.all(),
        shelf.problems(),
        PersonaName(settings.discord.default_persona),
        names,
    )


async def _discord_line(token: str) -> Line:
    from cogs.client import identify  # discord.py is loaded by this command alone

    try:
        return Line("ok", "Discord", f"logged in as {await identify(token)}")
    except BotError as error:
        return Line("fault", "Discord", error.user_message)
