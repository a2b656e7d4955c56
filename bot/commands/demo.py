"""The demo: simulated hosts and providers under the real router, clients, scheduler, storage."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bot.app import Plan, lantern, utcnow
from bot.chat.lantern import Lantern
from bot.chat.planning import ChatRules
from bot.domain.chat import DialectName, Wire
from bot.domain.cloud import (
    BudgetNews,
    CloudEvent,
    ProviderConfig,
    ProviderNews,
)
from bot.domain.errors import RequestRefused
from bot.domain.events import FleetEvent
from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName
from bot.fleet.fleet import FleetRules
from bot.policy.budget import BudgetRules
from bot.policy.pricing import flat_price
from bot.sim.fleet import DEMO_HOSTS, demo_fleet
from bot.sim.host import SimHost
from bot.sim.providers.catalogue import models_of
from bot.sim.providers.config import WireKind
from bot.sim.providers.demo import DEMO_PROVIDERS, demo_providers
from bot.sim.providers.provider import SimProvider
from bot.terminal.commands import CommandForm

# Short, so that an eviction can be watched.
IDLE_TTL_S = 8.0

# Five simulated cents a day: few enough to be seen spent.
BUDGET = BudgetRules(daily_micro_usd=50_000)

_SPOKEN: Mapping[WireKind, tuple[Wire, DialectName]] = {
    "zai": ("openai", "zai"),
    "openai": ("openai", "openai"),
    "anthropic": ("anthropic", "generic"),
    "generic": ("openai", "generic"),
}

ALL = "all"

PERSONAS: Mapping[str, str] = {
    "sage.yaml": (
        "name: sage\n"
        "description: calm teacher on the big model\n"
        "model: qwen/qwen3-30b-a3b-2507\n"
        "alternatives: [qwen/qwen3-8b]\n"
        "system_prompt: You are a calm teacher.\n"
        "greeting: Ask me anything.\n"
    ),
    "scout.yaml": (
        "name: scout\n"
        "description: quick answers from the small model\n"
        "model: google/gemma-3-4b\n"
        "system_prompt: You answer in one short paragraph.\n"
        "greeting: Quick question?\n"
    ),
    "diary.yaml": (
        "name: diary\n"
        "description: keeps every word on the LAN\n"
        "model: qwen/qwen3-8b\n"
        "local_only: true\n"
        "system_prompt: You listen well.\n"
        "greeting: This stays between us.\n"
    ),
}

TOUR = """\
/fleet status
/chat Why does a lantern glow?
/model google/gemma-3-4b
And why is the night dark?
/why
/wait 12
/fleet status
/power all off
Who answers when every host is off?
/why
/power all on
/wait 4
And who answers now?
/usage
"""
"""Typed by the demo itself when nobody types anything."""

BANNER = (
    "This is Lantern's demo. The LM Studio hosts and the cloud providers are "
    "SIMULATED: they speak the real wire protocols on this machine, but no model "
    "runs, every answer is made up, and no money is spent, whatever a cost says. The "
    "router, the clients, the scheduler, the ledger and the database are the real ones."
)


@asynccontextmanager
async def demo(
    say: Callable[[str], None], time_scale: float = 1.0
) -> AsyncGenerator[tuple[Lantern, Mapping[str, CommandForm]]]:
    """Runs simulated hosts and providers and everything real above them.

    Args:
        say: Shows what happens by itself.
        time_scale: Real seconds per simulated second; 0 is as fast as possible.

    Yields:
        The running Lantern, and the commands only a demo has, by name.
    """
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="lantern-demo-", ignore_cleanup_errors=True)
        )
        for name, text in PERSONAS.items():
            await asyncio.to_thread(Path(folder, name).write_text, text, encoding="utf-8")
        hosts = await stack.enter_async_context(
            demo_fleet([replace(config, time_scale=time_scale) for config in DEMO_HOSTS])
        )
        clouds = [replace(config, time_scale=time_scale) for config in DEMO_PROVIDERS]
        # Its bills are dated, so the simulated cloud and the ledger must go by one clock.
        doubles = await stack.enter_async_context(demo_providers(clouds, utcnow=utcnow))
        providers = tuple(provider_config(double, double.config.wire) for double in doubles)
        plan = Plan(
            hosts=tuple(
                HostConfig(
                    name=HostName(host.config.name),
                    address=host.address,
                    memory_bytes=host.config.memory_bytes,
                )
                for host in hosts
            ),
            rules=ChatRules(
                default_persona=PersonaName("sage"),
                idle_ttl_s=IDLE_TTL_S,
                cloud=tuple(provider.name for provider in providers),
            ),
            # A plug that is pulled is noticed while one looks.
            fleet_rules=FleetRules(probe_every_s=2.0, sweep_every_s=1.0),
            personas=Path(folder),
            database=Path(folder, "lantern.db"),
            providers=providers,
            budget=BUDGET,
        )
        built = await stack.enter_async_context(
            lantern(plan, lambda event: _tell(event, say), lambda event: _tell_cloud(event, say))
        )
        await built.fleet.settled(5.0)
        plugs = await stack.enter_async_context(asyncio.TaskGroup())
        pulled: list[asyncio.Task[None]] = []
        # What was to happen later happens no more once the demo ends.
        stack.callback(lambda: [task.cancel() for task in pulled])

        def later(what: Coroutine[None, None, None]) -> None:
            pulled.append(plugs.create_task(what))

        yield built, _extras(hosts, later)


def provider_config(double: SimProvider, name: str) -> ProviderConfig:
    """The settings that lead to a simulated provider, at the very prices it charges."""
    model = models_of(double.config)[0]
    wire, dialect = _SPOKEN[double.config.wire]
    return ProviderConfig(
        name=ProviderName(name),
        base_url=double.base_url,
        model=ModelKey(model.key),
        wire=wire,
        dialect=dialect,
        api_key=double.key,
        price=flat_price(model.price.input, model.price.output, model.price.cached),
    )


def _tell(event: FleetEvent, say: Callable[[str], None]) -> None:
    match event.what:
        case "model unloaded":
            say(f"🌙 {event.model} left {event.host}'s memory: {event.reason}")
        case "host lost" | "host asleep":
            say(f"🔴 {event.host} is gone: {event.reason}")
        case "host found":
            say(f"🟢 {event.host} is here, seen by {event.interface}")
        case _:
            pass


def _tell_cloud(event: CloudEvent, say: Callable[[str], None]) -> None:
    match event:
        case ProviderNews(what="passed"):
            pass
        case ProviderNews(what="back", name=name):
            say(f"🟢 ☁ {name} answers again")
        case ProviderNews(name=name, reason=reason):
            say(f"🔴 ☁ {name}: {reason}")
        case BudgetNews(what="alert"):
            say("💰 Most of today's simulated budget is spent")
        case BudgetNews():
            say("💰 Today's simulated budget is spent: from now on only hosts answer")


def _extras(
    hosts: tuple[SimHost, ...], later: Callable[[Coroutine[None, None, None]], None]
) -> Mapping[str, CommandForm]:
    by_name = {host.config.name: host for host in hosts}

    async def switch(names: Iterable[str], state: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for name in names:
            await (by_name[name].stop() if state == "off" else by_name[name].start())

    async def power(words: tuple[str, ...]) -> str:
        match words:
            case (name, "off" | "on" as state, *rest) if name in (ALL, *by_name) and len(rest) < 2:
                names = by_name if name == ALL else (name,)
                who = "All simulated hosts" if name == ALL else f"Simulated host {name}"
                if rest:
                    # In the middle of the next answer nothing can be typed.
                    seconds = _seconds(rest[0], "/power HOST off SECONDS")
                    later(switch(names, state, seconds))
                    return f"{who}: {state} in {seconds:g} s."
                await switch(names, state, 0.0)
                return f"{who} {'are' if name == ALL else 'is'} {state}."
            case _:
                usage = f"/power {'|'.join((ALL, *by_name))} off|on [SECONDS]"
                raise RequestRefused(f"Write `{usage}`.")

    async def wait(words: tuple[str, ...]) -> str:
        seconds = _seconds(words[0] if words else "", "/wait SECONDS")
        await asyncio.sleep(seconds)
        return f"Waited {seconds:g} s."

    does = "pull a simulated host's plug, or put it back; in so many seconds, during an answer too"
    passes = "let time pass, for instance to watch an eviction"
    return {
        "power": CommandForm("power", "/power HOST|all off|on [SECONDS]", does, run=power),
        "wait": CommandForm("wait", "/wait SECONDS", passes, run=wait),
    }


def _seconds(said: str, usage: str) -> float:
    try:
        return max(0.0, min(60.0, float(said)))
    except ValueError:
        raise RequestRefused(f"Write `{usage}`, at most 60.") from None
