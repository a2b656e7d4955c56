"""What a message goes on from, and what its conversation is told only once. Pure."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from bot.domain.chat import Candidate, Place, Receipt, Told, Turn, TurnRequest
from bot.domain.ids import ModelKey, TurnId, UserId
from bot.policy.names import one_line

ConversationMode = Literal["channel", "reply_chain"]
"""``channel``: the channel's talk goes on; ``reply_chain``: only replies go on."""


STOPPED = "Lantern was stopped before this answer was finished."
"""Noted of an answer that a crash cut off, until somebody goes on with it."""


def fresh_after_s(
    mode: ConversationMode, place: Place, *, is_pinged: bool, rest_s: float | None
) -> float | None:
    """How long nothing must have been said for a plain message to begin afresh; 0 is always.

    Args:
        mode: What the owner configured.
        place: Where it was said. A thread is one conversation in either mode: it was opened to
            have one. So are direct messages, until a ping begins another.
        is_pinged: It names the bot.
        rest_s: After so many idle seconds any conversation rests; None is never.
    """
    is_one_talk = place.thread is not None or (place.is_private and not is_pinged)
    return rest_s if mode == "channel" or is_one_talk else 0.0


_TITLE_CHARS = 60


def thread_title(text: str) -> str:
    """A thread's name from the first words said in it; empty for none."""
    # Discord shows names as they are: marks of layout and of mentions would stand there as such,
    # and one that turns the way of writing would turn what stands beside the name, too.
    plain = one_line(re.sub(r"<[@#:a][^>]*>|https?://\S+|[*_`~|>#🧵]", " ", text))
    if len(plain) > _TITLE_CHARS:
        cut = plain[:_TITLE_CHARS]
        plain = f"{cut.rpartition(' ')[0] or cut} …"
    return plain


def unnamed_title(*who: str) -> str:
    """What a thread is called until its first words name it: who talk there."""
    # Without a word of ours: the name is read in every language.
    return f"🧵 {thread_title(' · '.join(filter(None, who)))} …"


def awaits_name(title: str) -> bool:
    """Is a thread of ours still called so, or as earlier versions called it?"""
    return (title.startswith("🧵 ") and title.endswith(" …")) or title == "A new talk"


def is_meant(
    *, is_private: bool, is_reply: bool, is_pinged: bool, is_our_thread: bool, names_others: bool
) -> bool:
    """Is a message a question to us?

    Args:
        is_private: Nobody else could be meant.
        is_reply: It replies to an answer of ours. That needs no ping: people switch it off.
        is_pinged: It names us.
        is_our_thread: It stands in a thread that was opened to talk with us.
        names_others: It names somebody else, or replies to them: people talk there, too.
    """
    return is_private or is_reply or is_pinged or (is_our_thread and not names_others)


def goes_on(newest: Turn, request: TurnRequest, now_ms: int) -> bool:
    """Does a message without an answer under it go on from the turn found for it?

    Args:
        newest: The newest turn of its conversation, or what its thread was opened on.
        request: The message.
        now_ms: UTC milliseconds.
    """
    place, rest_s = request.place, request.fresh_after_s
    if newest.place.conversation != place.conversation:
        # However old it is: it was chosen by opening a thread on it. Of another channel it would
        # bring words to where nobody said them.
        return place.thread is not None and newest.place.conversation == place.channel
    if rest_s is None or newest.status == "running":
        return True
    # A long answer is no rest.
    answering_s = 0.0 if newest.receipt is None else newest.receipt.timing.total_s
    return now_ms - newest.created_at_ms < (rest_s + answering_s) * 1000


def adds_to_own(newest: Sequence[Turn], parent: TurnId, user: UserId) -> bool:
    """Does a reply only add to what the same person asked under the very answer it replies to?

    Two replies in one moment were two branches, and what the first said was in no later transcript.

    Args:
        newest: The branch a plain message of theirs would go on from.
        parent: The turn replied to.
        user: Who replies.
    """
    ids = [turn.id for turn in newest]
    since = newest[ids.index(parent) + 1 :] if parent in ids else ()
    return bool(since) and all(t.status == "running" and t.user == user for t in since)


NEWS_SHARE = 2 / 3
"""How many were kept is said again once it is at most this share of what was said."""


def is_trim_news(told: Told, kept: int) -> bool:
    """Is it worth saying that only the newest ``kept`` messages were sent?

    Said under every answer of a long talk, nobody read it any more.
    """
    return told.kept is None or kept <= told.kept * NEWS_SHARE


def gone_on(before: str, more: str) -> str:
    """An answer with the words that continue it."""
    # Told to go on exactly where it stopped, models leave the space out that their next word had;
    # most breaks are between words.
    is_joint = before[-1:].isalnum() or before[-1:] in (",", ".", ";", ":", "!", "?")
    return before + (" " if before and is_joint and more[:1].isalnum() else "") + more


def added(before: Turn, more: Turn) -> Turn:
    """An answer that was gone on with; without a new word it stands as it stood, but for its cost.

    Args:
        before: As it stood.
        more: The same with the new words, thoughts and receipt alone.
    """
    receipt, old = more.receipt, before.receipt
    if receipt is not None and old is not None:
        both = continued(old, receipt)
        spent, is_estimated = both.cost_micro_usd, both.is_cost_estimated
        vain = replace(old, cost_micro_usd=spent, is_cost_estimated=is_estimated)
        receipt = both if more.reply_text else vain
    # It has words, whatever became of those that were to follow.
    status = "partial" if more.status == "failed" else more.status
    return replace(
        more,
        status=status if more.reply_text else before.status,
        reply_text=gone_on(before.reply_text, more.reply_text),
        reasoning_text="\n\n".join(filter(None, (before.reasoning_text, more.reasoning_text))),
        receipt=receipt,
    )


def continued(before: Receipt, after: Receipt) -> Receipt:
    """The receipt of an answer that was gone on with: of all its words, as the last part says."""
    model = before.model or ModelKey("")
    by = Candidate(model, before.host, before.provider)
    lost = (Candidate(model, seam.host) for seam in before.seams if seam.pause_s is not None)
    earlier = before.before if by.where == "?" else (*before.before, *lost, by)
    here = Candidate(after.model or ModelKey(""), after.host, after.provider)
    return replace(
        after,
        usage=replace(
            after.usage,
            prompt_tokens=before.usage.prompt_tokens + after.usage.prompt_tokens,
            completion_tokens=before.usage.completion_tokens + after.usage.completion_tokens,
            estimated=before.usage.estimated or after.usage.estimated,
        ),
        timing=replace(
            after.timing, generation_s=before.timing.generation_s + after.timing.generation_s
        ),
        timed_parts=before.timed + after.timed,
        cost_micro_usd=before.cost_micro_usd + after.cost_micro_usd,
        is_cost_estimated=before.is_cost_estimated or after.is_cost_estimated,
        notices=tuple(
            dict.fromkeys(
                notice for notice in (*before.notices, *after.notices) if notice != STOPPED
            )
        ),
        seams=(*before.seams, *after.seams),
        # By its model, too: what one had said was once credited to another on the same host.
        before=tuple(dict.fromkeys(c for c in earlier if c != here)),
    )
