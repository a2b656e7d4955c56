"""What messages of a reply read like, and their buttons, which outlive a restart."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any, Self

import discord
from discord import ui

from bot.chat import words
from bot.chat.standing import instead_words
from bot.domain.chat import Receipt, Turn
from bot.domain.errors import NotPermitted
from bot.domain.events import Failed, Finished, Stopped
from bot.domain.ids import TurnId
from bot.domain.values import value
from bot.policy.code_files import long_code
from bot.policy.conversation import STOPPED
from bot.policy.formulas import plain_formulas
from bot.policy.markup import harmless
from bot.policy.splitting import LIMIT, split_reply
from bot.policy.tables import tabled
from bot.store.beside import Answers
from cogs._languages import told

_SMALL_LIMIT = 600
"""Small print is cut to this, so that it always leaves room for the answer above it."""

_CUT_LINE = "-# ⚠ Lantern may not send messages here any more, so the answer ends here."


class Act(StrEnum):
    """What a button does."""

    STOP = "stop"
    CANCEL = "cancel"
    RETRY = "retry"
    OTHER = "other"
    """Offer who else could answer again."""
    SEE = "see"
    """Answer again by a model that sees the pictures."""
    CONTINUE = "continue"
    THOUGHTS = "thoughts"
    CODE = "code"
    """Give the long code of an answer as files."""
    OLDER = "older"
    """Show the answer before this one to the same question."""
    NTH = "nth"
    """Says which of the answers this is; it cannot be pressed."""
    NEWER = "newer"
    EDITED = "edited"
    """Answer the question as it reads since it was edited."""
    WARM = "warm"
    """Take the model that is in memory instead of waiting."""
    CLOUD = "cloud"
    """Take the cloud instead of waiting."""
    HALT = "halt"
    """Cancel a load that belongs to no turn."""
    TELL = "tell"
    """From now on ping who presses when a slow answer of theirs is ready."""
    HUSH = "hush"
    """Ping them no more."""
    UNDO = "undo"
    """Take a choice back whose load was shown."""


@value
class MessageView:
    """What one message shows."""

    content: str
    acts: tuple[Act, ...] = ()
    """Its buttons."""
    subject: str = ""
    """What the buttons act upon: a turn's id, or the ticket of a load or choice."""
    mark: str = ""
    """The provider's, where its words stand here: kept under them whatever is cut."""
    labels: tuple[tuple[Act, str], ...] = ()
    """Of buttons that say more than their act: whom they take, and the price."""
    pings: int | None = None
    """The one person it may notify; nothing else in it ever notifies anybody."""
    is_spare: bool = False
    """It holds a message of the answer before, until it is known whether that is needed."""


class View:
    """What a writer shows. This one never changes; one that grows overrides ``messages``."""

    def __init__(self, messages: tuple[MessageView, ...] = ()) -> None:
        self._messages = messages
        self.is_over = bool(messages)
        """Will it not change any more?"""
        self.length = sum(len(message.content) for message in messages)
        """Characters of the answer so far; 0 while only a status is shown."""
        self.changes = 0
        """Counts what is new besides the answer's length."""

    def messages(self, now: float) -> tuple[MessageView, ...]:
        """The messages as they should read now, by the loop's clock; none: nothing is worth one."""
        return self._messages


# --- how a reply is laid out ----------------------------------------------------------------


def laid_out(
    parts: Sequence[str], acts: Iterable[Act], turn: TurnId | None, mark: str = ""
) -> tuple[MessageView, ...]:
    """One message per part; the last one alone has buttons, and only for a stored turn.

    Args:
        parts: With the mark under each.
        acts: The buttons.
        turn: What they act upon.
        mark: The provider's, where these are its words.
    """
    subject = str(turn or "")
    views = [MessageView(part, (), subject, mark) for part in parts]
    if views and turn is not None:
        # Under an earlier part they would stand in the middle of the answer.
        views[-1] = replace(views[-1], acts=tuple(acts))
    return tuple(views)


def small_line(line: str) -> str:
    """A line of small print as it follows a text; none for none."""
    return f"\n-# {line}" if line else ""


ONLY = (1, 1)
"""The place among its question's answers of one that has none beside it."""


def ended(
    text: str,
    end: Finished | Stopped | Failed,
    *,
    notices: Sequence[str],
    has_thoughts: bool,
    has_footer: bool,
    said_by: str = "",
    place: tuple[int, int] = ONLY,
    locale: object = None,
) -> tuple[MessageView, ...]:
    """A reply that will not change any more: answer, small print, buttons.

    Args:
        text: The answer, as far as it came.
        end: How it ended.
        notices: What was said along the way.
        has_thoughts: There are some to show.
        has_footer: Its receipt stands under it.
        said_by: The mark of whose words came, should there be no receipt to tell.
        place: Which of how many answers to its question it is.
        locale: Discord's, of its readers.
    """
    notes = _notes(end.receipt, notices)
    tell = partial(told, locale=locale, names=words.names_in(end.receipt, said_by))
    mark, print_ = _receipt_lines(end.receipt, has_footer=has_footer)
    if end.receipt is None:
        mark = [said_by]
    else:
        said_by = words.receipt_mark(end.receipt)
    if isinstance(end, Failed):
        # Whom the rules leave out meanwhile is refused again, whatever model is asked.
        acts = [] if isinstance(end.error, NotPermitted) else [Act.RETRY, Act.OTHER]
        became = [words.error_text(end.error)]
        return _closed(text, mark, became, notes, end.turn, acts, said_by, place, tell)
    is_cut = isinstance(end, Stopped) or end.receipt.finish == "length"
    became = ["✂ The answer reached its length limit; Continue goes on."] if is_cut else []
    if isinstance(end, Stopped):
        became = [words.stopped_text(end, has_text=bool(text.strip()))]
    acts = _acts(text, end.receipt, is_cut=is_cut, has_thoughts=has_thoughts)
    return _closed(text, mark, became, [*notes, *print_], end.turn, acts, said_by, place, tell)


def _receipt_lines(receipt: Receipt | None, *, has_footer: bool) -> tuple[list[str], list[str]]:
    """Lines from the receipt: those before all other small print, and those after it.

    Long notices once pushed provider and cost off the end, and a setting took them away: that an
    answer left the LAN, and its price, come first and cannot be switched off.
    """
    mark = "" if receipt is None else words.cloud_mark(receipt)
    if receipt is None:
        return [], []
    line = words.footer(receipt) if has_footer else mark
    why = instead_words(receipt)
    return ([line, why], []) if mark else ([why], [line])


def _notes(receipt: Receipt | None, notices: Sequence[str]) -> list[str]:
    asked = "" if receipt is None else receipt.asked
    return [f"ℹ {note}" for note in dict.fromkeys((asked, *notices)) if note]


def restored(
    turn: Turn,
    answers: Answers | None = None,
    *,
    has_footer: bool,
    news: Sequence[str] = (),
    is_vain: bool = False,
    locale: object = None,
) -> tuple[MessageView, ...]:
    """A stored turn as its messages read, also when Lantern ended without warning meanwhile.

    Args:
        turn: As it is stored.
        answers: Those to its question; None where it is the only one.
        has_footer: Its receipt stands under it.
        news: Said before the rest of the small print.
        is_vain: They tell that it was asked once more and nobody could answer.
        locale: Discord's, of its readers.
    """
    text, receipt, became = turn.reply_text, turn.receipt, [*news]
    is_cut = turn.status != "done"
    told_before = () if receipt is None or receipt.notices == (STOPPED,) else receipt.notices
    notes = _notes(receipt, told_before)
    if is_cut and receipt is not None and (receipt.finish == "cancelled" or receipt.ending):
        # As it read when it ended.
        by_asker = receipt.finish == "cancelled"
        why_cut = "" if by_asker else receipt.ending
        end = Stopped(turn.id, receipt, why_cut, by_asker=by_asker)
        failed = turn.status == "failed" and not by_asker
        # Of a question that nobody could answer yet the newest reason alone holds.
        if not (failed and is_vain and not text.strip()):
            why = words.stopped_text(end, has_text=bool(text.strip()))
            why = f"❌ {receipt.ending}" if failed else why
            became += [why] if why not in became else []
    elif is_cut and text.strip():
        became.append(
            "⚠ Lantern was restarted in the middle of this answer. The text so far is kept."
        )
    elif is_cut:
        became.append("⚠ Lantern was restarted before this answer began.")
    mark, print_ = _receipt_lines(receipt, has_footer=has_footer)
    is_cut = is_cut or (receipt is not None and receipt.finish == "length")
    acts = _acts(text, receipt, is_cut=is_cut, has_thoughts=bool(turn.reasoning_text))
    place = ONLY if answers is None else answers.place(turn.id)
    tell = partial(told, locale=locale, names=words.names_in(receipt))
    said_by = words.receipt_mark(receipt)
    *views, last = _closed(
        text, mark, became, [*notes, *print_], turn.id, acts, said_by, place, tell
    )
    is_outdated = answers is not None and turn.id in answers.outdated
    return (*views, with_offer(last) if is_outdated else last)


def with_offer(last: MessageView) -> MessageView:
    """The end of an answer to other words than its question has since it was edited."""
    return replace(last, acts=(*last.acts, Act.EDITED))


def cut_short(message: MessageView, locale: object = None) -> MessageView:
    """A message of a growing reply, cut so that it says it is the last: none may follow it."""
    mark, end = small_line(message.mark), told(_CUT_LINE, locale)
    content = message.content.removesuffix(mark)
    first, *_ = split_reply(content, LIMIT - len(mark) - len(end) - 1)
    acts = (Act.RETRY,) if message.subject else ()
    return replace(message, content=f"{first}{mark}\n{end}", acts=acts)


def _acts(text: str, receipt: Receipt | None, *, is_cut: bool, has_thoughts: bool) -> list[Act]:
    acts = [Act.SEE] if receipt is not None and receipt.seer is not None else []
    # First where more was to come; a whole answer goes on too, as by `/continue`.
    asks = [Act.RETRY, Act.CONTINUE] if text.strip() else [Act.RETRY]
    asks = asks[::-1] if is_cut else asks
    return [*acts, *asks, Act.OTHER, *([Act.THOUGHTS] if has_thoughts else [])]


def _closed(
    text: str,
    first: Sequence[str],
    became: Sequence[str],
    more: Sequence[str],
    turn: TurnId | None,
    acts: list[Act],
    mark: str,
    place: tuple[int, int],
    tell: Callable[[str], str],
) -> tuple[MessageView, ...]:
    """The text over as many messages as it needs, small print under the last; nothing is lost.

    A mark stands under each: it is among the small print already, and so under the last. Ours is
    told by ``tell``.

    Args:
        text: The answer; without a word of it the first of ``became`` stands in its place.
        first: Of the small print.
        became: What became of the answer, where it is not whole.
        more: The rest of the small print.
        turn: What the buttons act upon.
        acts: The buttons.
        mark: The provider's, where these are its words.
        place: Which of how many answers to its question it is.
        tell: Says our own words in the readers' language.
    """
    nth, of = place
    labels = ((Act.NTH, f"{nth}/{of}"),) if of > 1 else ()
    acts += [Act.CODE] if turn is not None and long_code(text) else []
    acts += [Act.OLDER, Act.NTH, Act.NEWER] if of > 1 else []
    # Signs that are not seen are no words: split_reply would give no part for them.
    text = harmless(tabled(plain_formulas(text)))
    if not text.strip():
        head, *became = filter(None, became or ["The model answered with no words."])
        text, mark = harmless(tell(head)), ""
    # A notice may hold a file's name, and an error what a host said.
    said = (harmless(tell(lines)).splitlines() for lines in (*first, *became, *more))
    lines = [line for lines in said for line in lines if line.strip()]
    print_ = "\n".join(f"-# {line}" for line in lines)[:_SMALL_LIMIT]
    under = small_line(mark)
    *parts, last = split_reply(text, LIMIT - len(under))
    # Cut once more rather than give the small print a message of its own.
    if print_ and len(last) + 1 + len(print_) > LIMIT:
        *more, last = split_reply(last, LIMIT - len(print_) - 1)
        parts.extend(more)
    parts = [f"{part}{under}" for part in parts]
    *views, end = laid_out((*parts, f"{last}\n{print_}" if print_ else last), acts, turn, mark)
    return (*views, replace(end, labels=labels))


# --- buttons --------------------------------------------------------------------------------

_FACES: dict[Act, tuple[str, str, discord.ButtonStyle]] = {
    Act.STOP: ("Stop", "⏹", discord.ButtonStyle.secondary),
    Act.CANCEL: ("Cancel", "✖", discord.ButtonStyle.secondary),
    Act.HALT: ("Cancel", "✖", discord.ButtonStyle.secondary),
    Act.TELL: ("Tell me when ready", "🔔", discord.ButtonStyle.secondary),
    Act.HUSH: ("No more pings", "🔕", discord.ButtonStyle.secondary),
    Act.UNDO: ("Undo", "↩", discord.ButtonStyle.secondary),
    Act.WARM: ("Answer now", "⚡", discord.ButtonStyle.primary),
    Act.CLOUD: ("Use the cloud", "☁", discord.ButtonStyle.primary),
    Act.RETRY: ("Retry", "🔁", discord.ButtonStyle.secondary),
    Act.OTHER: ("Other model", "🔀", discord.ButtonStyle.secondary),
    Act.SEE: ("With the picture", "👁", discord.ButtonStyle.primary),
    Act.CONTINUE: ("Continue", "⏩", discord.ButtonStyle.primary),
    Act.THOUGHTS: ("Thoughts", "💭", discord.ButtonStyle.secondary),
    Act.CODE: ("Code as file", "📄", discord.ButtonStyle.secondary),
    Act.EDITED: ("Answer the edited question", "✏️", discord.ButtonStyle.primary),
    Act.OLDER: ("", "◀️", discord.ButtonStyle.secondary),
    Act.NTH: ("", "", discord.ButtonStyle.secondary),
    Act.NEWER: ("", "▶️", discord.ButtonStyle.secondary),
}
_LOOKING = (Act.OLDER, Act.NTH, Act.NEWER)
"""Stand in a row of their own."""


_BUTTON_ID = r"lantern:(?P<act>[a-z]+):(?P<subject>[\w-]{1,64})"


def subjects_in(rows: Iterable[Any]) -> list[tuple[str, str]]:
    """What our buttons do and act upon, in a message's components as Discord's API gives them."""
    ids = [part.get("custom_id") or "" for row in rows for part in row.get("components", ())]
    found = [re.fullmatch(_BUTTON_ID, custom_id) for custom_id in ids]
    return [(match["act"], match["subject"]) for match in found if match is not None]


class TurnButton(
    ui.DynamicItem[ui.Button[ui.View]],
    # What a button acts upon is in its id: the views of a process die with it.
    template=_BUTTON_ID,
):
    """A button of a reply. A press becomes the event ``reply_button``, which a cog answers."""

    def __init__(self, act: Act, subject: str, label: str = "") -> None:
        usual, emoji, style = _FACES[act]
        label = label or usual
        custom_id = f"lantern:{act}:{subject}"
        button = ui.Button[ui.View](
            label=label or None,
            emoji=emoji or None,
            style=style,
            custom_id=custom_id,
            disabled=act is Act.NTH,
            row=1 if act in _LOOKING else None,
        )
        super().__init__(button)
        self._act = act
        self._subject = subject

    @classmethod
    async def from_custom_id(
        cls,
        interaction: discord.Interaction[Any],
        item: ui.Item[Any],
        match: re.Match[str],
        /,
    ) -> Self:
        """The button as pressed on a message of any age."""
        return cls(Act(match["act"]), match["subject"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Dispatches the press as the event ``reply_button``."""
        interaction.client.dispatch("reply_button", interaction, self._act, self._subject)


def buttons_of(message: MessageView, locale: object = None) -> ui.View | None:
    """The buttons of a message, in a reader's language; None removes those it had."""
    if not message.acts:
        return None
    # The library would forget a view after three minutes.
    view = ui.View(timeout=None)
    for act in message.acts:
        label = dict(message.labels).get(act) or told(_FACES[act][0], locale)
        button = TurnButton(act, message.subject, label)
        if act is Act.CONTINUE and Act.RETRY in message.acts[: message.acts.index(act)]:
            # Of a whole answer it is nothing that one is led to.
            button.item.style = discord.ButtonStyle.secondary
        view.add_item(button)
    return view
