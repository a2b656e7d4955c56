"""Personas made in a chat: who sees, makes and edits them, and what they may be called and hold."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from difflib import SequenceMatcher
from typing import Any
from unicodedata import normalize

from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.domain.personas import Character, LoadSettings, Made, Persona, PersonaScope
from bot.domain.values import value
from bot.policy.names import one_line, shown_name

MOST: Mapping[PersonaScope, int] = {"me": 25, "server": 100, "all": 200}
"""Personas of one person, of one server, of everybody."""

MOST_BYTES = 64 * 1024 * 1024
"""Of all cards together: their texts stay in memory."""

MOST_PICTURE_BYTES = 1024 * 1024 * 1024
"""Of all pictures together, on the disk."""

LONGEST_NAME = 64

NEARLY = 0.8
"""Share of letters in common from which two names are taken for each other."""


@value
class Editor:
    """Somebody who looks at personas or changes them, and from where."""

    user: UserId
    server: PlaceId | None = None
    is_admin: bool = False
    """Of that server."""
    is_owner: bool = False
    """This Lantern is theirs."""


def is_seen(made: Made, user: UserId | None, server: PlaceId | None) -> bool:
    """May it be chosen by this person in this server? Once chosen it answers whoever is there."""
    return made.scope == "all" or made.owner in (user, server)


def owner_for(scope: PersonaScope, editor: Editor) -> str:
    """Whose a new persona is.

    Raises:
        NotPermitted: it is not for this person to make one for so many.
    """
    match scope:
        case "me":
            return editor.user
        case "server" if editor.server is None:
            raise NotPermitted("There is no server here; make it for yourself (`scope: me`).")
        case "server" if not (editor.is_admin or editor.is_owner):
            words = "Only admins may make personas for the whole server"
            raise NotPermitted(f"{words}; make it for yourself with `scope: me`.")
        case "server":
            return str(editor.server)
        case "all" if not editor.is_owner:
            raise NotPermitted("Only the owner of this Lantern may make personas for everybody.")
        case "all":
            return ""


def check_may_edit(made: Made, editor: Editor) -> None:
    """Pass when this person may change, replace or delete it.

    Raises:
        NotPermitted: they may not.
    """
    is_own = made.maker == editor.user and made.scope != "all"
    is_admins = made.scope == "server" and made.owner == editor.server and editor.is_admin
    if not (is_own or is_admins or editor.is_owner):
        name = shown_name(made.persona.name)
        words = "its maker and the admins of this server may" if made.scope == "server" else ""
        words = words or "its maker and the owner of this Lantern may"
        raise NotPermitted(
            f"**{name}** is not yours to change: {words}. `/personas create` with `copy:` makes "
            "one of your own of it."
        )


def check_may_copy(persona: Persona, made: Made | None, editor: Editor) -> None:
    """Pass when this person may read a persona's texts, and take them elsewhere.

    Raises:
        NotPermitted: it is local only, and not theirs: a copy could be told to a provider.
    """
    is_own = made is not None and editor.user == made.maker
    if persona.is_private and not (is_own or editor.is_owner):
        name = shown_name(persona.name)
        words = "its words stay on the LAN, so only its maker and the owner of this Lantern"
        raise NotPermitted(f"**{name}** is local only: {words} may read or copy its texts.")


def new_name(typed: str, taken: Iterable[str]) -> str:
    """A name for a new persona, as it is shown.

    Args:
        typed: As somebody wrote it.
        taken: Names of files, and of personas for the same people.

    Raises:
        RequestRefused: it is no name, or taken; says by which.
    """
    name = normalize("NFC", one_line(typed))
    if not name:
        raise RequestRefused("A persona needs a name.")
    if len(name) > LONGEST_NAME:
        raise RequestRefused(
            f"That name has {len(name)} characters; at most {LONGEST_NAME} are taken."
        )
    # What stands behind it tells two of one name apart.
    if "#" in name or "`" in name or name.startswith("@"):
        raise RequestRefused("A name holds no `#` and no backtick, and does not begin with `@`.")
    for other in taken:
        if shown_name(other).casefold() == name.casefold():
            # Of a file only its owner changes anything, on the machine.
            way = "begin with its texts by `copy:`"
            if other != shown_name(other):
                way = "change that one by `/personas edit`"
            head = f"There is a persona **{shown_name(other)}** already."
            raise RequestRefused(f"{head} Take another name, or {way}.")
    return name


def near_words(name: str, known: Iterable[str]) -> str:
    """A hint where others are called nearly the same; empty where none is."""
    others = sorted({shown_name(other) for other in known} - {name})
    # More alike than a typing error's match: `sage` and `muse` are no near names.
    like = SequenceMatcher(None, "", name.casefold())
    near: list[str] = []
    for other in others:
        like.set_seq1(other.casefold())
        near += [f"**{other}**"] if like.ratio() >= NEARLY else []
    return f"Called nearly the same: {', '.join(near[:3])}." if near else ""


def trusted(persona: Persona, editor: Editor) -> tuple[Persona, tuple[str, ...]]:
    """The persona with what this person may ask of the hosts, and words for what was left out."""
    if editor.is_admin or editor.is_owner:
        return persona, ()
    # They hold or fill somebody else's memory, or go before everybody's questions.
    plain = replace(
        persona,
        keep_loaded=False,
        idle_ttl_s=None,
        load=LoadSettings(),
        priority="low" if persona.priority == "low" else "normal",
    )
    if plain == persona:
        return persona, ()
    words = "`load`, `keep_loaded`, `idle_ttl` and a high `priority` are for admins to set"
    return plain, (f"{words}, so they were left out.",)


_INNER = "character."
_PRIVACY = ("local_only", "cloud")


def merged(was: Persona | None, mine: Persona, theirs: Persona) -> tuple[Persona, tuple[str, ...]]:
    """One persona of two that were made of the same; and what both wrote differently, mine taken.

    That is told by the names of a persona's file, ``character.scenario`` of its character.

    Args:
        was: What both were made of. None: not known, so that whatever differs counts as mine.
        mine: Its texts are taken where they are not as they were.
        theirs: What stands by now, with the name and origin that stay.
    """
    now, wanted = _written(theirs), _written(mine)
    before = None if was is None else _written(was)
    # Opened to providers by one of two, it would take along what the other wrote in private.
    closed = _PRIVACY if mine.is_private and not theirs.is_private else ()
    opened = _PRIVACY if theirs.is_private and not mine.is_private else ()
    taken = {
        key: value
        for key, value in wanted.items()
        if value != now[key] and (before is None or key in closed or value != before[key])
    }
    both = tuple(key for key in taken if before is None or key in opened or before[key] != now[key])
    inner = {key.removeprefix(_INNER): taken[key] for key in taken if key.startswith(_INNER)}
    flat = {key: value for key, value in taken.items() if not key.startswith(_INNER)}
    return replace(theirs, **flat, character=replace(theirs.character, **inner)), both


def _written(persona: Persona) -> dict[str, Any]:
    """Each thing that somebody may write of a persona, by its name in a file."""
    kept = [f.name for f in fields(Persona) if f.name not in ("name", "source", "maker")]
    flat = {key: getattr(persona, key) for key in kept if key != "character"}
    plays = persona.character
    return flat | {f"{_INNER}{f.name}": getattr(plays, f.name) for f in fields(Character)}
