"""The demo: simulated LM Studio hosts under the real router, SDK client, scheduler and storage."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.app import Lantern, Plan, lantern
from bot.chat.planning import ChatRules
from bot.domain.errors import RequestRefused
from bot.domain.events import FleetEvent, HostFound, HostLost, ModelUnloaded
from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName, PersonaName
from bot.fleet.fleet import FleetRules
from bot.sim.fleet import demo_fleet
from bot.sim.host import SimHost
from bot.terminal.session import Extra

IDLE_TTL_S = 8.0
"""Short, so that an eviction can be watched."""

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
}

TOUR = """\
/fleet status
/chat Why does a lantern glow?
/model google/gemma-3-4b
And why is the night dark?
/why
/wait 12
/fleet status
"""
"""Typed by the demo itself when nobody types anything."""

BANNER = (
    "This is Lantern's demo. The LM Studio hosts are SIMULATED: they speak LM\n"
    "Studio's real wire protocols on this machine, but no model runs and every\n"
    "answer is made up. The router, the SDK client, the scheduler and the database\n"
    "are the real ones."
)


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo and the commands only it has."""

    lantern: Lantern
    extras: Mapping[str, Extra]


@asynccontextmanager
async def demo(say: Callable[[str], None]) -> AsyncGenerator[Demo]:
    """Runs simulated hosts and everything real above them; ``say`` shows what happens by itself."""
    with tempfile.TemporaryDirectory(prefix="lantern-demo-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        await asyncio.to_thread(_write_personas, base / "personas")
        async with demo_fleet() as hosts:
            plan = Plan(
                hosts=tuple(
                    HostConfig(
                        name=HostName(host.config.name),
                        address=host.address,
                        memory_bytes=host.config.memory_bytes,
                    )
                    for host in hosts
                ),
                rules=ChatRules(default_persona=PersonaName("sage"), idle_ttl_s=IDLE_TTL_S),
                fleet_rules=FleetRules(probe_every_s=2.0, sweep_every_s=1.0),
                personas=base / "personas",
                database=base / "lantern.db",
            )
            async with lantern(plan, observe=lambda event: _tell(event, say)) as built:
                await built.fleet.settled(5.0)
                yield Demo(built, _extras(hosts))


def _write_personas(folder: Path) -> None:
    folder.mkdir()
    for name, text in PERSONAS.items():
        (folder / name).write_text(text, encoding="utf-8")


def _tell(event: FleetEvent, say: Callable[[str], None]) -> None:
    match event:
        case ModelUnloaded(host=host, model=model, reason=reason):
            say(f"🌙 {model} left {host}'s memory: {reason}")
        case HostLost(host=host, reason=reason):
            say(f"🔴 {host} is gone: {reason}")
        case HostFound(host=host, interface=interface):
            say(f"🟢 {host} is here, seen by {interface}")
        case _:
            pass


def _extras(hosts: tuple[SimHost, ...]) -> Mapping[str, Extra]:
    by_name = {host.config.name: host for host in hosts}

    async def power(words: tuple[str, ...]) -> str:
        match words:
            case (name, "off" | "on" as state) if name in by_name:
                host = by_name[name]
                if state == "off":
                    await host.stop()
                else:
                    await host.start()
                return f"Simulated host {name} is {state}."
            case _:
                raise RequestRefused(f"Write `/power {'|'.join(by_name)} off|on`.")

    async def wait(words: tuple[str, ...]) -> str:
        try:
            seconds = min(60.0, float(words[0]))
        except (IndexError, ValueError):
            raise RequestRefused("Write `/wait SECONDS`, at most 60.") from None
        await asyncio.sleep(seconds)
        return f"Waited {seconds:g} s."

    return {
        "power": Extra("/power HOST off|on", "pull a simulated host's plug, or put it back", power),
        "wait": Extra("/wait SECONDS", "let time pass, for instance to watch an eviction", wait),
    }
