"""What a simulated model says: plain functions from a conversation to tokens."""

import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*```|\s*\w{1,10}|\s*[^\w\s]|\s+")
_DIRECTIVE = re.compile(
    r"\[\[(tokens|code|think|say|call|stop-without-end)(?:[ \t]+(.*?))?\]\]", re.DOTALL
)
_GIST_CHARS = 80

_OPENINGS = (
    "That is a good thing to wonder about.",
    "Happy to think along with you.",
    "Let me take that step by step.",
    "Here is how I would look at it.",
)
_FILLER = (
    " A lantern shows the next few steps, and that is usually enough to keep walking."
    " Small pieces, tried one at a time, tell more than a grand plan."
    " When something surprises you, write it down before you explain it."
    " Most answers become clear once the question is put in plain words."
)
_MUSING = " The question is short, so I weigh what matters first and leave the rest for later."


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation as a host received it."""

    role: str
    text: str
    images: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is made from: the model and host that speak, and the conversation."""

    model: str
    host: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The tokens of one answer; their concatenation is its text."""

    content: tuple[str, ...]
    reasoning: tuple[str, ...] = ()
    call: tuple[str, ...] = ()
    """The arguments of a tool's call, where one is made."""
    ends: bool = True
    """False: the stream stops without any end mark."""


AnswerScript = Callable[[Asked], Answer]


@dataclass(frozen=True, slots=True)
class _Directives:
    tokens: int | None = None
    think: int = 0
    say: str | None = None
    code: bool = False
    ends: bool = True


def tokenise(text: str) -> tuple[str, ...]:
    """Return the simulated tokens of a text; joined they are the text again."""
    return tuple(_TOKEN.findall(text))


def default_answer(asked: Asked) -> Answer:
    """Return an answer that says it is simulated, as the last user message directs."""
    last = _last_user_message(asked.messages)
    wanted = _read_directives(last.text)
    content = _content(asked, last, wanted)
    reasoning = _exactly(wanted.think, itertools.cycle(tokenise(_MUSING)))
    return Answer(content=content, reasoning=reasoning, ends=wanted.ends)


def _last_user_message(messages: tuple[Message, ...]) -> Message:
    asked = (message for message in reversed(messages) if message.role == "user")
    return next(asked, Message(role="user", text=""))


def _read_directives(text: str) -> _Directives:
    found = {name: value for name, value in _DIRECTIVE.findall(text)}
    return _Directives(
        tokens=_positive(found["tokens"]) if "tokens" in found else None,
        think=_positive(found.get("think", "0")),
        say=found.get("say"),
        code="code" in found,
        ends="stop-without-end" not in found,
    )


def _positive(text: str) -> int:
    digits = text.strip()
    return int(digits) if digits.isdecimal() else 0


def _content(asked: Asked, last: Message, wanted: _Directives) -> tuple[str, ...]:
    if wanted.say is not None:
        said = tokenise(wanted.say)
        return said if wanted.tokens is None else _exactly(wanted.tokens, itertools.cycle(said))
    opening = tokenise(_opening(asked, last))
    if wanted.code:
        return _with_code(opening, 120 if wanted.tokens is None else wanted.tokens)
    if wanted.tokens is None:
        return opening + tokenise(_FILLER)
    return _exactly(wanted.tokens, itertools.chain(opening, itertools.cycle(tokenise(_FILLER))))


def _opening(asked: Asked, last: Message) -> str:
    gist = _gist(last.text)
    opening = _OPENINGS[zlib.crc32(gist.encode()) % len(_OPENINGS)]
    seen = f" I can see {last.images} picture(s)." if last.images else ""
    turn = sum(message.role == "user" for message in asked.messages)
    about = f"You said: “{gist}”." if gist else "You said nothing in words."
    return (
        f"{opening} {about}{seen}\n\nThis is a simulated answer by {asked.model} on {asked.host}"
        f" to message {turn} of this conversation; no language model is running."
    )


def _gist(text: str) -> str:
    plain = " ".join(_DIRECTIVE.sub(" ", text).split())
    return plain if len(plain) <= _GIST_CHARS else plain[: _GIST_CHARS - 1].rstrip() + "…"


def _with_code(opening: tuple[str, ...], total: int) -> tuple[str, ...]:
    head = (*opening, "\n\n```", "python", "\n")
    tail = ("\n```", "\n\n", "That", " is", " all", ".")
    room = total - len(head) - len(tail)
    if room < 0:
        return _exactly(total, itertools.cycle(opening))
    return (*head, *_exactly(room, _code_tokens()), *tail)


def _code_tokens() -> Iterator[str]:
    for number in itertools.count(1):
        line = f"step_{number} = carry(step_{number - 1}, weight={number})  # keep the light on\n"
        yield from tokenise(line)


def _exactly(count: int, tokens: Iterable[str]) -> tuple[str, ...]:
    return tuple(itertools.islice(tokens, count))
