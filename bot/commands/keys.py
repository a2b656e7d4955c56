"""``lantern keys``: makes, lists and revokes the gateway's keys."""

import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta

from rich.console import Console

from bot.app import utcnow
from bot.commands.once import is_made, place_of, print_json
from bot.documents.values import parse_seconds
from bot.domain.errors import RequestRefused, UnknownName
from bot.policy.budget import dollars_text
from bot.policy.keys import ALPHABET, LENGTH, SCOPES, ApiKey, KeyScope, make_key
from bot.policy.names import nearest
from bot.settings import Loaded
from bot.settings.values import parse_rate
from bot.store.database import Database
from bot.store.files import missing_migrations
from bot.store.keys import KeyStore
from bot.terminal.screen import Screen

MOST_USD = 1_000_000.0
"""A day; what the store's integers cannot hold ended in a traceback."""

_UNCLOSED = re.compile(r"\[!?\]?[^\]]*$")
"""To ``fnmatch`` such a bracket stands for itself, and no model's key has one."""

FIRST_KEY = (
    "This is the first key: from now on the gateway wants one of every program, also of those on "
    "this machine, which needed none until now."
)
COLUMNS = ("name", "key", "scopes", "models", "a day", "rate", "last used", "expires")


def drawn_key(
    name: str,
    *,
    scopes: Sequence[str],
    models: Sequence[str],
    daily_usd: float | None,
    rate: str | None,
    expires: str | None,
) -> tuple[str, ApiKey]:
    """A new key as it is shown, and as it is stored.

    Raises:
        RequestRefused: it was not asked for as it can be written.
    """
    known: tuple[KeyScope, ...] = tuple(scope for scope in SCOPES if scope in scopes)
    for scope in set(scopes) - set(known):
        raise RequestRefused(f"There is no scope `{scope}`; there are {', '.join(SCOPES)}.")
    try:
        rule = None if rate is None else parse_rate(rate)
        lasts_s = None if expires is None else parse_seconds(expires, may_be_zero=False)
    except ValueError as wrong:
        raise RequestRefused(f"Expected {wrong}.") from wrong
    # No number at all is not within it, either.
    if daily_usd is not None and not daily_usd <= MOST_USD:
        raise RequestRefused("What a key may cost a day is a number of dollars, a million at most.")
    if not name.strip() or not name.isprintable() or len(name) > 64:
        raise RequestRefused("A key's name has 1 to 64 printable characters.")
    for pattern in models:
        if not pattern.strip() or _UNCLOSED.search(pattern):
            raise RequestRefused(
                f"`{pattern}` is no pattern that fits any model; one is such as `qwen/*`."
            )
    drawn = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - len("lantern_")))
    shown, public, digest = make_key(drawn)
    until = None if lasts_s is None else utcnow() + timedelta(seconds=lasts_s)
    return shown, ApiKey(
        id=public,
        name=name,
        digest=digest,
        scopes=known,
        models=tuple(models),
        daily_micro_usd=None if daily_usd is None else round(daily_usd * 1_000_000),
        rate=rule,
        expires_at_ms=None if until is None else int(until.timestamp() * 1000),
    )


async def add_key(loaded: Loaded, shown: str, drawn: ApiKey, *, as_json: bool) -> None:
    """Stores a key and shows it, once.

    Raises:
        RequestRefused: there is one of this name already.
    """
    is_first = not is_made(loaded.database_path)
    async with _keys(loaded) as keys:
        is_only = not await keys.all()
        key = await keys.add(drawn)
    if as_json:
        print_json({"key": shown, **key.record()})
        return
    if is_only:
        # Programs of this machine that had worked for weeks were refused a second later.
        Screen(Console(stderr=True)).line(FIRST_KEY, "yellow")
    screen = Screen(Console())
    screen.line(shown, "bold")
    screen.line("This is the only time it is shown; what is stored cannot be turned back into it.")
    if is_first:
        # In another folder than the gateway's it opened no door, and nobody was told.
        path = loaded.database_path.absolute()
        screen.line(
            f"The database {path} was made for it; a gateway on another knows nothing of it."
        )


async def list_keys(loaded: Loaded, *, as_json: bool) -> None:
    """Every key, without what opens a door."""
    path, known = loaded.database_path, tuple[ApiKey, ...]()
    # To look makes no database: the next command took the one of a wrong folder for the real one.
    if is_made(path):
        async with _keys(loaded, only_looks=True) as keys:
            known = await keys.all()
    if as_json:
        print_json([key.record() for key in known])
        return
    if not known:
        words = "No key yet, so only this machine may use the gateway."
        where = "" if is_made(path) else f"There is no database at {path.absolute()}. "
        Screen(Console()).line(f"{where}{words} Add one: lantern keys add NAME")
        return
    now_ms = int(utcnow().timestamp() * 1000)
    rows = [
        (
            key.name,
            key.prefix,
            ", ".join(key.scopes),
            ", ".join(key.models) or "all",
            "" if key.daily_micro_usd is None else dollars_text(key.daily_micro_usd),
            str(told["rate"] or ""),
            str(told["last_used"] or "never"),
            # Whoever looks why a client is refused sees it here.
            f"{'over since ' if key.is_over(now_ms) else ''}{told['expires'] or 'never'}",
        )
        for key, told in ((key, key.record()) for key in known)
    ]
    Screen(Console()).table(COLUMNS, rows)


async def revoke_key(loaded: Loaded, name: str) -> None:
    """Deletes a key; a running gateway knows it a second later.

    Raises:
        UnknownName: there is none.
    """
    if not is_made(loaded.database_path):
        raise UnknownName("key", name, ())
    async with _keys(loaded) as keys:
        if not await keys.revoke(name):
            names = [key.name for key in await keys.all()]
            raise UnknownName("key", name, nearest(name, names), names)
    Screen(Console()).line(f"{name} opens no door any more.")


@asynccontextmanager
async def _keys(loaded: Loaded, *, only_looks: bool = False) -> AsyncGenerator[KeyStore]:
    with ExitStack() as stack:
        path = loaded.database_path
        # Otherwise without the lock: a key is made while the gateway runs, and while it starts.
        if missing_migrations(path):
            path, _ = stack.enter_context(place_of(path, only_looks=only_looks))
        async with Database(path, utcnow=utcnow) as database:
            yield KeyStore(database)
