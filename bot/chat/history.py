"""What is kept of one person, as they take it along and are told of it."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from bot.chat.lantern import Lantern
from bot.domain.chat import Quote, Turn
from bot.domain.ids import TurnId, UserId
from bot.policy.context import GREET_TEXT
from bot.policy.privacy import origin_of_fact, stays_here, to_look_up

MOST_EXPORTED = 20_000


NOTHING_KEPT = "I keep no question and no fact of yours."


async def exported(lantern: Lantern, user: UserId) -> tuple[int, bytes] | None:
    """How many questions of somebody there are, and all of them with answers and facts as JSON.

    None where neither a question nor a fact is kept.
    """
    questions: list[dict[str, object]] = []
    for question in reversed(await lantern.people.said(user, MOST_EXPORTED)):
        if not (answers := await answers_to(lantern, question)):
            continue
        shown, *others = answers
        questions.append(
            {
                "at": datetime.fromtimestamp(shown.created_at_ms / 1000, UTC).isoformat(),
                "conversation": shown.place.conversation,
                "persona": shown.persona,
                "question": asked_text(shown),
                "files": [file.name for file in shown.attachments],
                "answer": shown.reply_text,
                "model": None if shown.receipt is None else shown.receipt.model,
                "other_answers": [turn.reply_text for turn in others],
            }
        )
    facts = [fact.said.text for fact in await lantern.people.facts(user)]
    if not questions and not facts:
        return None
    whole = {"user": user, "questions": questions, "facts": facts}
    return len(questions), json.dumps(whole, ensure_ascii=False, indent=1).encode()


def asked_text(turn: Turn) -> str:
    """What somebody asked, as they read it; empty where they only asked for a greeting."""
    return "" if turn.user_text == GREET_TEXT else turn.user_text


async def answers_to(lantern: Lantern, question: TurnId) -> tuple[Turn, ...]:
    """What a question was answered, the answer that is shown first; empty where it went."""
    store = lantern.turns.store
    beside = await store.answers(question)
    ids = () if beside is None else dict.fromkeys((beside.shown, *beside.ids))
    return tuple([turn for key in ids if (turn := await store.get(key)) is not None])


async def kept_here(lantern: Lantern, facts: Iterable[Quote]) -> frozenset[Quote]:
    """Those that are told only in talks that stay on the LAN; none where every talk does.

    Raises:
        StoreUnavailable: what is private could not be looked up.
    """
    if not lantern.catalog.providers():
        return frozenset()
    origins = {fact: origin_of_fact(fact) for fact in facts}
    marks = await lantern.privacy.look_up(to_look_up(origins.values()))
    return frozenset(fact for fact, origin in origins.items() if stays_here(origin, marks))
