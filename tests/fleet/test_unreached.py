"""Why a host cannot be reached: asleep, hung, without its server, or misspelt are told apart."""

import asyncio
import errno
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager

import httpx
import pytest
from clocks import LoopClock
from fleet_bench import H, fleet_over, sim_config

from bot.domain.errors import FailureKind, HostUnreachable
from bot.domain.hosts import HostConfig
from bot.fleet.connection import CONNECT_SHARE, SOCKET_SHARE, Connection
from bot.fleet.lan import lan_http
from bot.fleet.rest import unreached
from bot.sim.host import SimHost

ASLEEP = "asleep or switched off"
AT = "10.0.0.9:1234"


def broken(kind: type[httpx.TransportError], cause: BaseException | None) -> httpx.TransportError:
    """As the client raises it: its own error, and beneath it the system's."""
    between = OSError("All connection attempts failed")
    between.__cause__ = cause
    error = kind("no")
    error.__cause__ = between
    return error


@pytest.mark.parametrize(
    ("kind", "cause", "words", "failure"),
    [
        (httpx.ConnectTimeout, None, ASLEEP, FailureKind.TIMEOUT),
        (httpx.ConnectError, OSError(errno.EHOSTUNREACH, "no"), ASLEEP, FailureKind.CONNECT),
        (httpx.ConnectError, OSError(errno.ENETUNREACH, "no"), ASLEEP, FailureKind.CONNECT),
        (httpx.ConnectError, OSError(errno.ETIMEDOUT, "no"), ASLEEP, FailureKind.CONNECT),
        (httpx.ReadTimeout, None, "accepts connections and says nothing", FailureKind.TIMEOUT),
        (
            httpx.ConnectError,
            ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
            "LM Studio's server is not running there",
            FailureKind.CONNECT,
        ),
        (
            httpx.ConnectError,
            ExceptionGroup("both families", [OSError(errno.ECONNREFUSED, "refused")]),
            "LM Studio's server is not running there",
            FailureKind.CONNECT,
        ),
        (httpx.ConnectError, socket.gaierror(-2, "no"), "10.0.0.9 cannot be", FailureKind.CONNECT),
        (httpx.ConnectError, None, "cannot be reached", FailureKind.CONNECT),
        (httpx.ReadError, ConnectionResetError(), "cut the connection", FailureKind.CUT),
    ],
)
def test_each_way_of_not_being_there_has_its_own_words(
    kind: type[httpx.TransportError],
    cause: BaseException | None,
    words: str,
    failure: FailureKind,
) -> None:
    error = unreached(AT, broken(kind, cause))
    assert words in error.user_message
    assert "10.0.0.9" in error.user_message
    assert error.kind is failure


async def test_a_host_whose_lm_studio_is_not_running_says_so() -> None:
    async with SimHost(sim_config()) as sim:
        await sim.stop()
        async with fleet_over(sim) as bench:
            assert bench.host().state == "down"
            assert "LM Studio's server is not running there" in bench.host().reason


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses where others stay silent")
async def test_a_machine_that_takes_no_connections_is_asleep_and_not_crashed(
    loop_clock: LoopClock,
) -> None:
    async def knock(address: str) -> None:
        async with lan_http() as http:
            with pytest.raises(HostUnreachable, match=ASLEEP) as caught:
                await Connection(HostConfig(H, address), http, 10.0).connected()
        assert caught.value.kind is FailureKind.TIMEOUT

    with a_machine_asleep() as address:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(knock(address))
            # For its sockets and by REST: neither is let in, long before the whole time is over.
            for share in (SOCKET_SHARE, CONNECT_SHARE):
                await loop_clock.armed(10.0 * share)
                loop_clock.passes(10.0 * share)


@contextmanager
def a_machine_asleep() -> Generator[str]:
    """A port whose queue of connections is full: further ones get no answer at all."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        port.listen(0)
        name, number = port.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex((name, number))
        try:
            yield f"{name}:{number}"
        finally:
            for client in waiting:
                client.close()
