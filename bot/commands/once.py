"""Commands that look or act once and end: hosts, models, personas, usage, load, unload."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bot.app import lantern, plan_from, utcnow
from bot.chat.lantern import Lantern
from bot.chat.usage import ReportPeriod
from bot.chat.words import bytes_text, usage_text
from bot.commands.twins import tell_of_twins
from bot.domain.errors import BotError, NoCandidates
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, InstanceRef, UserId
from bot.fleet.residents import reference_of
from bot.policy.foresight import judged
from bot.process.lock import AlreadyRunning, check_entry, check_place, instance_lock
from bot.process.supervisor import LATE_S, last_sign_s, life_sign_of
from bot.settings import Loaded
from bot.store.database import Database
from bot.store.files import copied, missing_migrations
from bot.store.fleet_memory import FleetStore
from bot.store.ledger import By
from bot.terminal import facts

if TYPE_CHECKING:
    from bot.terminal.screen import Screen

# 78 is the system's EX_CONFIG: PM2 and systemd do not start again after it, since nothing would
# have changed.
EXIT_FAILED, EXIT_CONFIG = 1, 78

SETTLE_S = 8.0
"""A command about hosts waits this long until it is known of the slowest whether it serves."""

SOON_S = 1.5
"""Most hosts have said so by then; for whom else it waits it says."""

LOOKUP_S = 2.0
"""Longest that names are looked up, which a LAN's resolver may delay for ever."""

LOOKS_BESIDE = (
    "Another Lantern is running on this database. This command owns nothing beside it: what that "
    "one loaded is called foreign here, and what is loaded from here is that one's. It unloads "
    "both: by /fleet where it is in Discord, by its page or POST /admin/models/unload where it has "
    "a gateway."
)
GIVEN_UP = (
    "Given up: the host is told to end the load, where it takes that word. `lantern hosts` shows "
    "what is in memory."
)
LOOKS_BESIDE_GUEST = (
    "A chat or another command uses this database. This command owns nothing beside it: what that "
    "one loaded is called foreign here, and what is loaded from here is that one's. A chat unloads "
    "both by /fleet unload; once it has ended, `lantern unload` does."
)
CHATS_BESIDE = (
    "Another Lantern uses this database: terminal chats on it share one conversation, and what "
    "that one loaded is called foreign here."
)


@contextmanager
def place_of(database: Path, *, only_looks: bool) -> Generator[tuple[Path, AlreadyRunning | None]]:
    """Where a command may open a database, and which Lantern runs on it meanwhile.

    Raises:
        BotError: an older Lantern runs on it, and would find it changed under its feet.
    """
    with ExitStack() as stack:
        beside = None
        try:
            stack.enter_context(instance_lock(database, is_guest=True))
        except AlreadyRunning as running:
            beside = running
        if missing_migrations(database):
            # A look between an update and the restart brought the database to a schema that the
            # Lantern which ran on it refused when the update was taken back.
            if only_looks:
                database = stack.enter_context(copied(database))
            elif beside is not None:
                raise BotError(
                    f"An older Lantern is running on {database}, and this command would bring it "
                    "to a schema which that one does not know. Restart that one first."
                )
        yield database, beside


@asynccontextmanager
async def built_from(
    loaded: Loaded,
    settle_s: float = SETTLE_S,
    beside: str = "",
    *,
    leaves_nothing: bool = False,
    is_apart: bool = False,
) -> AsyncGenerator[Lantern]:
    """Everything, with the hosts looked at once.

    Beside a running Lantern the lock is taken: then this process owns nothing and only asks.

    Args:
        loaded: the settings.
        settle_s: how many seconds to wait for the hosts.
        beside: what is said beside a running Lantern; else what becomes of loads beside it.
        leaves_nothing: no database is made where there is none.
        is_apart: the database is left alone, whether or not there is one.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    with ExitStack() as stack:
        database, is_owner, is_beside = loaded.database_path, True, False
        if is_apart or (leaves_nothing and not is_made(database)):
            # A look from the wrong folder left a database there, which the next look took for the
            # real one.
            folder = TemporaryDirectory(prefix="lantern-", ignore_cleanup_errors=True)
            database, is_owner = Path(stack.enter_context(folder), "lantern.db"), False
        else:
            # Without the lock nothing is owned: the running Lantern's models are not unloaded, its
            # turns not closed as interrupted (ADR 6).
            held = stack.enter_context(place_of(database, only_looks=leaves_nothing))
            database, is_owner = held[0], held[1] is None
            # A command that only looks owns nothing anyway.
            if is_beside := not (is_owner or leaves_nothing):
                # Of a chat or a command beside it was said to unload by `/fleet` or its page.
                is_guest = held[1] is not None and held[1].guest is not None
                words = beside or (LOOKS_BESIDE_GUEST if is_guest else LOOKS_BESIDE)
                terminal(stderr=True).line(words, "yellow")
        async with lantern(replace(plan_from(loaded, is_owner=is_owner), database=database)) as it:
            if is_beside and (words := await changed_hosts_text(loaded, it)):
                terminal(stderr=True).line(words, "yellow")
            # One late probe on a busy machine, and a host that was up all the time was "not asked":
            # the next, under way at once, decides.
            await it.fleet.until(lambda: False, settle_s)
            yield it


async def changed_hosts_text(loaded: Loaded, built: Lantern) -> str:
    """Which hosts the Lantern that runs on the database has otherwise than set; empty for none."""
    changed = await FleetStore(built.database).changed_hosts(loaded.host_configs)
    if not changed:
        return ""
    unknown = [name for name, is_known in changed.items() if not is_known]
    names = ", ".join(f"{name} (unknown to it)" if name in unknown else name for name in changed)
    words = f"The Lantern that runs was started with other settings of {names}: restart it."
    if not unknown:
        return words
    return (
        f"{words} Until then what is loaded on {' or '.join(unknown)} from here is taken out by "
        "`lantern unload MODEL --foreign`."
    )


@asynccontextmanager
async def _looked_at(
    loaded: Loaded, show: Callable[[Lantern], None] | None = None
) -> AsyncGenerator[Lantern]:
    """Everything, with the hosts looked at; says who keeps that waiting, and who is named twice.

    Args:
        loaded: the settings.
        show: shows what is known by then, where a host is waited for, and at each change.
    """
    async with built_from(loaded, SOON_S, leaves_nothing=True) as built:
        hosts = built.catalog.snapshot().hosts.values()
        if slow := [host.name for host in hosts if host.is_undecided]:

            def shown() -> bool:
                if show is not None:
                    show(built)
                return False

            # One that takes connections and says nothing kept the whole table back.
            shown()
            left_s = SETTLE_S - SOON_S
            words = f"Waiting up to {left_s:g} s more for {', '.join(slow)} …"
            terminal(stderr=True).line(words, "dim")
            await built.fleet.until(shown, left_s)
        yield built
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOKUP_S):
                addresses = [host.address for host in loaded.settings.hosts]
                say = terminal(stderr=True).line
                await tell_of_twins(addresses, lambda words: say(f"! {words}", "yellow"))


def _with_own(host: HostSnapshot, kept: Collection[tuple[HostName, InstanceRef]]) -> HostSnapshot:
    """A host whose instances are Lantern's own where it keeps them, whoever looks."""
    seen = [
        replace(one, own=one.own or (host.name, reference_of(one)) in kept)
        for one in host.instances
    ]
    return replace(host, instances=tuple(seen))


async def kept_by_lantern(loaded: Loaded) -> frozenset[tuple[HostName, InstanceRef]]:
    """What Lanterns on this database have loaded, by where it is; nothing where there is none."""
    if not is_made(loaded.database_path):
        return frozenset()
    with place_of(loaded.database_path, only_looks=True) as (database, _):
        async with Database(database, utcnow=utcnow) as opened:
            own = await FleetStore(opened).own()
    return frozenset((one.host, one.reference) for one in own)


async def show_hosts(loaded: Loaded, *, as_json: bool) -> None:
    """The hosts, as a table that grows where one is waited for, or as JSON.

    Raises:
        NoCandidates: none answers; told after it.
    """
    shown: dict[HostName, Sequence[str]] = {}
    # This command owns nothing, and so all that the running Lantern keeps was called foreign.
    kept = await kept_by_lantern(loaded)

    def hosts_of(built: Lantern) -> list[HostSnapshot]:
        return [_with_own(host, kept) for host in built.catalog.hosts()]

    def show(built: Lantern, *, is_last: bool = False) -> None:
        new = {
            host.name: facts.host_row(host, built.catalog.snapshot().taken_at)
            for host in hosts_of(built)
            if host.name not in shown and (is_last or not host.is_undecided)
        }
        if new:
            terminal().table(facts.HOST_COLUMNS, [*new.values()], above=[*shown.values()])
            shown.update(new)

    async with _looked_at(loaded, None if as_json else show) as built:
        if as_json:
            now = built.catalog.snapshot().taken_at
            print_json([facts.host_record(host, now) for host in hosts_of(built)])
        else:
            show(built, is_last=True)
        is_out = bool(built.catalog.outage())
    # As `models` does: a script that went on by the exit code found nobody to ask.
    if is_out:
        raise NoCandidates("No host answers now.")


async def show_stats(loaded: Loaded, *, as_json: bool) -> None:
    """How well each host's first words were predicted; no host is waited for."""
    async with built_from(loaded, settle_s=0.0, leaves_nothing=True) as built:
        told = await FleetStore(built.database).foretold()
        names = [host.name for host in built.catalog.hosts()]
    found = {name: judged(told.get(name, ())) for name in names}
    if as_json:
        nothing = {"answers": 0, "median_factor": None, "near_share": None}
        print_json([{"name": n, **(asdict(f) if f else nothing)} for n, f in found.items()])
        return
    rows = [
        (n, str(f.answers), f"{f.median_factor:.2f}", f"{f.near_share:.0%}")
        if f
        else (n, "0", "?", "?")
        for n, f in found.items()
    ]
    terminal().table(facts.STATS_COLUMNS, rows)


async def show_models(loaded: Loaded, *, as_json: bool) -> None:
    """The models on every disk, as a table or as JSON.

    Raises:
        NoCandidates: no host answers.
    """
    async with _looked_at(loaded) as built:
        catalog = built.catalog
        if as_json:
            print_json(facts.model_records(catalog))
        elif keys := catalog.all_model_keys():
            rows = [
                (option.key, bytes_text(option.size_bytes), option.mark, ", ".join(option.hosts))
                for option in map(catalog.option, keys)
            ]
            terminal().table(facts.MODEL_COLUMNS, rows)
        # An empty table said nothing of hosts that are away, and nor did the exit code.
        if reasons := catalog.outage():
            told = "\n".join(f"• {reason}" for reason in reasons)
            raise NoCandidates(f"No host answers now.\n{told}")
        for name, reason in catalog.unasked().items():
            words = f"! {name} could not be asked, and may have more: {reason}"
            terminal(stderr=True).line(words, "yellow")


async def show_personas(loaded: Loaded, *, as_json: bool) -> None:
    """The personas of files and those made in chats, as a table or as JSON; no host is waited for.

    Raises:
        BotError: files are broken; shown after those that are not.
    """
    async with built_from(loaded, settle_s=0.0, leaves_nothing=True) as built:
        every, problems = built.shelf.every(), built.shelf.problems
    if as_json:
        print_json([facts.persona_record(persona) for persona in every])
    else:
        rows = [facts.persona_row(persona) for persona in every]
        terminal().table(facts.PERSONA_COLUMNS, rows)
    if problems:
        raise BotError("\n".join(problems))


async def show_usage(loaded: Loaded, period: ReportPeriod, by: By, *, as_json: bool) -> None:
    """What a period used, cost and saved, in words or as JSON; no host is waited for.

    Raises:
        BotError: there is no database.
    """
    from bot.gateway.usage import key_names

    # Beside a service whose database stands elsewhere, it told of zero dollars, and exited with 0.
    if not is_made(loaded.database_path):
        words = "Give --config or LANTERN_CONFIG of the Lantern you mean, or set storage.url."
        raise BotError(f"There is no database at {loaded.database_path.absolute()}. {words}")
    async with built_from(loaded, settle_s=0.0, leaves_nothing=True) as built:
        report = await built.usage.report(period, "all", UserId(""), None, by)
        # The ledger knows people by hashes alone, but a key's name is told everywhere.
        names = await key_names(built) if by == "user" else {}
        lines = tuple(replace(line, name=names.get(line.name, line.name)) for line in report.lines)
        report = replace(report, lines=lines)
    if as_json:
        print_json(asdict(report))
    else:
        terminal().markdown(usage_text(report))


async def load(loaded: Loaded, model: str, host: str | None, *, as_json: bool) -> None:
    """Loads a model and says where it is; with JSON the progress goes to standard error.

    Raises:
        BotError: no such model or host, or nobody could load it.
    """
    async with built_from(loaded) as built:
        # A program reads standard output to its end: progress in it would be broken JSON.
        screen = terminal(stderr=as_json)
        try:
            ready = await screen.waited(built.acts.load(host, model))
        except asyncio.CancelledError:
            screen.line(GIVEN_UP, "yellow")
            raise
    # Without a host the load has raised its own error.
    key, where = str(ready.model), ready.by.where if ready.by is not None else None
    was_loaded = ready.waited_s is None
    if as_json:
        print_json({"model": key, "host": where, "was_loaded": was_loaded})
    elif was_loaded:
        screen.line(f"{key} was in memory already, on {where}.")
    else:
        screen.line(f"{key} is in memory on {where}.")


async def unload(
    loaded: Loaded, model: str, host: str | None, *, even_foreign: bool, as_json: bool
) -> None:
    """Unloads a model and says what happened.

    Raises:
        BotError: nothing of that name is loaded, or it may not be unloaded.
    """
    async with built_from(loaded) as built:
        done = await facts.unload(
            built.acts, host, model, even_foreign=even_foreign, option="--foreign"
        )
    if as_json:
        left = [{"host": at, "identifier": what} for at, what in sorted(done.left)]
        print_json({"unloaded": left, "said": done.said})
    else:
        terminal().markdown(done.said)


def is_made(database: Path) -> bool:
    """Is there one? An empty file is none yet: a look once made it one.

    Raises:
        ConfigError: something else stands in its place, or it may not be looked at.
    """
    check_entry(database)
    if not os.path.exists(database):
        return False
    check_place(database)
    return database.stat().st_size > 0


def health(loaded: Loaded) -> str:
    """When the Lantern on this database last showed that it lives, in words.

    Raises:
        BotError: it did not lately, or never.
        ConfigError: it may not be looked at.
    """
    database = loaded.database_path
    check_entry(database)
    since_s = last_sign_s(life_sign_of(database), utcnow())
    if since_s is None:
        raise BotError(f"No Lantern runs on the database {database}.")
    if since_s > LATE_S:
        raise BotError(f"The Lantern on {database} has shown no sign of life for {since_s:.0f} s.")
    return f"Lantern lives: its last sign is {max(0.0, since_s):.0f} s old."


def terminal(*, stderr: bool = False) -> "Screen":
    """Where a command prints."""
    # rich is loaded by whoever prints: a Lantern that runs has no use for it.
    from rich.console import Console

    from bot.terminal.screen import Screen

    return Screen(Console(stderr=stderr))


def print_json(value: object) -> None:
    """A value on standard output, for programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
