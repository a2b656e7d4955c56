"""``lantern check``: looks at all that ``run`` or ``serve`` needs, and says it as it comes."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Literal

from rich.console import Console

from bot.chat.lantern import Lantern
from bot.chat.words import counted
from bot.cloud.checkup import Checked, check_provider
from bot.commands.once import (
    EXIT_CONFIG,
    EXIT_FAILED,
    LOOKUP_S,
    SETTLE_S,
    built_from,
    changed_hosts_text,
    print_json,
)
from bot.commands.serve import gateway_rules
from bot.commands.twins import tell_of_twins
from bot.domain.errors import BotError, ConfigError, StoreUnusable
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, PersonaName, ProviderName
from bot.policy.http_doors import is_loopback
from bot.process.lock import is_locked
from bot.settings import Loaded, missing_for_hosts, missing_for_run
from bot.store.files import look_at, open_to_others
from bot.store.keys import KeyStore
from bot.terminal.checkup import Finding, Mark, host_findings, persona_findings
from bot.terminal.screen import Screen
from cogs.identity import NO_CONTENT, Identity, identify

Command = Literal["run", "serve"]

DISCORD_S = 10.0
"""Discord answers a login within this many seconds, or counts as away."""

PROVIDER_S = 45.0
"""A provider says its one word within this many seconds: a cold one takes a good while."""

NEEDED_BY_RUN = "DISCORD_TOKEN is not set: `lantern run` needs it, `lantern serve` does not"
WITHOUT_A_BOT = (
    "where no bot is wanted, `lantern check serve` looks at what `lantern serve` needs; with "
    "gateway.enabled: true plain `lantern check` does"
)
MAKE_KEY = "lantern keys add NAME --scope inference"

_SERVERS_SHOWN = 5

_LOOKS: Mapping[Mark, tuple[str, str]] = {
    "ok": ("✔", "green"),
    "advice": ("•", ""),
    "warning": ("!", "yellow"),
    "fault": ("✘", "red"),
}


class Findings:
    """What was found so far, drawn line by line unless ``screen`` is None."""

    def __init__(self, screen: Screen | None) -> None:
        self._screen = screen
        self.lines: list[Finding] = []

    def tell(self, *lines: Finding) -> None:
        """Adds lines and draws each at once."""
        for line in lines:
            self.lines.append(line)
            if self._screen is not None:
                sign, style = _LOOKS[line.mark]
                self._screen.line(f"{sign} {line.subject}: {line.text}", style)


async def check_up(loaded: Loaded, said: Command | None, *, as_json: bool) -> int:
    """Looks at the configuration, Discord, every host, provider and persona; gives the exit code.

    It is the one that what is to be run would end with: 78 where no other start would go better.

    Everything that is far away is asked at once, and each has a time of its own to answer in.

    Args:
        loaded: The set-up.
        said: What is to be run; where nobody said it, what the set-up looks like.
        as_json: The findings as one list for programs.
    """
    # Nothing stood on the screen until all had answered: a hanging Discord was 100 s of silence.
    findings = Findings(None if as_json else Screen(Console()))
    settings = loaded.settings
    is_usable, is_lasting = await _try_database(loaded, findings)
    # From here on the check-up may hold the lock itself.
    is_running = is_locked(loaded.database_path)
    build = built_from(loaded, settle_s=0.0, leaves_nothing=True, is_apart=not is_usable)
    async with build as built:
        has_keys = bool(await KeyStore(built.database).all())
        command = to_be_run(loaded, said, has_keys=has_keys)
        wrong = start_findings(loaded, command, is_told=said is not None, has_keys=has_keys)
        if opens_gateway(loaded, command) and not is_running:
            wrong += await _port_findings(loaded)
        findings.tell(*wrong)
        if is_running and (words := await changed_hosts_text(loaded, built)):
            findings.tell(Finding("warning", "hosts", words))
        is_lasting = is_lasting or any(line.mark == "fault" for line in wrong)
        async with asyncio.TaskGroup() as tasks:
            if settings.discord.token is not None and command != "serve":
                token = settings.discord.token.get_secret_value()
                tasks.create_task(try_discord(token, findings))
            tasks.create_task(try_twins(loaded, findings))
            hosts = [
                tasks.create_task(try_host(built, name, findings))
                for name in built.catalog.snapshot().hosts
            ]
            providers = [
                tasks.create_task(try_provider(built, name, findings))
                for name in built.providers.names
            ]
        # A host that is away is only a warning: one that answers is enough.
        answers = any(each.is_fine for task in providers for each in task.result())
        if not (answers or any(task.result() for task in hosts)):
            findings.tell(Finding("fault", "hosts and providers", "none of them can answer now"))
        findings.tell(
            *persona_findings(
                built.catalog.snapshot(),
                built.shelf.all(),
                built.shelf.problems,
                PersonaName(settings.discord.default_persona),
                providers=tuple(settings.providers),
                request_types=tuple(settings.routing.request_types),
            )
        )
    if as_json:
        print_json([asdict(line) for line in findings.lines])
    if all(line.mark != "fault" for line in findings.lines):
        return 0
    return EXIT_CONFIG if is_lasting else EXIT_FAILED


def to_be_run(loaded: Loaded, said: Command | None, *, has_keys: bool) -> Command:
    """What is looked at: what somebody said, or what the set-up looks like.

    A set-up without a token says that `serve` is what is wanted by enabling the gateway, or by
    keys made for it. Without that nobody could be told of a token that was forgotten.
    """
    if said is not None:
        return said
    is_for_clients = loaded.settings.gateway.enabled or has_keys
    return "serve" if is_for_clients and loaded.settings.discord.token is None else "run"


def opens_gateway(loaded: Loaded, command: Command) -> bool:
    """Does this command open the gateway?"""
    return command == "serve" or loaded.settings.gateway.enabled


def start_findings(
    loaded: Loaded, command: Command, *, is_told: bool, has_keys: bool
) -> tuple[Finding, ...]:
    """What is set, and where; what is set nowhere and stops the start, and a gateway without keys.

    Args:
        loaded: The set-up.
        command: What is to be run.
        is_told: Did somebody say so?
        has_keys: Was a key made for the gateway?
    """
    gateway = loaded.settings.gateway
    missing = missing_for_hosts(loaded) if command == "serve" else missing_for_run(loaded)
    place = str(loaded.config_path or "environment and .env")
    lines = [
        # Well and wrong stood one above the other.
        Finding("advice" if missing else "ok", "configuration", place),
        *(Finding("advice", "configuration", text) for text in loaded.warnings),
        *(Finding("fault", "configuration", text) for text in missing),
    ]
    if loaded.settings.discord.token is None and not is_told:
        advice = NEEDED_BY_RUN if command == "serve" else WITHOUT_A_BOT
        lines.append(Finding("advice", "configuration", advice))
    host = gateway.listen.rpartition(":")[0].strip("[]")
    if opens_gateway(loaded, command) and not has_keys and not is_loopback(host):
        text = f"listen is {gateway.listen}, open to the network, and no key was made: {MAKE_KEY}"
        lines.append(Finding("fault", "gateway", text))
    return tuple(lines)


async def _try_database(loaded: Loaded, findings: Findings) -> tuple[bool, bool]:
    """Tells of the database; may the check-up open it, and is its trouble its owner's to end?"""
    # Before the look, whose log would be counted in.
    exposed = await asyncio.to_thread(open_to_others, loaded.database_path)
    # The check-up took an empty one of its own where there was none, and never saw the folder.
    try:
        pending = await asyncio.to_thread(look_at, loaded.database_path)
    except BotError as error:
        findings.tell(Finding("fault", "database", error.user_message))
        return False, isinstance(error, ConfigError | StoreUnusable)
    is_new = not loaded.database_path.exists()
    words = f"{loaded.database_path}{' (made at the first start)' if is_new else ''}"
    findings.tell(Finding("ok", "database", words))
    if exposed:
        # Its owner's check-up opens it and so closes it to others; what was read until then was.
        files = " ".join(map(str, exposed))
        text = (
            f"what people said can be read by other users of this machine; run: chmod 600 {files}"
        )
        findings.tell(Finding("warning", "database", text))
    if pending:
        text = "the next start brings it to the newest schema, after a backup beside it"
        findings.tell(Finding("advice", "database", text))
    # Checked between an update and the new start, it would be migrated under the old Lantern.
    return not pending, False


async def _port_findings(loaded: Loaded) -> tuple[Finding, ...]:
    """What keeps the gateway from listening where it is to."""
    rules = gateway_rules(loaded)
    loop = asyncio.get_running_loop()
    try:
        listener = await loop.create_server(asyncio.Protocol, rules.host, rules.port)
    except OSError as error:
        text = f"{loaded.settings.gateway.listen} cannot be listened on: {error.strerror}"
        return (Finding("fault", "gateway", text),)
    listener.close()
    return ()


async def try_discord(token: str, findings: Findings) -> Identity | None:
    """Logs in for a moment; tells of the bot, its servers and intents, or why there is none."""
    try:
        async with asyncio.timeout(DISCORD_S):
            identity = await identify(token)
    except TimeoutError:
        words = f"no answer within {DISCORD_S:g} s; https://discordstatus.com says more"
        findings.tell(Finding("fault", "Discord", words))
    except BotError as error:
        findings.tell(Finding("fault", "Discord", error.user_message))
    else:
        findings.tell(*identity_findings(identity))
        return identity
    return None


def identity_findings(bot: Identity) -> tuple[Finding, ...]:
    """What Discord says of the bot, and what its owner has yet to do there."""
    shown = ", ".join(bot.servers[:_SERVERS_SHOWN])
    shown += ", …" if len(bot.servers) > _SERVERS_SHOWN else ""
    where = f"; in {counted(len(bot.servers), 'server')}: {shown}" if bot.servers else ""
    lines = [Finding("ok", "Discord", f"logged in as {bot.name}{where}")]
    if not bot.servers:
        text = f"it is in no server yet; to add it to one, open {bot.invite}"
        lines.append(Finding("warning", "Discord", text))
    if not bot.reads_content:
        lines.append(Finding("advice", "Discord", NO_CONTENT))
    return tuple(lines)


async def try_twins(loaded: Loaded, findings: Findings) -> None:
    """Tells of hosts that are one machine, named twice."""
    addresses = [host.address for host in loaded.settings.hosts]
    # What was found in time is told, whatever the LAN's resolver does.
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOKUP_S):
            await tell_of_twins(
                addresses, lambda words: findings.tell(Finding("warning", "hosts", words))
            )


async def try_host(built: Lantern, name: HostName, findings: Findings) -> bool:
    """Looks at a host once; tells of it, and gives whether it serves."""
    # Down by one probe may be up by the next, which is under way.
    await built.fleet.until(lambda: not built.catalog.snapshot().hosts[name].is_undecided, SETTLE_S)
    host: HostSnapshot = built.catalog.snapshot().hosts[name]
    if host.state == "unknown":
        words = f"no answer within {SETTLE_S:g} s"
        findings.tell(Finding("warning", str(name), words))
        return False
    findings.tell(*host_findings(host))
    return host.is_serving and host.interface != "/v1"


async def try_provider(
    built: Lantern, name: ProviderName, findings: Findings
) -> tuple[Checked, ...]:
    """Lets each key and address of a provider say one word; tells what was found, and gives it.

    It is nothing where no answer came in time.
    """
    try:
        async with asyncio.timeout(PROVIDER_S):
            found = await check_provider(built.providers, name)
    except TimeoutError:
        words = f"no answer within {PROVIDER_S:g} s"
        findings.tell(Finding("warning", f"☁ {name}", words))
        return ()
    for each in found:
        mark: Mark = "ok" if each.is_fine else "warning"
        findings.tell(Finding(mark, f"☁ {each.name}", each.words))
    return found
