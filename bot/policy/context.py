"""What is sent to a model: the transcript of a turn, and the part of it that fits the window."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from bot.domain.chat import Attachment, Message, Origin, Quote, Turn, TurnRequest
from bot.domain.errors import PromptTooLong
from bot.domain.ids import UserId
from bot.domain.personas import Character, Persona
from bot.domain.values import value
from bot.policy.memories import facts_text
from bot.policy.privacy import origin_of_prompt, origins_of_request, origins_of_turn
from bot.policy.prompt import Moment, filled_in, persona_prompt, scene_of

BYTES_PER_TOKEN = 3.2
"""Below the 3.5 to 4.5 of common tokenizers on prose, so that an estimate errs to the long side."""
MESSAGE_TOKENS = 8
"""Role, turn marks and line ends of one message in common chat templates, rounded up."""
LEAST_OF_ESTIMATE, MOST_OF_ESTIMATE = 0.6, 1.25
"""What a tokenizer makes of a text, of what we estimate: English prose about 0.75; scripts that it
knows little of more than 1."""
IMAGE_TOKENS = 1200
"""One image, at the upper end of what common vision models make of it."""

CONTINUE_TEXT = (
    "Go on exactly where your last message stopped. "
    "Do not repeat any of it, do not greet, do not comment on the break."
)
"""Asks for the rest of a reply; the portable way, since prefilled answers are often refused."""

GREET_TEXT = "[Somebody turns to you without a word.]"
"""Asks for a greeting. It stands before one in a prompt, too: many chat templates want a person to
speak first."""

UNDER_WAY = "[Somebody is answering this already.]"
"""Under a question of somebody else that has no answer yet: it is not for this turn to answer."""

_MARKERS = re.compile(
    r"(?P<first>[<\[])"
    r"(?=\|\w{1,40}\|?>|\w{1,40}\|>"  # <|im_start|>, <|turn>, <turn|>
    r"|｜[^<>｜]{1,40}｜>"  # DeepSeek's fullwidth bars
    r"|/?(?:think|s|bos|eos|start_of_turn|end_of_turn|tool_call|tool_response|sop)>"
    r"|</?SYS>>"
    r"|/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|gMASK)\])"
)
_DIGITS = b"0123456789"


@value
class Fitted:
    """The part of a transcript that fits."""

    messages: tuple[Message, ...]
    dropped: int
    """Messages left out, always whole turns: the oldest, and what is too long by itself."""
    prompt_tokens: int
    """Estimated."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text in a common tokenizer, erring to the long side; 0 for no text."""
    # Several tokenizers (Qwen, Gemma, Llama) spend one token on every digit.
    data = text.encode("utf-8", "replace")
    others = len(data.translate(None, _DIGITS))
    return math.ceil(others / BYTES_PER_TOKEN) + len(data) - others


def message_tokens(message: Message) -> int:
    """Estimated tokens of one message with its images and turn marks."""
    return estimate_tokens(message.text) + MESSAGE_TOKENS + IMAGE_TOKENS * len(message.images)


def may_not_fit(tokens: int, window: int, reserve: int) -> bool:
    """Would a count by the host itself change what fits? Asked with our own estimate."""
    return window - reserve < tokens * MOST_OF_ESTIMATE


def widest(window: int, reserve: int) -> int:
    """The window in our own estimate's tokens where the tokenizer makes the least of a text."""
    return reserve + math.floor((window - reserve) / LEAST_OF_ESTIMATE)


def countable(messages: Iterable[Message]) -> str:
    """The text of messages as a host is to count it: with the marks that most templates need."""
    # Tokenizers that do not know these marks make a few tokens more of them than of their own: a
    # prompt that its host then calls too long costs a third of what was said.
    return "".join([f"<|im_start|>{each.role}\n{each.text}<|im_end|>\n" for each in messages])


ANSWER_MARK = "<|im_start|>assistant\n"
"""What a template puts behind the messages that it asks an answer to."""


def counted_window(
    messages: Sequence[Message], estimated: int, text_tokens: int, window: int, reserve: int
) -> int:
    """The window in our own estimate's tokens, by what a host counted of these messages' texts.

    Pictures, which it did not count, stay as estimated.
    """
    pictures = sum([len(message.images) for message in messages])
    real = max(1, IMAGE_TOKENS * pictures + text_tokens)
    return reserve + math.floor((window - reserve) * estimated / real)


def defuse(text: str) -> str:
    """The text with chat-template markers broken by a visible space, so that they stay words."""
    # Nearly every text has none, and looking for two characters costs a tenth of the pattern.
    return _MARKERS.sub(r"\g<first> ", text) if "<" in text or "[" in text else text


def most_bytes(window: int) -> int:
    """UTF-8 bytes of text; whatever is longer never fits a window of so many tokens."""
    # Read by our estimate alone, of prose no more than three quarters of a window was ever filled.
    return math.floor(window * BYTES_PER_TOKEN / LEAST_OF_ESTIMATE)


def transcript(
    persona: Persona, turns: Sequence[Turn], request: TurnRequest, moment: Moment
) -> tuple[Message, ...]:
    """Every message of a turn: system prompt, the branch so far, and the message to answer.

    Nothing that was said is missing: a question that got no answer, or has none yet, stands alone
    (``alternating`` joins it with the next). Left out are words a model declined or could not
    take, since they would end the turns after them as well, and a continuation that brought
    nothing. Where more than one person speaks, each message says who.

    Args:
        persona: Gives the system prompt; a blank one is omitted. One with a character opens a
            conversation with its greeting, and its last instructions stand under the message.
        turns: The branch, root first; its last turn is the one replied to.
        request: The message to answer; its kind is not looked at.
        moment: When, and how much fits.
    """
    past = [turn for turn in turns if turn.reply_text.strip() or _is_open_question(turn)]
    names = _names((*past, request))
    # Who spoke first: a prompt that changed with each speaker would be read anew each time.
    first: Turn | TurnRequest = turns[0] if turns else request
    talk = turns[0].id if turns else moment.turn
    scene = scene_of(persona, defuse(first.user_name), moment, talk)
    ours = origin_of_prompt(persona)
    origins = origins_of_request(persona.name, request)
    # The first speaker's name may stand in it, and it holds what this message asked for.
    led = (ours, *(origins_of_turn(turns[0]) if turns else ()), *origins)
    character = persona.character
    messages: list[Message] = []
    facts = defuse(facts_text(request.facts))
    prompt = persona_prompt(persona, scene, _said(past, request), estimate_tokens)
    if facts and not names:
        # Where one person speaks it stays the same, and a host need not read it again.
        prompt, facts = f"{prompt}\n\n{facts}".strip(), ""
    if prompt:
        messages.append(Message("system", prompt, origins=led))
    is_beginning = not turns or turns[0].parent is None
    is_greeted = bool(past) and past[0].user_text == GREET_TEXT
    if character != Character() and is_beginning and persona.greeting and not is_greeted:
        greeting = filled_in(persona.greeting, scene)
        messages.append(Message("user", GREET_TEXT, origins=led))
        messages.append(Message("assistant", greeting, origins=led))
    for turn in past:
        name, said_at = names.get(turn.user), origins_of_turn(turn)
        text = _with_quotes(turn.user_text, turn.quotes, turn.user)
        message = _user_message(text, turn.attachments, name, said_at)
        if turn.reply_text.strip():
            # A reply may repeat whatever it was made from.
            messages += [message, Message("assistant", turn.reply_text, origins=said_at)]
        elif turn.status == "running":
            messages.append(replace(message, text=f"{message.text}\n\n{UNDER_WAY}"))
        else:
            messages.append(message)
    name = names.get(request.user)
    text = _with_quotes(request.text, request.quotes, request.user)
    newest = _user_message(text, request.attachments, name, origins)
    if facts and newest.text != CONTINUE_TEXT:
        newest = replace(newest, text=f"{facts}\n\n{newest.text}")
    last = filled_in(character.post_history, scene).strip()
    if last and newest.text != CONTINUE_TEXT:
        # No message of the system's own: many chat templates refuse one that is not the first.
        text = f"{newest.text}\n\n[Instructions for the reply, not said by anybody: {last}]".strip()
        newest = replace(newest, text=text, origins=(*origins, ours))
    return (*messages, newest)


def _names(said: Sequence[Turn | TurnRequest]) -> dict[UserId, str]:
    """What each who speaks is called, the same all along; nobody where it is one person alone."""
    # As each is called now: a new name in the middle made two people of one, and two who share a
    # name were one to the model.
    newest = {one.user: " ".join(one.user_name.split()) for one in said}
    if len(newest) < 2:
        return {}
    called: dict[UserId, str] = {}
    for user, name in newest.items():
        taken, number, own = {n.casefold() for n in called.values()}, 1, name
        while own.casefold() in taken:
            number += 1
            own = f"{name} ({number})"
        called[user] = own
    return called


def _said(past: Sequence[Turn], request: TurnRequest) -> list[str]:
    """The texts of a conversation, the newest first."""
    replies = ((turn.reply_text, turn.user_text) for turn in reversed(past))
    return [request.text, *(text for both in replies for text in both if text.strip())]


def _is_open_question(turn: Turn) -> bool:
    """Somebody's words without an answer, that a model may still be shown."""
    is_refused = turn.receipt is not None and turn.receipt.finish == "refused"
    ours = ("", CONTINUE_TEXT, GREET_TEXT)
    is_words = bool(turn.attachments or turn.quotes) or turn.user_text.strip() not in ours
    return is_words and not is_refused


def alternating(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The messages as they are sent: many chat templates refuse two of a person in a row."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is not None and message.role == last.role == "user":
            text, images = f"{last.text}\n\n{message.text}", last.images + message.images
            joined[-1] = Message("user", text, images, last.origins + message.origins)
        else:
            joined.append(message)
    return tuple(joined)


def fit_transcript(
    messages: Sequence[Message],
    window: int | None,
    reserve: int,
    sizes: Sequence[int] | None = None,
) -> Fitted:
    """Keep the newest whole turns that fit the window beside ``reserve`` tokens of answer.

    The system prompt and the last message always stay; so does the reply that is to be continued.

    Args:
        messages: The transcript.
        window: Tokens the model reads at most; None is without a limit.
        reserve: Tokens kept free for the answer.
        sizes: Estimated tokens of each message, where all were measured before.

    Raises:
        PromptTooLong: what must stay does not fit.
    """

    def measured(start: int, end: int) -> int:
        return sum(map(message_tokens, messages[start:end]) if sizes is None else sizes[start:end])

    head, starts = _turn_starts(messages)
    is_continuation = bool(starts) and messages[-1].text == CONTINUE_TEXT
    must_stay = min(len(starts), 2 if is_continuation else 1)
    least = total = measured(0, head)
    kept: list[Sequence[Message]] = []
    # From the newest end: measuring a long branch from its root took 62 ms of the event loop at
    # 400 turns, most of them for words that were left out.
    for start, end in reversed([*pairwise((*starts, len(messages)))]):
        turn, size = messages[start:end], measured(start, end)
        if len(kept) < must_stay:
            least += size
        elif window is not None and total + size + reserve > window:
            # A question too long for any answer must not hide what was said before it.
            if len(turn) == 1 and least + size + reserve > window:
                continue
            break
        total += size
        kept.append(turn)
    if window is not None and total + reserve > window:
        raise PromptTooLong(
            f"The message needs about {total:,} tokens and {reserve:,} for the answer, but this "
            f"model reads at most {window:,}. Shorten it, or choose a model with a larger context.",
            needed=total + reserve,
        )
    rest = [message for turn in reversed(kept) for message in turn]
    return Fitted((*messages[:head], *rest), len(messages) - head - len(rest), total)


def fit_or_least(
    messages: Sequence[Message], window: int, reserve: int, sizes: Sequence[int] | None = None
) -> Fitted:
    """As ``fit_transcript``; where what must stay is more than the window, just that."""
    try:
        return fit_transcript(messages, window, reserve, sizes)
    except PromptTooLong as error:
        return fit_transcript(messages, error.needed, reserve, sizes)


def blind(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages as a model that cannot see is sent them: each image is only named."""
    shown: list[Message] = []
    for message in messages:
        if not message.images:
            shown.append(message)
            continue
        names = ", ".join(defuse(image.name) for image in message.images)
        note = f"[not shown to this model: {names}]"
        text = f"{message.text}\n\n{note}" if message.text.strip() else note
        shown.append(replace(message, text=text, images=()))
    return tuple(shown)


def _with_quotes(text: str, quotes: Iterable[Quote], user: UserId) -> str:
    """The words under those they are about; only other people's are said to be theirs."""
    parts: list[str] = []
    for quote in quotes:
        name = "" if quote.user == user else f"{' '.join(quote.user_name.split())}: "
        parts.append("> " + f"{name}{quote.text}".replace("\n", "\n> "))
    return "\n\n".join([*parts, text] if text.strip() else parts)


def _user_message(
    text: str,
    attachments: Iterable[Attachment],
    name: str | None,
    origins: tuple[Origin, ...],
) -> Message:
    """A person's message with its files; ``name`` says whose it is, None does not."""
    files = tuple(attachments)
    if text.strip() in ("", CONTINUE_TEXT, GREET_TEXT) and not files:
        # Without content, or our own asking to go on: nobody's words, so nobody is named.
        return Message("user", text.strip() or CONTINUE_TEXT, origins=origins)
    text = defuse(text)
    if name is not None:
        text = f"{' '.join(defuse(name).split())}: {text}"
    parts = [text] if text.strip() else []
    for file in files:
        if file.text:
            title = " ".join(defuse(file.name).split())
            end = f"----- end of file: {title} -----"
            parts.append(f"----- file: {title} -----\n{defuse(file.text)}\n{end}")
    images = tuple([file for file in files if file.image is not None])
    return Message("user", "\n\n".join(parts), images, origins)


def _turn_starts(messages: Sequence[Message]) -> tuple[int, list[int]]:
    """How many system messages lead, and where each turn begins: with a user message, or first."""
    speaks = (n for n, message in enumerate(messages) if message.role != "system")
    head = next(speaks, len(messages))
    later = [n for n in range(head + 1, len(messages)) if messages[n].role == "user"]
    return head, [head, *later] if head < len(messages) else []
