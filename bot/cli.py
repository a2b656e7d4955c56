"""The command line: parse, call a command, print. Exit 0 fine, 1 failed, 2 usage, 78 set-up."""

import asyncio
import errno
import gc
import io
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TextIO, TypeVar

import typer

from bot.commands import once
from bot.commands.once import EXIT_CONFIG, EXIT_FAILED
from bot.domain.errors import (
    BotError,
    ConfigError,
    DatabaseFault,
    NoCandidates,
    RequestRefused,
    StoreUnusable,
)
from bot.process.lock import AlreadyRunning
from bot.process.logs import configure_logging
from bot.settings import Loaded, load_settings, masked, missing_for_hosts, missing_for_run, schema
from bot.store.ledger import By
from bot.terminal.facts import PERIODS, report_period

GARBAGE = (10_000, 20, 20)
"""After so many new objects garbage is looked for among them, and each so many times among older
ones: two megabytes more, at the most."""

_UNWRITABLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE}
)
"""Of a full disk behind standard output, or of one that is closed, here or by its reader."""

T = TypeVar("T")

cli = typer.Typer(
    name="lantern",
    help="Chat with the LM Studio hosts of your LAN: in Discord, or here.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # The boxed help calls every switch `<bool>`, and folds into nothing in a narrow terminal.
    rich_markup_mode=None,
    # Typer's own tracebacks print local variables, tokens among them.
    pretty_exceptions_enable=False,
)
config_cli = typer.Typer(help="The settings in force.", no_args_is_help=True, rich_markup_mode=None)
cli.add_typer(config_cli, name="config")
keys_cli = typer.Typer(help="Keys of the gateway.", no_args_is_help=True, rich_markup_mode=None)
cli.add_typer(keys_cli, name="keys")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="config.yaml to read (else LANTERN_CONFIG)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Plain values for programs.")]
HostOption = Annotated[str | None, typer.Option("--host", help="Name or address of one host.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its code."""
    _prepare_streams()
    try:
        try:
            # `python -m bot` is the same program: its help and its completion name the command.
            cli(args=None if arguments is None else list(arguments), prog_name="lantern")
        finally:
            # Told at the very end it was an error of the interpreter's own, and no exit code.
            sys.stdout.flush()
    except OSError as failed:
        # A file that cannot be read or written is told of by its room, and has a name.
        if failed.errno not in _UNWRITABLE or failed.filename is not None:
            raise
        # What still waits for it is not tried once more, with a traceback, as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # `| head` has read all that it wanted.
        if failed.errno != errno.EPIPE:
            words = f"Standard output takes nothing more: {failed.strerror}."
            once.terminal(stderr=True).line(words, "red")
        sys.exit(EXIT_FAILED)
    except BotError as failed:
        is_lasting = isinstance(failed, ConfigError | AlreadyRunning | StoreUnusable)
        screen, style = once.terminal(stderr=True), "bold red" if is_lasting else "red"
        if isinstance(failed, ConfigError):
            is_stored = isinstance(failed, DatabaseFault)
            what = "use its database" if is_stored else "start with this configuration"
            screen.line(f"Lantern cannot {what}:", style)
            for fault in failed.faults:
                screen.line(f"  • {fault}")
        else:
            # Whoever sits at the machine reads all that a host said of it.
            words = failed.user_message
            if isinstance(failed, NoCandidates) and failed.details:
                words = f"{words.partition(chr(10))[0]}\n{failed.details}"
            screen.line(words, style)
        sys.exit(EXIT_CONFIG if is_lasting else EXIT_FAILED)


def _prepare_streams() -> None:
    """Has the standard streams take any character, and none of their places stand empty.

    The next file or socket would get the number of one that is closed, and words meant for a person
    with it; the event loop ends the process where one of its own does.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    # Redirected output is cp1252 on Windows and ASCII in bare containers: no emoji may crash it.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    # A script piped in is UTF-8 too, with the mark that PowerShell puts before it.
    stdin: TextIO = sys.stdin
    if isinstance(stdin, io.TextIOWrapper) and not stdin.isatty():
        stdin.reconfigure(encoding="utf-8-sig", errors="replace")


def run_async(work: Coroutine[None, None, T]) -> T:
    """Runs a coroutine on the fastest event loop this machine has."""
    # Off since the start, see ``bot.__main__``; the modules stay, and are looked through no more.
    gc.freeze()
    # A request makes thousands of objects and hardly a cycle: looked for after each 700, as by
    # default, they took a sixth of all that a busy gateway did.
    gc.set_threshold(*GARBAGE)
    gc.enable()
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop
    except ImportError:
        factory = None  # not made for Windows nor for every Python
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        # Only this option pays for reading the package's metadata.
        from importlib.metadata import version

        sys.stdout.write(f"lantern {version('lantern-bot')}\n")
        raise typer.Exit


def _loaded(config: Path | None, *, for_hosts: bool = False, needs_secrets: bool = True) -> Loaded:
    """The settings, with logs on standard error that speak of errors alone."""
    loaded = load_settings(config, os.environ, Path.cwd(), needs_secrets=needs_secrets)
    if for_hosts and (missing := missing_for_hosts(loaded)):
        # A warning may say why: a variable in small letters is none.
        raise ConfigError((*missing, *loaded.warnings))
    configure_logging("error", "console", loaded.secrets)
    return loaded


def _log_as_a_service(loaded: Loaded) -> None:
    """Logs to standard output, which a service writes nothing else to.

    PM2 keeps what comes by standard error as errors: whatever was well stood in that file, too.
    """
    log = loaded.settings.log
    # A stream of its own: what a reader who is gone did not take was tried again by Python's, at
    # the very end, and made a failure of a Lantern that was stopped on purpose.
    output = os.fdopen(1, "w", encoding="utf-8", errors="replace", closefd=False)
    configure_logging(log.level, log.format, loaded.secrets, output)


@cli.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and leave.", is_eager=True, callback=_say_version
        ),
    ] = False,
) -> None:
    """Chat with the LM Studio hosts of your LAN."""


# --- running -------------------------------------------------------------------------------


@cli.command()
def init(config: ConfigOption = None) -> None:
    """Asks for token, hosts and keys, tries each, writes .env. Reads answers from a pipe too."""
    from bot.commands.init import set_up

    configure_logging("error", "console", ())
    is_whole = set_up(config, os.environ, Path.cwd())
    raise typer.Exit(0 if is_whole else EXIT_FAILED)


@cli.command()
def run(config: ConfigOption = None) -> None:
    """The Discord bot."""
    loaded = _loaded(config)
    missing = missing_for_run(loaded)
    if missing:
        raise ConfigError((*missing, *loaded.warnings))
    # discord.py is loaded by this command alone, and only once the set-up is right.
    from bot.commands.run import run_bot
    from bot.commands.service import owned

    _log_as_a_service(loaded)
    reread = partial(load_settings, config, os.environ, Path.cwd())
    with owned(loaded.database_path, os.environ):
        raise typer.Exit(run_async(run_bot(loaded, os.environ, reread)))


@cli.command()
def serve(config: ConfigOption = None) -> None:
    """The OpenAI-compatible gateway alone, without Discord."""
    # aiohttp's server is loaded only where it listens.
    from bot.commands.serve import serve as serve_until_stopped
    from bot.commands.service import owned

    loaded = _loaded(config, for_hosts=True)
    _log_as_a_service(loaded)
    reread = partial(load_settings, config, os.environ, Path.cwd())
    with owned(loaded.database_path, os.environ):
        raise typer.Exit(run_async(serve_until_stopped(loaded, os.environ, reread)))


@cli.command()
def demo(
    tour: Annotated[bool, typer.Option("--tour", help="Type nothing; watch the main job.")] = False,
) -> None:
    """A chat over SIMULATED hosts: no Discord, no LM Studio, no settings; a pipe is a script."""
    # The simulator is loaded only where it is played with.
    from bot.commands.chat import play_demo

    configure_logging("error", "console", ())
    raise typer.Exit(run_async(play_demo(tour=tour)))


@cli.command()
def chat(config: ConfigOption = None) -> None:
    """A chat in this terminal over the configured hosts."""
    from bot.commands.chat import play_chat

    raise typer.Exit(run_async(play_chat(_loaded(config, for_hosts=True))))


# --- facts ---------------------------------------------------------------------------------


@cli.command()
def check(
    command: Annotated[
        Literal["run", "serve"] | None,
        typer.Argument(
            help="What is to be run. Unless said: run; serve where there is no token, and the "
            "gateway is enabled or has keys."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reads the set-up, reaches Discord and every host, says what is wrong and what to change."""
    # With discord.py, which takes longer to load than most commands to run.
    from bot.commands.check import check_up

    raise typer.Exit(run_async(check_up(_loaded(config), command, as_json=as_json)))


@cli.command()
def health(config: ConfigOption = None) -> None:
    """Says whether the Lantern on this database lives; exit 1 when it does not. For Docker."""
    once.terminal().line(once.health(_loaded(config)))


@cli.command()
def hosts(
    stats: Annotated[
        bool, typer.Option("--stats", help="How well their first words were predicted.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The hosts: state, models on disk, models in memory."""
    show = once.show_stats if stats else once.show_hosts
    run_async(show(_loaded(config, for_hosts=True), as_json=as_json))


@cli.command()
def models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every model on the hosts' disks, and how soon it could answer."""
    run_async(once.show_models(_loaded(config, for_hosts=True), as_json=as_json))


@cli.command()
def personas(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The personas, and persona files that are broken."""
    run_async(once.show_personas(_loaded(config), as_json=as_json))


@cli.command()
def usage(
    period: Annotated[
        str,
        typer.Argument(
            help="today, week, month, year, or `last month` for the summary of a month."
        ),
    ] = "today",
    by: Annotated[
        By, typer.Option(help="A line for each model, answered_by, day, month, server or user.")
    ] = "model",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tokens, speed, cost, budget left, and what answering at home has saved."""
    try:
        chosen = report_period(period)
    except RequestRefused as refused:
        raise typer.BadParameter(f"{period!r} is none of {', '.join(PERIODS)}") from refused
    run_async(once.show_usage(_loaded(config), chosen, by, as_json=as_json))


# --- acts ----------------------------------------------------------------------------------


@cli.command()
def load(
    model: Annotated[str, typer.Argument(help="Model key; a unique part of it will do.")],
    host: HostOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Loads a model, on the best host unless one is named."""
    run_async(once.load(_loaded(config, for_hosts=True), model, host, as_json=as_json))


@cli.command()
def unload(
    model: Annotated[str, typer.Argument(help="Identifier of the instance, or model key.")],
    host: HostOption = None,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Also what Lantern did not load itself.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Unloads a model from one host, or from every host that has it in memory."""
    loaded = _loaded(config, for_hosts=True)
    run_async(once.unload(loaded, model, host, even_foreign=foreign, as_json=as_json))


# --- keys ----------------------------------------------------------------------------------


def _loaded_for_keys(config: Path | None) -> Loaded:
    # Who makes or revokes one at a terminal has not what the service is given to ask providers.
    return _loaded(config, needs_secrets=False)


@keys_cli.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Whose it is: `editor`, `ada's laptop`.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="inference, admin or metrics; may be repeated.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Pattern of models it is for; may be repeated.")
    ] = None,
    daily_usd: Annotated[
        float | None, typer.Option(min=0.0, help="What it may cost a day.")
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Requests it may make: 60/min.")] = None,
    expires: Annotated[str | None, typer.Option(help="How long it is good for: 90d.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes a key and shows it, once."""
    from bot.commands.keys import add_key, drawn_key

    try:
        shown, key = drawn_key(
            name,
            scopes=scope or ["inference"],
            models=model or (),
            daily_usd=daily_usd,
            rate=rate,
            expires=expires,
        )
    except RequestRefused as refused:
        raise typer.BadParameter(refused.user_message) from refused
    run_async(add_key(_loaded_for_keys(config), shown, key, as_json=as_json))


@keys_cli.command("list")
def keys_list(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every key: what it may do, when it was last used."""
    from bot.commands.keys import list_keys

    run_async(list_keys(_loaded_for_keys(config), as_json=as_json))


@keys_cli.command("revoke")
def keys_revoke(
    name: Annotated[str, typer.Argument(help="The key's name.")], config: ConfigOption = None
) -> None:
    """Takes a key's power away, at once and for good."""
    from bot.commands.keys import revoke_key

    run_async(revoke_key(_loaded_for_keys(config), name))


# --- configuration -------------------------------------------------------------------------


@config_cli.command("show")
def config_show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every setting in force, with secrets masked and where each value comes from."""
    loaded = _loaded(config)
    shown = masked(loaded)
    # On the other stream: what was not read is no setting in force.
    for words in loaded.warnings:
        once.terminal(stderr=True).line(f"! {words}", "yellow")
    if as_json:
        once.print_json(shown)
        return
    screen = once.terminal()
    width = max(len(line["key"]) for line in shown)
    for line in shown:
        screen.line(f"{line['key']:<{width}}  {line['value']}  ({line['origin']})")


@config_cli.command("schema")
def config_schema() -> None:
    """The JSON Schema of config.yaml, for editors."""
    once.print_json(schema())
