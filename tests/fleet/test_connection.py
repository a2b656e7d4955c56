"""The clients of one host: shared, given up, and closed when nobody is at work on them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest
from fleet_bench import ONE, H, Kept, sim_config
from virtual_time import play

from bot.domain.errors import FailureKind, HostUnreachable
from bot.domain.hosts import HostConfig, Instance, Interface, LoadOrder, Model, ModelKind, Report
from bot.fleet.client import HostClient, LoadValue, Stop
from bot.fleet.connection import Connection
from bot.fleet.fleet import Fleet, FleetRules
from bot.fleet.lan import lan_http
from bot.fleet.lmstudio import SocketClient
from bot.sim.host import SimHost


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[HostClient]:
    """The clients closed, in order."""
    clients: list[HostClient] = []
    close = SocketClient.close

    async def noted(client: SocketClient) -> None:
        clients.append(client)
        await close(client)

    monkeypatch.setattr(SocketClient, "close", noted)
    return clients


@asynccontextmanager
async def a_connection() -> AsyncGenerator[Connection]:
    async with SimHost(sim_config()) as sim, lan_http() as http:
        connection = Connection(HostConfig(H, sim.address), http, 5.0)
        yield connection
        await connection.drop()


async def test_two_who_come_at_once_share_one_client() -> None:
    async with a_connection() as connection:
        async with asyncio.TaskGroup() as tasks:
            clients = [tasks.create_task(connection.connected()) for _ in range(2)]
        assert clients[0].result() is clients[1].result()


async def test_a_client_stays_when_an_act_on_it_ends(closed: list[HostClient]) -> None:
    async with a_connection() as connection:
        async with connection.act() as client:
            pass
        assert await connection.connected() is client
        assert closed == []


async def test_a_client_given_up_is_closed_when_the_last_act_on_it_ends(
    closed: list[HostClient],
) -> None:
    async with a_connection() as connection:
        async with connection.act() as first:
            async with connection.act() as again:
                assert again is first
                await connection.drop()
            assert closed == []
            second = await connection.connected()
            assert second is not first
            assert await first.resident() == ()
        assert closed == [first]
        assert await connection.connected() is second
    assert closed == [first, second]


@pytest.mark.parametrize(("kind", "times"), [(FailureKind.CUT, 2), (FailureKind.TIMEOUT, 1)])
async def test_a_question_is_asked_again_unless_the_host_hung(
    kind: FailureKind, times: int, closed: list[HostClient]
) -> None:
    asked: list[HostClient] = []

    async def question(client: HostClient) -> None:
        asked.append(client)
        raise HostUnreachable("no", kind)

    async with a_connection() as connection:
        with pytest.raises(HostUnreachable):
            await connection.ask(question)
        assert len(asked) == len(set(asked)) == times
        assert closed == asked[:-1]


class Remote:
    """A machine that only lists its disk; away until ``since``."""

    interface: Interface = "SDK socket"

    def __init__(self, since: float) -> None:
        self.since = since
        self.tries: list[float] = []

    async def connect(
        self, config: HostConfig, _http: httpx.AsyncClient, timeout_s: float
    ) -> HostClient:
        now = asyncio.get_running_loop().time()
        self.tries.append(now)
        if now < self.since:
            raise HostUnreachable(f"{config.name} is asleep", FailureKind.CONNECT)
        assert timeout_s == FleetRules().probe_timeout_s
        return self

    async def inventory(self) -> Report:
        return Report("SDK socket", "0.4.16", {ONE: Model(ONE)})

    async def resident(self, kind: ModelKind | None = None) -> tuple[Instance, ...]:
        return ()

    async def load(
        self, order: LoadOrder, on_progress: Callable[[float], None], stop: Stop
    ) -> Instance | None:
        raise AssertionError("nobody asked for a load")

    async def unload(self, instance: Instance, *, even_busy: bool = True) -> None:
        raise AssertionError("nothing is in memory")

    async def count_tokens(self, instance: Instance, text: str) -> int | None:
        raise AssertionError("nothing is in memory")

    async def load_config(self, instance: Instance) -> Mapping[str, LoadValue]:
        raise AssertionError("nothing is in memory")

    async def close(self) -> None: ...


def test_a_fleet_lives_by_the_connection_and_the_clock_it_is_given() -> None:
    remote = Remote(since=3600.0)

    async def an_hour() -> None:
        config = HostConfig(H, "nowhere:1234")
        async with Fleet([config], recorder=Kept().recorder(), connect=remote.connect) as fleet:
            await fleet.settled(1.0)
            assert fleet.snapshot().hosts[H].state == "down"
            await fleet.host(H).until(lambda host: host.is_serving)
            assert ONE in fleet.snapshot().hosts[H].models
            assert 3600.0 <= fleet.snapshot().taken_at <= 3605.0

    play(an_hour())
    # The pauses of ``PROBE_RULES``: an hour of every five seconds, and a few sooner ones.
    assert 720 <= len(remote.tries) <= 730
