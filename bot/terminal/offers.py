"""What could follow a slash command typed so far."""

from collections.abc import Iterable

from bot.chat.catalog import Catalog
from bot.domain.ids import AUTO
from bot.terminal.commands import COMMANDS, FLEET_VERBS


def complete(catalog: Catalog, extras: tuple[str, ...], typed: str) -> Iterable[str]:
    """Whole lines that could follow ``typed``, a slash command so far."""
    name, space, rest = typed[1:].partition(" ")
    if not space:
        names = [usage.name for usage in COMMANDS] + list(extras)
        return [f"/{known}" for known in names if known.startswith(name)]
    if name == "model":
        return [f"/model {option.key}" for option in catalog.models(rest)]
    if name == "persona":
        return [f"/persona {persona.name}" for persona in catalog.personas(rest)]
    if name == "fleet" and " " in rest:
        verb, _, model = rest.partition(" ")
        known = [option.key for option in catalog.models(model) if option.key != AUTO]
        return [f"/fleet {verb} {key}" for key in known]
    if name == "fleet":
        return [f"/fleet {verb}" for verb in FLEET_VERBS]
    return []
