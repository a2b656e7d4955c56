"""Which answers may be given again, and the key that finds them: the exact question and no other.

A private question (one whose words may not leave the LAN) never shares an answer with any other:
the key differs, so that nothing of it can travel by way of the cache.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple

from bot.domain.chat import Message
from bot.domain.ids import ModelKey
from bot.domain.personas import Persona

LONGEST_CHARS = 32_000
"""Longer answers are not kept."""


def answer_key(
    persona: Persona, model: ModelKey, messages: Sequence[Message], *, is_private: bool
) -> str:
    """The key of a question: persona, model asked for, whole transcript, sampling, privacy."""
    said = [
        [
            message.role,
            message.text,
            # By their hash: a picture's bytes would make the text to hash megabytes long.
            [(i.media_type, hashlib.sha256(i.image or b"").hexdigest()) for i in message.images],
        ]
        for message in messages
    ]
    asked = {
        "persona": persona.name,
        "model": model,
        "sampling": astuple(persona.sampling),
        "messages": said,
        "private": is_private,
    }
    text = json.dumps(asked, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def is_worth_keeping(text: str, finish: str) -> bool:
    """Is it a whole answer of a size that is kept? Cut, stopped and refused ones are not whole."""
    return finish == "stop" and bool(text.strip()) and len(text) <= LONGEST_CHARS
