"""What is sent to a model: the transcript of a turn, and the part of it that fits the window."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bot.domain.chat import Attachment, Message, Turn, TurnKind, TurnRequest
from bot.domain.errors import PromptTooLong, RequestRefused
from bot.domain.ids import UserId
from bot.domain.personas import Persona

BYTES_PER_TOKEN = 3.2
"""Below the 3.5 to 4.5 of common tokenizers on prose, so that an estimate errs to the long side."""
MESSAGE_TOKENS = 8
"""Role, turn marks and line ends of one message in common chat templates, rounded up."""
IMAGE_TOKENS = 1200
"""One image, at the upper end of what common vision models make of it."""

CONTINUE_TEXT = (
    "Go on exactly where your last message stopped. "
    "Do not repeat any of it, do not greet, do not comment on the break."
)
"""Asks for the rest of a reply; the portable way, since prefilled answers are often refused."""

_MARKERS = re.compile(
    r"(?P<first>[<\[])"
    r"(?=\|\w{1,40}\|?>|\w{1,40}\|>"  # <|im_start|>, <|turn>, <turn|>
    r"|｜[^<>｜]{1,40}｜>"  # DeepSeek's fullwidth bars
    r"|/?(?:think|s|bos|eos|start_of_turn|end_of_turn|tool_call|tool_response|sop)>"
    r"|</?SYS>>"
    r"|/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|gMASK)\])"
)
_DIGITS = re.compile(r"[0-9]")


@dataclass(frozen=True, slots=True)
class Fitted:
    """The part of a transcript that fits."""

    messages: tuple[Message, ...]
    dropped: int
    """Oldest messages left out, always whole turns."""
    prompt_tokens: int
    """Estimated."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text in a common tokenizer, erring to the long side; 0 for no text."""
    # Several tokenizers (Qwen, Gemma, Llama) spend one token on every digit.
    digits = len(_DIGITS.findall(text))
    return math.ceil((len(text.encode("utf-8", "replace")) - digits) / BYTES_PER_TOKEN) + digits


def message_tokens(message: Message) -> int:
    """Estimated tokens of one message with its images and turn marks."""
    return estimate_tokens(message.text) + MESSAGE_TOKENS + IMAGE_TOKENS * len(message.images)


def defuse(text: str) -> str:
    """The text with chat-template markers broken by a visible space, so that they stay words."""
    return _MARKERS.sub(r"\g<first> ", text)


def transcript(
    persona: Persona, turns: Sequence[Turn], request: TurnRequest, *, user_names: bool
) -> tuple[Message, ...]:
    """Every message of a turn: system prompt, the branch so far, and the message to answer.

    A turn that got no reply is left out whole: roles must alternate for many chat templates, and
    a message that was refused or too long must not spoil the turns after it.

    Args:
        persona: Gives the system prompt; a blank one is omitted.
        turns: The branch, root first; its last turn is the one replied to.
        request: What is asked; its kind decides what becomes of the last turn.
        user_names: Say who speaks, where more than one person does.

    Raises:
        RequestRefused: a retry or continuation where there is nothing to redo or go on with.
    """
    past, last = _split(turns, request)
    speakers = {turn.user for turn in past} | {last.user}
    is_named = user_names and len(speakers) > 1
    messages = [Message("system", persona.system_prompt)] if persona.system_prompt.strip() else []
    for turn in past:
        messages.append(_user_message(_said(turn), is_named=is_named))
        messages.append(Message("assistant", turn.reply_text))
    messages.append(_user_message(last, is_named=is_named))
    return tuple(messages)


def fit_transcript(messages: Sequence[Message], window: int | None, reserve: int) -> Fitted:
    """Drop the oldest whole turns until the rest and ``reserve`` tokens of answer fit the window.

    The system prompt and the last message always stay; so does the reply that is to be continued.

    Raises:
        PromptTooLong: what must stay does not fit.
    """
    head, turns = _by_turn(messages)
    kept_turns = _must_stay(turns)
    sizes = [sum(map(message_tokens, turn)) for turn in turns]
    total = sum(map(message_tokens, head)) + sum(sizes)
    gone = 0
    while window is not None and total + reserve > window:
        if gone == len(turns) - kept_turns:
            raise PromptTooLong(_too_long(total, window, reserve))
        total -= sizes[gone]
        gone += 1
    rest = [message for turn in turns[gone:] for message in turn]
    return Fitted((*head, *rest), len(messages) - len(head) - len(rest), total)


def blind(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages as a model that cannot see is sent them: each image is only named."""
    return tuple(_blind(message) if message.images else message for message in messages)


def _blind(message: Message) -> Message:
    names = ", ".join(defuse(image.name) for image in message.images)
    note = f"[not shown to this model: {names}]"
    text = f"{message.text}\n\n{note}" if message.text.strip() else note
    return replace(message, text=text, images=())


@dataclass(frozen=True, slots=True)
class _Said:
    """One person's message, from a stored turn or a new request."""

    user: UserId
    user_name: str
    text: str
    attachments: tuple[Attachment, ...]


def _split(turns: Sequence[Turn], request: TurnRequest) -> tuple[list[Turn], _Said]:
    """The answered turns before, and the message to answer."""
    answered = [turn for turn in turns if turn.reply_text.strip()]
    if request.kind is TurnKind.NEW:
        asked = _Said(request.user, request.user_name, request.text, request.attachments)
        return answered, asked
    if not turns:
        raise RequestRefused(f"There is no reply here to {request.kind.value} yet.")
    parent = turns[-1]
    if request.kind is TurnKind.CONTINUE and parent.reply_text.strip():
        return answered, _Said(parent.user, parent.user_name, "", ())
    return [turn for turn in answered if turn is not parent], _said(parent)


def _said(turn: Turn) -> _Said:
    return _Said(turn.user, turn.user_name, turn.user_text, turn.attachments)


def _user_message(said: _Said, *, is_named: bool) -> Message:
    """A person's message; one without content, or our own asking to go on, is nobody's words."""
    if said.text.strip() in ("", CONTINUE_TEXT) and not said.attachments:
        return Message("user", CONTINUE_TEXT)
    text = defuse(said.text)
    if is_named:
        name = " ".join(defuse(said.user_name).split())
        text = f"{name}: {text}"
    parts = [text] if text.strip() else []
    parts += [_file_block(item.name, item.text) for item in said.attachments if item.text]
    images = tuple(item for item in said.attachments if item.image is not None)
    return Message("user", "\n\n".join(parts), images)


def _file_block(name: str, text: str) -> str:
    title = " ".join(defuse(name).split())
    return f"----- file: {title} -----\n{defuse(text)}\n----- end of file: {title} -----"


def _by_turn(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The leading system messages, and the rest in groups that each begin with a user message."""
    head: list[Message] = []
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "system" and not turns:
            head.append(message)
        elif message.role == "user" or not turns:
            turns.append([message])
        else:
            turns[-1].append(message)
    return head, turns


def _must_stay(turns: Sequence[Iterable[Message]]) -> int:
    """How many of the last turns may not be dropped."""
    is_continuation = bool(turns) and any(m.text == CONTINUE_TEXT for m in turns[-1])
    return min(len(turns), 2 if is_continuation else 1)


def _too_long(tokens: int, window: int, reserve: int) -> str:
    return (
        f"The message needs about {tokens:,} tokens and {reserve:,} for the answer, but this model "
        f"reads at most {window:,}. Shorten it, or choose a model with a larger context."
    )
