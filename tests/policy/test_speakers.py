"""Which persona speaks as itself, and by what name Discord takes."""

import pytest

from bot.domain.ids import PersonaName
from bot.domain.personas import Character, Persona
from bot.policy.speakers import BOT_NAME, LONGEST, Speaker, speaker_of

SAGE = Speaker("sage", "https://x.org/s.png")


@pytest.mark.parametrize(
    ("persona", "speaker"),
    [
        (None, None),
        (Persona(PersonaName("coder")), None),
        (Persona(PersonaName("sage"), avatar=SAGE.avatar), SAGE),
        (Persona(PersonaName("muse#0123abcd")), Speaker("muse", "")),
        (Persona(PersonaName("x"), character=Character(name="Nine")), Speaker("Nine", "")),
        (Persona(PersonaName("x"), character=Character(scenario="y")), Speaker("x", "")),
        (
            Persona(PersonaName("Discord Clyde, \u0130discord#0123abcd")),
            Speaker("D·iscord C·lyde, \u0130d·iscord", ""),
        ),
        (
            Persona(PersonaName("x"), character=Character(name="n" * 99)),
            Speaker("n" * LONGEST, ""),
        ),
        (Persona(PersonaName("x"), character=Character(name=" ")), Speaker(BOT_NAME, "")),
    ],
)
def test_who_speaks_as_somebody(persona: Persona | None, speaker: Speaker | None) -> None:
    assert speaker_of(persona) == speaker
