"""Facts that people asked to be remembered: how many, how long, how a model is told. Pure."""

from collections.abc import Sequence

from bot.domain.chat import Quote
from bot.domain.errors import RequestRefused

MOST_FACTS = 20
"""Each is sent with every question of its person: more would crowd out the talk itself."""

FACT_CHARS = 200

KEPT_HERE = "🔒 Told only in talks that stay on the LAN"
"""Of a fact that was said in private: left out of the others without a word, it seemed lost."""

WAY_ROUND = (
    "it was said in one, or within a minute of a question there. To have it told elsewhere, forget "
    "it by `/memories` and say it there a minute later."
)


def checked_fact(text: str, known: Sequence[Quote]) -> str:
    """A fact as it is kept: one line.

    Raises:
        RequestRefused: it is empty, too long, known already, or one too many.
    """
    fact = " ".join(text.split())
    if not fact:
        raise RequestRefused("Say what is to be remembered, such as `I write Python 3.11`.")
    if len(fact) > FACT_CHARS:
        words = f"A fact has at most {FACT_CHARS} characters; this one has {len(fact)}."
        raise RequestRefused(f"{words} Keep what a persona needs to know each time.")
    if any(fact.casefold() == other.text.casefold() for other in known):
        raise RequestRefused("That is remembered already; `/memories` lists it.")
    if len(known) >= MOST_FACTS:
        raise RequestRefused(
            f"{MOST_FACTS} facts are remembered of one person at most. "
            "`/memories` lists yours and takes one away."
        )
    return fact


def facts_text(facts: Sequence[Quote]) -> str:
    """The facts as they stand in a prompt; empty for none."""
    lines = "\n".join(f"- {fact.text}" for fact in facts)
    return f"[Remembered at their wish, of the person you answer:\n{lines}]" if facts else ""
