"""The command line: parse, call the root, print. Exit 0 fine, 1 failed, 2 usage, 78 set-up."""

import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from bot.app import Lantern
from bot.chat.usage import ReportPeriod
from bot.chat.words import usage_text
from bot.commands.check import findings
from bot.commands.launch import CHATS_BESIDE, built_from, run_async
from bot.documents.shelf import PersonaShelf
from bot.domain.errors import BotError, ConfigError, ForeignInstance, NoCandidates
from bot.domain.ids import UserId
from bot.process.lock import AlreadyRunning, instance_lock
from bot.process.logs import configure_logging
from bot.settings import Loaded, load_settings, masked, missing_for_run, schema
from bot.terminal import tables
from bot.terminal.screen import Screen
from bot.terminal.session import PERIODS

EXIT_FAILED, EXIT_CONFIG = 1, 78

cli = typer.Typer(
    name="lantern",
    help="Chat with the LM Studio hosts of your LAN: in Discord, or here.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_cli = typer.Typer(help="The settings in force.", no_args_is_help=True)
cli.add_typer(config_cli, name="config")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="config.yaml to read (else LANTERN_CONFIG)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Plain values for programs.")]
HostOption = Annotated[str | None, typer.Option("--host", help="Name or address of one host.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its code."""
    _speak_utf8()
    error = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        cli(args=None if arguments is None else list(arguments))
    except ConfigError as wrong:
        error.print("Lantern cannot start with this configuration:", style="bold red")
        for fault in wrong.faults:
            error.print(f"  • {fault}", markup=False)
        sys.exit(EXIT_CONFIG)
    except AlreadyRunning as held:
        error.print(held.user_message, style="bold red", markup=False)
        sys.exit(EXIT_CONFIG)
    except BotError as failed:
        error.print(failed.user_message, style="red", markup=False)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version  # only this option pays for it

        sys.stdout.write(f"lantern {version('lantern-bot')}\n")
        raise typer.Exit


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
def run(config: ConfigOption = None) -> None:
    """The Discord bot."""
    loaded = _load(config)
    missing = missing_for_run(loaded)
    if missing:
        raise ConfigError((*missing, *loaded.warnings))
    from bot.commands.run import run_bot  # discord.py is loaded by this command alone

    _log_as_configured(loaded)
    with instance_lock(loaded.database_path):
        raise typer.Exit(run_async(run_bot(loaded, os.environ)))


@cli.command()
def demo(
    tour: Annotated[bool, typer.Option("--tour", help="Type nothing; watch the main job.")] = False,
) -> None:
    """A chat over SIMULATED hosts: no Discord, no LM Studio. Reads a script from a pipe too."""
    from bot.commands.chat import play_demo

    configure_logging("error", "console", ())
    raise typer.Exit(run_async(play_demo(tour=tour)))


@cli.command()
def chat(config: ConfigOption = None) -> None:
    """A chat in this terminal over the configured hosts."""
    from bot.commands.chat import play_chat

    loaded = _load(config)
    _needs_hosts(loaded)
    configure_logging("error", "console", loaded.secrets)

    async def play() -> int:
        async with built_from(loaded, beside=CHATS_BESIDE) as built:
            return await play_chat(built)

    raise typer.Exit(run_async(play()))


# --- facts ---------------------------------------------------------------------------------


@cli.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Reads the set-up, reaches Discord and every host, says what is wrong and what to change."""
    loaded = _load(config)
    configure_logging("error", "console", loaded.secrets)

    lines = run_async(findings(loaded))
    if as_json:
        _print_json([{"mark": x.mark, "subject": x.subject, "text": x.text} for x in lines])
    else:
        console = Console(soft_wrap=True, highlight=False)
        for line in lines:
            mark = {"ok": "✔", "advice": "•", "warning": "!", "fault": "✘"}[line.mark]
            style = {"ok": "green", "advice": "", "warning": "yellow", "fault": "red"}[line.mark]
            console.print(f"{mark} {line.subject}: {line.text}", style=style, markup=False)
    raise typer.Exit(EXIT_FAILED if any(line.mark == "fault" for line in lines) else 0)


@cli.command()
def hosts(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The hosts: state, models on disk, models in memory."""
    loaded = _load(config)
    _needs_hosts(loaded)

    def show(built: Lantern) -> None:
        found = built.catalog.hosts()
        if as_json:
            _print_json([tables.host_record(host) for host in found])
        else:
            tables.show(Console(), tables.hosts_table(found))

    _look(loaded, show)


@cli.command()
def models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every model on the hosts' disks, and how soon it could answer."""
    loaded = _load(config)
    _needs_hosts(loaded)

    def show(built: Lantern) -> None:
        catalog = built.catalog
        if as_json:
            _print_json(tables.model_records(catalog.hosts(), catalog.option))
        elif keys := catalog.all_model_keys():
            tables.show(Console(), tables.models_table([catalog.option(key) for key in keys]))
        if reasons := catalog.outage():
            told = "\n".join(f"• {reason}" for reason in reasons)
            raise NoCandidates(f"No host answers now.\n{told}")

    _look(loaded, show)


@cli.command()
def personas(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The personas, and persona files that are broken."""
    loaded = _load(config)
    _log_quietly(loaded)

    async def look() -> int:
        shelf = PersonaShelf(loaded.personas_dir)
        await shelf.refresh()
        if as_json:
            _print_json([tables.persona_record(persona) for persona in shelf.all()])
        else:
            tables.show(Console(), tables.personas_table(shelf.all()))
        for problem in shelf.problems():
            Console(stderr=True, soft_wrap=True).print(problem, style="red", markup=False)
        return EXIT_FAILED if shelf.problems() else 0

    raise typer.Exit(run_async(look()))


@cli.command()
def usage(
    period: Annotated[
        str, typer.Argument(help="today, week, month, or `last month` for the summary of a month.")
    ] = "today",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tokens, speed, cost, budget left, and what answering at home has saved."""
    by_name: dict[str, ReportPeriod] = {known: known for known in PERIODS}
    chosen = by_name.get(period)
    if chosen is None:
        raise typer.BadParameter(f"{period!r} is none of {', '.join(PERIODS)}")
    loaded = _load(config)
    _log_quietly(loaded)

    async def look() -> None:
        async with built_from(loaded, settle_s=0.0, leaves_nothing=True) as built:
            report = await built.tally.report(chosen, "all", UserId(""), None)
        if as_json:
            _print_json(asdict(report))
        else:
            Screen(Console()).markdown(usage_text(report))

    run_async(look())


# --- acts ----------------------------------------------------------------------------------


@cli.command()
def load(
    model: Annotated[str, typer.Argument(help="Model key; a unique part of it will do.")],
    host: HostOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Loads a model, on the best host unless one is named."""
    loaded = _load(config)
    _needs_hosts(loaded)
    _log_quietly(loaded)

    async def act() -> None:
        async with built_from(loaded) as built:
            screen = Screen(Console(stderr=as_json))
            where: str | None = None
            async with built.acts.load(host, model) as progress:
                with screen.steps() as steps:
                    async for step in progress:
                        where = str(step.host)
                        steps.show(step)
            key = str(built.catalog.any_model(model))
            known = built.catalog.snapshot().hosts.values()
            held = [h.name for h in known if any(i.model_key == key for i in h.instances)]
            if as_json:
                on = where or next(iter(held), None)
                _print_json({"model": key, "host": on, "was_loaded": where is None})
            elif where is None:
                screen.line(f"{key} was in memory already, on {', '.join(held)}.")
            else:
                screen.line(f"{key} is in memory on {where}.")

    run_async(act())


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
    loaded = _load(config)
    _needs_hosts(loaded)
    _log_quietly(loaded)

    async def act() -> None:
        async with built_from(loaded) as built:
            try:
                said = await built.acts.unload(host, model, even_foreign=foreign)
            except ForeignInstance as error:
                words = f"{error.user_message} Add --foreign to unload it all the same."
                raise ForeignInstance(words) from error
            if as_json:
                _print_json({"done": said})
            else:
                Screen(Console()).markdown(said)

    run_async(act())


# --- configuration -------------------------------------------------------------------------


@config_cli.command("show")
def config_show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every setting in force, with secrets masked and where each value comes from."""
    shown = masked(_load(config))
    if as_json:
        _print_json([{"key": s.key, "value": s.value, "origin": s.origin} for s in shown])
        return
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(item.key) for item in shown)
    for item in shown:
        console.print(f"{item.key:<{width}}  {item.value}  ({item.origin})", markup=False)


@config_cli.command("schema")
def config_schema() -> None:
    """The JSON Schema of config.yaml, for editors."""
    _print_json(schema())


# --- shared --------------------------------------------------------------------------------


def _speak_utf8() -> None:
    """Redirected output is cp1252 on Windows and ASCII in bare containers: no emoji may crash it.

    Scripts piped in are read as UTF-8 too, with the mark that PowerShell puts before them.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    stdin: TextIO = sys.stdin
    if isinstance(stdin, io.TextIOWrapper) and not stdin.isatty():
        stdin.reconfigure(encoding="utf-8-sig", errors="replace")


def _load(config: Path | None) -> Loaded:
    return load_settings(config, os.environ, Path.cwd())


def _needs_hosts(loaded: Loaded) -> None:
    if not loaded.settings.hosts:
        missing = (
            "no hosts are configured; set LANTERN_HOSTS=address:port or `hosts:` in config.yaml"
        )
        # A warning may say why: a variable in small letters is none.
        raise ConfigError((missing, *loaded.warnings))


def _log_as_configured(loaded: Loaded) -> None:
    log = loaded.settings.log
    configure_logging(log.level, log.format, loaded.secrets)


def _log_quietly(loaded: Loaded) -> None:
    configure_logging("error", "console", loaded.secrets)


def _look(loaded: Loaded, show: Callable[[Lantern], None]) -> None:
    _log_quietly(loaded)

    async def look() -> None:
        async with built_from(loaded, leaves_nothing=True) as built:
            show(built)

    run_async(look())


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
