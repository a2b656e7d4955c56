"""Which known name a person meant by what they typed."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import TypeVar

from bot.domain.errors import UnknownName

_WORD = re.compile(r"[^\W\d_]{4,}")
"""Words of a name that say something; sizes and versions are alike everywhere."""

T = TypeVar("T", bound=Hashable)

# By half of them `claude` was near to `coder`, and `mixtral` to `instruct`.
SIMILAR_ENOUGH = 0.65
"""Share of matching characters from which a name is worth naming as the nearest."""


def resolve(kind: str, name: str, known: Iterable[str], unasked: Sequence[str] = ()) -> str:
    """The known name meant: exact, else but for case, else by the only one with this last part.

    Else by the only one that ends so, begins so, or holds it. ``unasked`` are hosts that may know
    more names.

    Raises:
        UnknownName: nothing known, or more than one thing, is meant; names the nearest ones.
    """
    names = tuple(dict.fromkeys(known))
    typed = name.strip()
    if typed in names:
        return typed
    meant = _meant(typed.casefold(), names) if typed else ()
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise UnknownName(kind, typed, meant[:3], is_unclear=True)
    raise UnknownName(kind, typed, nearest(typed, names), sorted(names)[:5], unasked)


def nearest(name: str, known: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Known names most like the typed one, best first; those containing it come before others."""
    typed = name.strip().casefold()
    # Each word once: a thousand models are made of a few hundred words, and autocomplete must
    # answer while somebody types.
    like: dict[str, float] = {}
    # It prepares its second text, which is the same throughout.
    matcher = SequenceMatcher(None, "", typed, autojunk=False)
    scored = (
        (_likeness(typed, other.casefold(), matcher, like), other) for other in dict.fromkeys(known)
    )
    alike = sorted((-score, other) for score, other in scored if score >= SIMILAR_ENOUGH)
    return tuple(other for _, other in alike[:limit])


def matching(typed: str, known: Mapping[T, tuple[str, str]], limit: int = 25) -> tuple[T, ...]:
    """What may be meant by what somebody has typed so far, best first.

    That is whatever holds each word typed, what is called so from its beginning on first. Where
    nothing does, somebody mistyped: what is called nearly so.

    Args:
        typed: A part of what is wanted; nothing yet may mean everything.
        known: Its name, and what else finds it, by what is wanted.
        limit: Most of what is only called nearly so.
    """
    wanted, words = typed.strip().casefold(), typed.casefold().split()
    names = {key: name.casefold() for key, (name, _) in known.items()}
    found = [
        key
        for key, (_, beside) in known.items()
        if all(word in names[key] or word in beside.casefold() for word in words)
    ]
    if found:
        return tuple(sorted(found, key=lambda key: not names[key].startswith(wanted)))
    places = {name: place for place, name in enumerate(nearest(wanted, names.values(), limit))}
    alike = (key for key, name in names.items() if name in places)
    return tuple(sorted(alike, key=lambda key: places[names[key]])[:limit])


_MADE = re.compile(r"#[0-9a-f]{8}\Z")


def shown_name(name: str) -> str:
    """A persona's name as people read it: one made in Discord is told from others by its end."""
    # Its whole name is never given again: choices and privacy of one that was deleted must not
    # become those of the next that is called so.
    return _MADE.sub("", name)


def one_line(text: str) -> str:
    """A text as it fits a line: blanks made single, what cannot be seen left out."""
    # Most hold nothing else, and this is asked of a name for each question.
    seen = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return " ".join(seen.split())


def _meant(typed: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names matching by the strictest rule that matches any."""
    rules: tuple[Callable[[str], bool], ...] = (
        lambda known: known == typed,
        lambda known: known.rpartition("/")[2] == typed,
        lambda known: known.endswith(typed),
        lambda known: known.startswith(typed) or known.rpartition("/")[2].startswith(typed),
        # The command line promised that a unique part will do, and took none from the middle.
        lambda known: typed in known,
    )
    for rule in rules:
        if found := tuple(sorted(known for known in names if rule(known.casefold()))):
            return found
    return ()


def _likeness(
    typed: str, known: str, matcher: SequenceMatcher[str], like: dict[str, float]
) -> float:
    """0.0 to 2.0; a name containing what was typed, the matcher's second text, scores above 1.

    ``like`` remembers how like what was typed each text is.
    """
    if not typed:
        return 0.0
    if typed in known:
        matcher.set_seq1(known)
        return 1.0 + matcher.ratio()
    # By its words too: `visoin` is hardly like the whole of `lab/small-vision-7b`.
    best = 0.0
    for part in (*_WORD.findall(known), known.rpartition("/")[2], known):
        if part not in like:
            matcher.set_seq1(part)
            # By their lengths, then by their letters alone, most cannot be alike; nor is the whole
            # looked at closely where a part of it is more like already.
            bounds = (matcher.real_quick_ratio, matcher.quick_ratio)
            floor = max(SIMILAR_ENOUGH, best if part == known else 0.0)
            like[part] = matcher.ratio() if all(bound() >= floor for bound in bounds) else 0.0
        best = max(best, like[part])
    return best
