"""What a persona puts into a prompt: its texts with their macros, and the entries of its book."""

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from bot.domain.personas import Book, BookEntry, Character, Persona
from bot.domain.values import value
from bot.policy.names import one_line, shown_name

SCAN_DEPTH = 4
"""Newest messages in which a book's keys are looked for, where its maker names no number."""

BOOK_TOKENS = 1024
"""What joins from a book at most, where its maker names no number."""

MOST_SCANNED = 20_000
"""Characters of the newest messages; a whole file would be searched for every key."""

MAIN_PROMPT = "You are {{char}}, in a chat with {{user}}. Write {{char}}'s next message."
"""Where a card has no system prompt of its own, and where one says ``{{original}}``."""

_ROUNDS = 5  # of macros in macros, and of entries that bring in others

_MACRO = re.compile(r"\{\{([^{}]*)\}\}|<(USER|BOT|CHAR)>", re.IGNORECASE)
_MOMENT = re.compile(r"(?<!\{)\{(date|time)\}(?!\})")
_DICE = re.compile(r"(\d{0,2})d?(\d{1,6})", re.IGNORECASE)
_NOBODY = Character()


@value
class Moment:
    """When a prompt is made, and how much it may hold."""

    turn: str = ""
    """Draws ``{{random}}``: anew each turn, and the same however often one prompt is made."""
    now: datetime | None = None
    """In the zone whose date is meant; None leaves dates as they are written."""
    room: int = 1 << 20
    """Tokens of the window."""


@value
class Scene:
    """What macros stand for in one turn."""

    char: str
    user: str
    moment: Moment = Moment()
    talk: str = ""
    """Draws ``{{pick}}``: the same for a whole conversation."""


def scene_of(persona: Persona, user: str, moment: Moment, talk: str = "") -> Scene:
    """The scene in which a persona speaks with somebody, whose name is made one short line."""
    char = persona.character.name or shown_name(persona.name)
    return Scene(char, one_line(user)[:80] or "somebody", moment, talk)


def filled_in(text: str, scene: Scene, original: str = "") -> str:
    """A text of a persona's maker with its macros filled in; what is no macro stays as it is.

    Args:
        text: As it was written. ``{date}`` and ``{time}`` in single braces count as well.
        scene: What they stand for.
        original: What ``{{original}}`` stands for.
    """
    drawn = 0

    def fill(found: re.Match[str]) -> str:
        nonlocal drawn
        drawn += 1
        said = _meaning((found[1] or found[2] or "").strip(), scene, original, drawn)
        return found[0] if said is None else said

    now = scene.moment.now
    if now is not None:
        # Not ``str.format``: prompts hold JSON.
        text = _MOMENT.sub(lambda found: _when(found[1], now), text)
    # From the inside out: `{{random:{{user}},nobody}}`.
    for _ in range(_ROUNDS):
        before, text = text, _MACRO.sub(fill, text)
        if text == before:
            break
    return text


def _when(which: str, now: datetime) -> str:
    if which == "date":
        return f"{now:%A}, {now.day} {now:%B %Y}"
    # To the minute: seconds would make every prompt new to a host that has read it already.
    return f"{now:%H:%M %Z}".strip()


def _meaning(macro: str, scene: Scene, original: str, drawn: int) -> str | None:
    """What a macro stands for; None for one that nobody here knows."""
    name, colon, said = macro.partition(":")
    name = name.strip().lower()
    if macro.startswith("//") or (colon and name in ("comment", "hidden_key")):
        return ""
    if not colon:
        return _word(name, scene, original)
    # Two colons where a choice has commas in it, as SillyTavern writes them.
    said = said.removeprefix(":")
    choices = said.split("::") if "::" in said else re.split(r"(?<!\\),", said)
    match name:
        case "random" | "pick":
            seed = (scene.moment.turn, drawn) if name == "random" else (scene.talk,)
            return choices[_draw(len(choices), *seed, macro)].strip().replace("\\,", ",")
        case "roll" if dice := _DICE.fullmatch(said.strip()):
            sides = max(1, int(dice[2]))
            throws = range(min(20, int(dice[1] or 1)))
            return str(sum(1 + _draw(sides, scene.moment.turn, drawn, throw) for throw in throws))
        case "reverse":
            return said[::-1]
        case _:
            return None


def _word(name: str, scene: Scene, original: str) -> str | None:
    words = {
        "char": scene.char, "bot": scene.char, "user": scene.user, "original": original,
        "newline": "\n", "noop": "", "trim": "",
    }  # fmt: skip
    if (now := scene.moment.now) is not None:
        words |= {
            "date": f"{now.day} {now:%B %Y}", "time": f"{now:%H:%M}", "weekday": f"{now:%A}",
            "isodate": f"{now:%Y-%m-%d}", "isotime": f"{now:%H:%M}",
        }  # fmt: skip
    return words.get(name)


def _draw(count: int, *seed: object) -> int:
    """A number below ``count``, drawn by what stands there and the turn: no dice are pure."""
    words = "\0".join(map(str, seed)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(words).digest()[:8], "big") % count


# --- what a persona says before, first and last ---------------------------------------------


def persona_prompt(
    persona: Persona, scene: Scene, said: Sequence[str], measure: Callable[[str], int]
) -> str:
    """The system prompt; empty for a persona that says nothing.

    Sample talks are left out where they would fill half of the window.

    Args:
        persona: Who answers.
        scene: What its macros stand for.
        said: The conversation's texts, the newest first.
        measure: Tokens of a text.
    """
    character = persona.character
    fill = partial(filled_in, scene=scene)
    if character == _NOBODY:
        return fill(persona.system_prompt).strip() if persona.system_prompt else ""
    main = fill(MAIN_PROMPT)
    own = filled_in(persona.system_prompt, scene, main).strip()
    before, after = joined(character.book, said, scene, measure)
    personality, scenario = fill(character.personality).strip(), fill(character.scenario).strip()
    parts = [
        own or main,
        *before,
        fill(character.description).strip(),
        f"{scene.char}'s personality: {personality}" if personality else "",
        f"Scenario: {scenario}" if scenario else "",
        *after,
    ]
    prompt = "\n\n".join(filter(None, parts))
    talks = [talk.strip() for talk in re.split(r"(?i)<start>", fill(character.examples))]
    examples = "\n---\n".join(filter(None, talks))
    if examples and 2 * (measure(prompt) + measure(examples)) <= scene.moment.room:
        prompt += f"\n\nThis is how {scene.char} talks, from other conversations:\n{examples}"
    return prompt


def greetings(persona: Persona) -> tuple[str, ...]:
    """Every greeting of a persona, its first one first; macros as they are."""
    return tuple(filter(str.strip, (persona.greeting, *persona.character.greetings)))


def greeting(
    persona: Persona, scene: Scene, instead_of: str | None = None, nth: int | None = None
) -> str:
    """One greeting, drawn by the turn; the one behind ``instead_of`` where that was said before.

    ``nth`` is one by its number, counted from 1. Empty where the persona has none, or none such.
    """
    known = [filled_in(text, scene) for text in greetings(persona)]
    if not known:
        return ""
    if nth is not None and instead_of is None:
        return known[nth - 1] if 1 <= nth <= len(known) else ""
    if instead_of in known:
        return known[(known.index(instead_of) + 1) % len(known)]
    return known[_draw(len(known), scene.moment.turn)]


# --- the book -------------------------------------------------------------------------------


def joined(
    book: Book, said: Sequence[str], scene: Scene, measure: Callable[[str], int]
) -> tuple[list[str], list[str]]:
    """The contents of the entries that join, before and after the character's description.

    Constant ones join always, others once one of their keys stands in the newest messages. Where
    the budget is too small (a quarter of the window at most) the constant ones go first, then by
    priority, then the later in order.

    Args:
        book: The character's.
        said: The conversation's texts, the newest first.
        scene: What macros stand for, in keys too.
        measure: Tokens of a text.
    """
    depth = SCAN_DEPTH if book.scan_depth is None else book.scan_depth
    text = "\n".join(said[:depth])[:MOST_SCANNED]
    waiting = [entry for entry in book.entries if entry.enabled and entry.content.strip()]
    found: list[BookEntry] = []
    for _ in range(_ROUNDS if book.recursive_scanning else 1):
        folded = text.casefold()
        new, rest = list[BookEntry](), list[BookEntry]()
        for entry in waiting:
            (new if _joins(entry, text, folded, scene) else rest).append(entry)
        found, waiting = found + new, rest
        text = "\n".join(entry.content for entry in new)[:MOST_SCANNED]
    budget = BOOK_TOKENS if book.token_budget is None else book.token_budget
    left = min(budget, scene.moment.room // 4)
    kept: list[tuple[BookEntry, str]] = []
    for entry in sorted(found, key=lambda e: (not e.constant, -e.priority, -e.insertion_order)):
        content = filled_in(entry.content, scene).strip()
        if (size := measure(content)) <= left:
            left -= size
            kept.append((entry, content))
    kept.sort(key=lambda each: each[0].insertion_order)
    before = [content for entry, content in kept if entry.position == "before_char"]
    return before, [content for entry, content in kept if entry.position == "after_char"]


def _joins(entry: BookEntry, text: str, folded: str, scene: Scene) -> bool:
    def is_said(keys: Sequence[str]) -> bool:
        for written in keys:
            key = filled_in(written, scene).strip()
            key, hay = (key, text) if entry.case_sensitive else (key.casefold(), folded)
            if key and _stands_in(key, hay, whole=entry.whole_words):
                return True
        return False

    if entry.constant:
        return True
    if entry.use_regex or not is_said(entry.keys):
        return False
    return not (entry.selective and entry.secondary_keys) or is_said(entry.secondary_keys)


def _stands_in(key: str, text: str, *, whole: bool) -> bool:
    at = text.find(key)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(key) : at + len(key) + 1]
        if not whole or not (_is_one_word(before, key[0]) or _is_one_word(key[-1], after)):
            return True
        at = text.find(key, at + 1)
    return False


def _is_one_word(left: str, right: str) -> bool:
    """Do two characters side by side belong to one word? Chinese, Japanese and Thai part none."""
    return all(c != "" and c.isalnum() and ord(c) < 0x0E00 for c in (left, right))
