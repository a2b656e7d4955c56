"""The clients of one host: shared, given up, and closed when nobody is at work on them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from fleet_bench import H, sim_config

from bot.domain.errors import FailureKind, HostUnreachable
from bot.domain.hosts import HostConfig
from bot.fleet.client import HostClient
from bot.fleet.connection import Connection
from bot.fleet.lmstudio import SocketClient
from bot.fleet.rest import lan_http
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
