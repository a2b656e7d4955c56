"""Why a host cannot be reached: asleep, hung, without its server, or misspelt are told apart."""

import errno
import socket
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from importlib import import_module

import pytest
from fleet_bench import H, fleet_over, sim_config

from bot.domain.errors import FailureKind, HostUnreachable
from bot.domain.hosts import HostConfig
from bot.fleet.connection import Connection
from bot.fleet.rest import unreached
from bot.inference.exchange import ConnectionPool
from bot.inference.wire import Verdict, WireFault, garbage
from bot.sim.host import SimHost

ASLEEP = "asleep or switched off"
AT = "10.0.0.9:1234"


def no_line(cause: BaseException | None) -> WireFault:
    """As the connections raise it: their own fault, and beneath it the system's."""
    fault = WireFault(Verdict(FailureKind.CONNECT, "no connection"))
    fault.__cause__ = cause
    return fault


@pytest.mark.parametrize(
    ("error", "words", "failure"),
    [
        (no_line(TimeoutError()), ASLEEP, FailureKind.TIMEOUT),
        (no_line(OSError(errno.EHOSTUNREACH, "no")), ASLEEP, FailureKind.CONNECT),
        (no_line(OSError(errno.ENETUNREACH, "no")), ASLEEP, FailureKind.CONNECT),
        (no_line(OSError(errno.EHOSTDOWN, "no")), ASLEEP, FailureKind.CONNECT),
        (no_line(OSError(errno.ETIMEDOUT, "no")), ASLEEP, FailureKind.CONNECT),
        (no_line(OSError(errno.EACCES, "no")), "cannot be reached", FailureKind.CONNECT),
        (no_line(None), "cannot be reached", FailureKind.CONNECT),
        (TimeoutError(), "accepts connections and says nothing", FailureKind.TIMEOUT),
        (
            no_line(ConnectionRefusedError(errno.ECONNREFUSED, "refused")),
            "refuses connections: LM Studio's server is not running there",
            FailureKind.CONNECT,
        ),
        (no_line(socket.gaierror(-2, "no")), "10.0.0.9 cannot be", FailureKind.CONNECT),
        (no_line(UnicodeError("label too long")), "10.0.0.9 cannot be", FailureKind.CONNECT),
        (ConnectionResetError(), "cut the connection", FailureKind.CUT),
        (garbage("no HTTP"), "answered garbage (no HTTP)", FailureKind.GARBAGE),
        (WireFault(Verdict(FailureKind.AUTH, "odd")), "API token", FailureKind.AUTH),
    ],
)
def test_each_way_of_not_being_there_has_its_own_words(
    error: WireFault | OSError, words: str, failure: FailureKind
) -> None:
    told = unreached(AT, error)
    assert words in told.user_message
    assert "10.0.0.9" in told.user_message
    assert told.kind is failure


async def test_a_host_whose_lm_studio_is_not_running_says_so() -> None:
    async with SimHost(sim_config()) as sim:
        await sim.stop()
        async with fleet_over(sim) as bench:
            assert bench.host().state == "down"
            assert "LM Studio's server is not running there" in bench.host().reason


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses where others stay silent")
async def test_a_machine_that_takes_no_connections_is_asleep_and_not_crashed() -> None:
    # Read by the first connection of all, for longer than this one may take.
    import_module("bot.fleet.lmstudio")
    with (
        a_machine_asleep() as address,
        closing(ConnectionPool()) as connections,
        pytest.raises(HostUnreachable, match=ASLEEP) as caught,
    ):
        await Connection(HostConfig(H, address), connections, 0.5).connected()
    assert caught.value.kind is FailureKind.TIMEOUT


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
