"""``lantern init``: asks for token, hosts and keys, tries each at once, writes ``.env``."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from getpass import getpass
from pathlib import Path
from select import select

from rich.console import Console

from bot.chat.words import counted
from bot.commands.check import NEEDED_BY_RUN, Findings, try_discord, try_host, try_provider
from bot.commands.once import built_from
from bot.domain.errors import BotError, ConfigError, FailureKind
from bot.domain.ids import ProviderName
from bot.process.lock import is_locked
from bot.settings import Loaded, load_settings, missing_for_hosts, missing_for_run
from bot.settings.layers import DEFAULT_ORIGIN
from bot.settings.loaded import DISCORD_MISSING
from bot.settings.sources import (
    DISCORD_VARIABLE,
    ENV_NAME,
    PRESETS,
    read_dotenv,
    write_dotenv,
)
from bot.terminal.screen import Screen
from cogs.identity import REFUSED_LOGIN, Identity

HOSTS_VARIABLE = "LANTERN_HOSTS"
GATEWAY_VARIABLE, ENABLED = "LANTERN_GATEWAY__ENABLED", "true"
MOST_TRIES = 5
"""Who types is asked a question so often; then something else is wrong."""

_REFUSALS = (FailureKind.AUTH, FailureKind.NO_MONEY)
"""What a provider says of the key itself; all else may be over tomorrow, or be another's fault."""

_BOT = (
    "Discord bot token, from https://discord.com/developers/applications "
    "(your application, Bot, Reset Token)"
)
_HOSTS = "LM Studio hosts, such as 10.0.0.2:1234,10.0.0.3:1234"


def set_up(config: Path | None, environ: Mapping[str, str], cwd: Path) -> bool:
    """Asks at the keyboard, or takes a piped line as each answer; writes once all were asked.

    Returns:
        Whether every answer was taken and nothing that ``run`` needs is missing; but for a token
        that somebody left out, or that a gateway alone wants none of.

    Args:
        config: the file given by ``--config``, if any.
        environ: the process's environment.
        cwd: the working directory.

    Raises:
        ConfigError: what is set up already is wrong.
        BotError: an answer that is needed does not come, or ``.env`` cannot be written.
    """
    loaded = load_settings(config, environ, cwd)
    # Where the start reads it.
    path = cwd / ENV_NAME
    if not path.exists():
        path = loaded.base_dir / ENV_NAME
    held = {name: said.value for name, said in read_dotenv(path).variables.items()}
    screen = Screen(Console(highlight=False))
    screen.line(f"Lantern's set-up. The answers go into {path}, for your eyes alone.", "bold")
    # Not after ten questions.
    if not os.access(path.parent, os.W_OK):
        raise BotError(f"{path} cannot be written: {path.parent} is not yours to write.")
    asking = _Asking(screen, config, environ, cwd, held)
    try:
        asking.ask(DISCORD_VARIABLE, _BOT)
        asking.ask(HOSTS_VARIABLE, _HOSTS)
        for name, preset in PRESETS.items():
            words = f"API key of {name}, for when no host can answer"
            asking.ask(str(preset["api_key_env"]), words, ProviderName(name))
    except KeyboardInterrupt:
        screen.line("\nNothing was written.", "yellow")
        raise
    asking.enable_the_gateway_if_alone()
    _write(screen, path, asking.answers, held)
    _warn(screen, path, asking.answers, held, environ)
    if asking.identity is not None:
        screen.line(f"To add {asking.identity.name} to a server, open {asking.identity.invite}")
    if left := asking.left_over():
        asking.refused.append(f"Not read: {counted(left, 'more line')} than there are questions")
    now = load_settings(config, environ, cwd)
    missing = (*asking.refused, *missing_for_run(now))
    # Who leaves the token out wants no Discord yet, if ever: a set-up for the gateway alone failed.
    is_apart = DISCORD_VARIABLE in asking.left_out or now.settings.gateway.enabled
    is_apart = is_apart and missing == (DISCORD_MISSING,)
    if is_apart and missing_for_hosts(now):
        # `serve` asks hosts, whatever providers there are.
        is_apart, missing = False, (*missing, *missing_for_hosts(now))
    for words in (NEEDED_BY_RUN,) if is_apart else missing:
        screen.line(f"! {words}", "yellow")
    next_step = _next_step(now, is_whole=is_apart or not missing, is_apart=is_apart)
    screen.line(f"Next: {next_step}", "bold")
    return is_apart or not missing


def _next_step(loaded: Loaded, *, is_whole: bool, is_apart: bool) -> str:
    if not is_whole:
        return "lantern init, once more."
    if is_locked(loaded.database_path):
        # `lantern run` would only be refused.
        return (
            "restart the Lantern that is running here, which goes on with what was set when it "
            "started: as you started it, or pm2 restart lantern, systemctl restart lantern."
        )
    if is_apart:
        return "lantern serve (the gateway alone) or lantern chat (in this terminal)."
    return "lantern run (or make run). Then write to the bot."


def _write(screen: Screen, path: Path, answers: Mapping[str, str], held: Mapping[str, str]) -> None:
    """Writes the answers, if any, and says what became of each line."""
    if not (answers or held):
        # `✔ .env: nothing` and an empty file looked like a set-up.
        screen.line("\nThere is no answer to keep, so nothing was written.", "yellow")
        return
    write_dotenv(path, answers)
    changed = [name for name in answers if held.get(name) not in (None, answers[name])]
    kept = [name for name in held if name not in changed]
    told = [f"{name} (new)" for name in answers if name not in held]
    told += [f"{name} (replaced)" for name in changed] + [f"{name} (as it was)" for name in kept]
    screen.line(f"\n✔ {path}: {', '.join(told)}", "green")


def _warn(
    screen: Screen,
    path: Path,
    answers: Mapping[str, str],
    held: Mapping[str, str],
    environ: Mapping[str, str],
) -> None:
    """Says which answers count for nothing, and what stays of a set-up without a token."""
    for name, said in answers.items():
        if environ.get(name, said) != said:
            words = f"! The environment variable {name} says something else, and beats {path.name}."
            screen.line(words, "yellow")
    is_first = DISCORD_VARIABLE in answers and DISCORD_VARIABLE not in held
    if is_first and held.get(GATEWAY_VARIABLE) == ENABLED:
        # Written when the token was left out, it has `run` listen for every program here.
        words = f"! {GATEWAY_VARIABLE}={ENABLED} stays in {path.name}, and counts for lantern run;"
        screen.line(f"{words} take it out where no gateway is wanted.", "yellow")


def _cleaned(said: str, name: str) -> str:
    """An answer without what people copy along: ``NAME=``, quotes, ``Bot`` or ``Bearer``."""
    said = said.removeprefix(f"{name}=").strip()
    if len(said) > 1 and said[0] == said[-1] and said[0] in "\"'`":
        said = said[1:-1].strip()
    kind, _, rest = said.partition(" ")
    return rest.strip() if kind in ("Bot", "Bearer") else said


class _Asking:
    """The questions of one set-up and what was answered so far."""

    def __init__(
        self,
        screen: Screen,
        config: Path | None,
        environ: Mapping[str, str],
        cwd: Path,
        held: Mapping[str, str],
    ) -> None:
        self.answers: dict[str, str] = {}
        self.held = held
        """What ``.env`` said before."""
        self.refused: list[str] = []
        """A line for each variable whose piped answer was not taken."""
        self.left_out: set[str] = set()
        """What was answered with nothing, where nothing was set before."""
        self.identity: Identity | None = None
        self._screen = screen
        self._findings = Findings(screen)
        self._config = config
        self._environ = environ
        self._cwd = cwd
        # A script is read by line; only who types is asked in the way terminals hide secrets.
        self._is_typed = sys.stdin.isatty()
        self._has_left = False
        """Did who types end the questions?"""

    def ask(self, name: str, words: str, provider: ProviderName | None = None) -> None:
        """Asks who types until an answer is good or nothing is to be said; a pipe has one try.

        A good answer is kept.

        Raises:
            BotError: nothing that was typed was good.
        """
        is_secret, known = name != HOSTS_VARIABLE, self.held.get(name, "")
        choice = "it is set, Enter keeps it" if is_secret else f"Enter keeps {known}"
        choice = choice if known else "Enter leaves it out"
        if is_secret and self._is_typed:
            choice += "; what you type stays hidden"
        for _ in range(MOST_TRIES if self._is_typed else 1):
            said = self._read(f"\n{words}\n  [{choice}] ", hides=is_secret)
            if self._has_left:
                # What is set was tried once more, by a login and a paid word.
                return
            chosen = _cleaned(said, name) if said else known
            if not chosen:
                self.left_out |= {name} if said is not None else set()
                return
            if self._is_good(name, chosen, provider):
                self.answers[name] = chosen
                return
            if chosen == known:
                known, choice = "", "Enter leaves it as it is"
        if self._is_typed:
            raise BotError(f"No good answer for {name} came. Nothing was written.")
        # Asked again, a script gave its next line, which answers the next question: each further
        # provider's key went to the first provider, and one into `.env` as a host's address.
        self.refused.append(f"Refused, and so not written: {name}")

    def enable_the_gateway_if_alone(self) -> None:
        """Has the gateway enabled where the token alone was left out.

        Who does so wants no Discord, if ever, and by an enabled gateway `lantern check` knows it.
        """
        if self.refused or DISCORD_VARIABLE not in self.left_out:
            return
        now = load_settings(self._config, {**self._environ, **self.answers}, self._cwd)
        is_apart = DISCORD_MISSING in missing_for_run(now) and not missing_for_hosts(now)
        # What somebody said themselves counts, be it no.
        if is_apart and now.origins["gateway.enabled"] == DEFAULT_ORIGIN:
            self.answers[GATEWAY_VARIABLE] = ENABLED

    def left_over(self) -> int:
        """How many piped lines with something in them no question was asked for."""
        if self._is_typed:
            return 0
        # Whoever holds the pipe open may wait for our end: only what is there is read.
        with suppress(OSError, ValueError):
            if not select([sys.stdin], [], [], 0)[0]:
                return 0
        return sum(bool(line.strip()) for line in sys.stdin)

    def _read(self, question: str, *, hides: bool) -> str | None:
        """What was answered, without spaces around it; None where nobody answers any more."""
        if self._has_left:
            return None
        try:
            if self._is_typed:
                return (getpass if hides else input)(question).strip()
        except EOFError:
            # Ctrl-D was taken for Enter, and the next key asked for.
            self._has_left = True
            return None
        self._screen.line(question.rstrip())
        line = sys.stdin.readline()
        return line.strip() if line else None

    def _is_good(self, name: str, said: str, provider: ProviderName | None) -> bool:
        """Tries an answer; what cannot be tried now is kept, as is a host that is off."""
        if name == DISCORD_VARIABLE:
            self.identity = asyncio.run(try_discord(said, self._findings))
            is_refused = any(line.text == REFUSED_LOGIN for line in self._findings.lines[-1:])
            if self.identity is None and not is_refused:
                self._keep_untried("token")
            return not is_refused
        try:
            said_so_far = {**self._environ, **self.answers, name: said}
            loaded = load_settings(self._config, said_so_far, self._cwd)
        except ConfigError as error:
            for fault in error.faults:
                # Who has just typed it knows of no variable.
                words = fault.replace(f"environment variable {name}:", "your answer:")
                self._screen.line(f"✘ {words}", "red")
            return False
        return asyncio.run(self._look(loaded, provider))

    def _keep_untried(self, what: str) -> None:
        self._screen.line(f"! The {what} is kept untried; lantern check tries it.", "yellow")

    async def _look(self, loaded: Loaded, provider: ProviderName | None) -> bool:
        """Tries a provider, or without one every host."""
        async with built_from(loaded, settle_s=0.0, is_apart=True) as built:
            if provider is not None:
                found = await try_provider(built, provider, self._findings)
                if any(each.is_fine for each in found):
                    return True
                if any(each.kind in _REFUSALS for each in found):
                    return False
                self._keep_untried("key")
                return True
            async with asyncio.TaskGroup() as tasks:
                for name in built.catalog.snapshot().hosts:
                    tasks.create_task(try_host(built, name, self._findings))
            hosts = built.catalog.snapshot().hosts.values()
        # The next question is for a key, and an address that was to mend it became one.
        if away := sum(not host.is_serving for host in hosts):
            words = (
                f"{counted(away, 'host')} kept that cannot be used now; lantern check tries again"
            )
            self._screen.line(f"! {words}, lantern init asks again.", "yellow")
        return True
