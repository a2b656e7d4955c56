"""By which name and picture a persona's words are shown, where it may speak as itself."""

import re

from bot.domain.personas import Character, Persona
from bot.domain.values import value
from bot.policy.names import shown_name

BOT_NAME = "Lantern"
"""Of the webhook that is made in a channel, and of whoever has no name that can be shown."""

LONGEST = 80
"""Characters of a webhook's name: Discord's limit."""

_REFUSED = re.compile(r"(?<=d)(?=iscord)|(?<=c)(?=lyde)", re.IGNORECASE)
"""Within two words that Discord refuses in the name of a webhook."""


@value
class Speaker:
    """By what name and picture a reply is shown."""

    name: str
    avatar: str
    """An address; empty: the bot's own picture."""


def speaker_of(persona: Persona | None) -> Speaker | None:
    """How a persona is shown; None for one that speaks as the bot."""
    if persona is None:
        return None
    name, plays = shown_name(persona.name), persona.character
    if not (persona.avatar or plays != Character() or name != persona.name):
        return None
    name = _REFUSED.sub("·", plays.name or name)
    return Speaker(name.strip()[:LONGEST] or BOT_NAME, persona.avatar)
