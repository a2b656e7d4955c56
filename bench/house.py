"""A whole Lantern without a face, over a simulated host in a process of its own.

So this process's CPU time is Lantern's alone. Moments of the two can be compared: both are read
from the machine's monotonic clock.
"""

import asyncio
import io
import multiprocessing
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar, cast

from bot.app import Plan, lantern
from bot.chat.lantern import Lantern
from bot.chat.planning import ChatRules
from bot.domain.chat import Place, TurnRequest
from bot.domain.events import Finished, TurnEvent
from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, TurnId, UserId
from bot.fleet.fleet import FleetRules
from bot.process.logs import configure_logging
from bot.sim.host import SimHost
from bot.sim.journal import Record
from bot.sim.models import GB, SimHostConfig, SimModel

MODEL = ModelKey("qwen/qwen3-8b")
HOST = HostName("studio")

T = TypeVar("T")
Command = Literal["journal", "unload"]


class Nowhere(io.StringIO):
    """Takes lines, keeps none."""

    def write(self, text: str, /) -> int:
        return len(text)


class _Pipe(Protocol):
    """One end of a pipe, whatever the platform calls its class."""

    def send(self, obj: object, /) -> None: ...

    def recv(self) -> object: ...


class Studio:
    """The simulated host as seen from this process."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self.address = str(pipe.recv())

    def journal(self) -> list[Record]:
        """What it did since last asked."""
        return self._ask("journal")

    def unload(self) -> None:
        """Empties its memory, as somebody at the machine would."""
        self._ask("unload")

    def _ask(self, command: Command) -> list[Record]:
        self._pipe.send(command)
        return cast(list[Record], self._pipe.recv())


@contextmanager
def studio(
    *,
    parallel: int = 4,
    load_s: float = 1.0,
    tokens_per_s: float = 1e5,
    others: Iterable[ModelKey] = (),
) -> Generator[Studio]:
    """Runs the host while the block lasts; it reads prompts in no time, and has ``others`` too."""
    config = SimHostConfig(
        name=HOST,
        models=(
            SimModel(MODEL, 5 * GB),
            *(SimModel(k, n % 90 * GB) for n, k in enumerate(others, 1)),
        ),
        load_bytes_per_s=5 * GB / load_s,
        tokens_per_s=tokens_per_s,
        prefill_tokens_per_s=1e9,
        parallel=parallel,
        default_context_length=16_384,
    )
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_simulate, args=(config, theirs), daemon=True)
    process.start()
    try:
        yield Studio(ours)
    finally:
        process.terminate()
        process.join()


def _simulate(config: SimHostConfig, pipe: _Pipe) -> None:
    # Plain asyncio: its clock is the machine's, while uvloop's counts whole milliseconds.
    asyncio.run(_host(config, pipe))


async def _host(config: SimHostConfig, pipe: _Pipe) -> None:
    async with SimHost(config) as host:
        pipe.send(host.address)
        while True:
            command = await asyncio.to_thread(pipe.recv)
            if command == "unload":
                for instance in host.resident:
                    host.unload(instance.identifier)
            pipe.send(list(host.journal))
            host.journal.clear()


@asynccontextmanager
async def house(studio: Studio) -> AsyncGenerator[Lantern]:
    """Builds Lantern as ``lantern run`` does, its store on disk, its log thrown away."""
    configure_logging(format="json", stream=Nowhere())
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(
            hosts=(HostConfig(HOST, studio.address),),
            rules=ChatRules(default_persona=PersonaName("default")),
            fleet_rules=FleetRules(probe_every_s=3600, sweep_every_s=3600),
            personas=Path(folder),
            database=Path(folder) / "lantern.db",
        )
        async with lantern(plan) as built:
            await built.fleet.settled(10.0)
            yield built


def on_fast_loop(work: Coroutine[None, None, T]) -> T:
    """Runs it on the event loop ``lantern run`` uses."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def question(
    text: str, *, place: str = "discord:1", user: str = "discord:7", parent: TurnId | None = None
) -> TurnRequest:
    """Somebody's message to the default persona."""
    return TurnRequest(
        user=UserId(user),
        user_name="Ada",
        place=Place(PlaceId(place), server=PlaceId("discord:9")),
        text=text,
        parent=parent,
        model=MODEL,
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """A turn that ended well."""

    turn: TurnId
    tokens: int


async def ask(
    built: Lantern, request: TurnRequest, heard: Callable[[TurnEvent], None] = lambda _: None
) -> Answered:
    """Plays a turn to its end."""
    last: TurnEvent | None = None
    async with built.turns.open(request) as events:
        async for event in events:
            heard(event)
            last = event
    assert isinstance(last, Finished), last
    return Answered(last.turn, last.receipt.usage.completion_tokens)
