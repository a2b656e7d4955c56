"""What messages of a reply read like, and with which buttons: pure layout, without any Discord."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.chat import words
from bot.domain.chat import Receipt, Turn, TurnStatus
from bot.domain.events import Failed, Finished, Stopped
from bot.domain.ids import TurnId
from bot.policy.markup import harmless
from bot.policy.splitting import LIMIT, Part, shown_parts, split_reply

_SMALL_LIMIT = 600
"""Small print is cut to this, so that it always leaves room for the answer above it."""

_CUT_LINE = "-# ⚠ Lantern may not send messages here any more, so the answer ends here."


class Act(StrEnum):
    """What a button does."""

    STOP = "stop"
    CANCEL = "cancel"
    RETRY = "retry"
    CONTINUE = "continue"
    THOUGHTS = "thoughts"
    WARM = "warm"
    """Take the model that is in memory instead of waiting."""
    CLOUD = "cloud"
    """Take the cloud instead of waiting."""
    HALT = "halt"
    """Cancel a load that belongs to no turn."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one message shows."""

    content: str
    acts: tuple[Act, ...] = ()
    subject: str = ""
    """What the buttons act upon: a turn's id, or a load's ticket."""


def growing(parts: Sequence[Part], turn: TurnId | None) -> tuple[Look, ...]:
    """An answer while it streams; what stands open is closed in the shown copy alone."""
    return _looks(shown_parts(parts, LIMIT), [Act.STOP], turn)


def waiting(line: str, acts: list[Act], turn: TurnId | None) -> tuple[Look, ...]:
    """A status line in place of the answer to come."""
    return _looks((line,), acts, turn)


def ended(
    text: str,
    end: Finished | Stopped | Failed,
    *,
    notices: Sequence[str],
    has_thoughts: bool,
    has_footer: bool,
) -> tuple[Look, ...]:
    """A reply that will not change any more: answer, small print, buttons."""
    small = [f"ℹ {notice}" for notice in notices]
    if isinstance(end, Failed):
        message = words.failure_text(end)
        return _closed(text or message, [message, *small] if text else small, end.turn, [Act.RETRY])
    is_cut = isinstance(end, Stopped) or end.receipt.finish == "length"
    if isinstance(end, Stopped):
        small.insert(0, words.stopped_text(end))
    elif is_cut:
        small.insert(0, "✂ The answer reached its length limit; Continue goes on.")
    if has_footer:
        small.append(words.footer(end.receipt))
    return _closed(text, small, end.turn, _acts(text, is_cut=is_cut, has_thoughts=has_thoughts))


def restored(turn: Turn, *, has_footer: bool) -> tuple[Look, ...]:
    """A stored turn whose messages were left open when Lantern ended without warning."""
    text, receipt = turn.reply_text, turn.receipt
    small = [_restart_line(turn)] if turn.status is not TurnStatus.DONE else []
    if receipt is not None and has_footer:
        small.append(words.footer(receipt))
    is_cut = turn.status is not TurnStatus.DONE or _is_at_limit(receipt)
    acts = _acts(text, is_cut=is_cut, has_thoughts=bool(turn.reasoning_text))
    return _closed(text, small, turn.id, acts)


def cut_short(look: Look) -> Look:
    """A part of a growing reply that has become its last, since no message may follow."""
    first, *_ = split_reply(look.content, LIMIT - len(_CUT_LINE) - 1)
    return Look(f"{first}\n{_CUT_LINE}", (Act.RETRY,) if look.subject else (), look.subject)


def _restart_line(turn: Turn) -> str:
    if turn.receipt is not None and turn.receipt.finish == "cancelled":
        return "⏹ Stopped."
    if turn.reply_text.strip():
        return "⚠ Lantern was restarted in the middle of this answer. The text so far is kept."
    tried = words.attempts_text(turn.receipt.attempts) if turn.receipt is not None else ""
    return f"⚠ Lantern was restarted before this answer began.\n{tried}".rstrip()


def _is_at_limit(receipt: Receipt | None) -> bool:
    return receipt is not None and receipt.finish == "length"


def _acts(text: str, *, is_cut: bool, has_thoughts: bool) -> list[Act]:
    acts = [Act.CONTINUE] if is_cut and text.strip() else []
    acts.append(Act.RETRY)
    if has_thoughts:
        acts.append(Act.THOUGHTS)
    return acts


def _closed(
    text: str, small: Iterable[str], turn: TurnId | None, acts: list[Act]
) -> tuple[Look, ...]:
    """The text over as many messages as it needs, small print under the last; nothing is lost."""
    lines = [line for lines in small for line in lines.splitlines() if line.strip()]
    if not text.strip():
        body = "\n".join(lines)[: LIMIT - 10]
        return _looks((body or "The model answered with no words.",), acts, turn)
    print_ = "\n".join(f"-# {line}" for line in lines)[:_SMALL_LIMIT]
    *parts, last = split_reply(harmless(text), LIMIT)
    if print_ and len(last) + 1 + len(print_) > LIMIT:
        *more, last = split_reply(last, LIMIT - len(print_) - 1)
        parts.extend(more)
    return _looks((*parts, f"{last}\n{print_}" if print_ else last), acts, turn)


def _looks(parts: Sequence[str], acts: list[Act], turn: TurnId | None) -> tuple[Look, ...]:
    if not parts:
        return ()
    last = Look(parts[-1], tuple(acts) if turn is not None else (), str(turn or ""))
    return (*(Look(part, (), str(turn or "")) for part in parts[:-1]), last)
