"""What is kept of one person, as they take it along."""

import json
from datetime import UTC, datetime

from bot.chat.lantern import Lantern
from bot.domain.ids import UserId

MOST_EXPORTED = 20_000


async def exported(lantern: Lantern, user: UserId) -> tuple[int, bytes]:
    """How many questions of somebody there are, and all of them with answers and facts as JSON."""
    store, ids = lantern.turns.store, await lantern.people.said(user, MOST_EXPORTED)
    said = [turn for key in reversed(ids) if (turn := await store.get(key)) is not None]
    questions = [
        {
            "at": datetime.fromtimestamp(turn.created_at_ms / 1000, UTC).isoformat(),
            "conversation": turn.place.conversation,
            "persona": turn.persona,
            "question": turn.user_text,
            "files": [file.name for file in turn.attachments],
            "answer": turn.reply_text,
            "model": None if turn.receipt is None else turn.receipt.model,
        }
        for turn in said
    ]
    facts = [fact.said.text for fact in await lantern.people.facts(user)]
    whole = {"user": user, "questions": questions, "facts": facts}
    return len(said), json.dumps(whole, ensure_ascii=False, indent=1).encode()
