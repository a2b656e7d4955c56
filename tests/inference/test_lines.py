"""Connections themselves: TLS, names with several addresses, what is left of one that is cut."""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from collected import asking
from wire_double import Reply, WireDouble, chunk, sse, wire_double

from bot.domain.chat import Endpoint
from bot.domain.errors import Bug, FailureKind, Unavailable
from bot.domain.events import TextDelta
from bot.inference.streams import Inference

NAMES = frozenset({"m"})
LOOPS = (asyncio.SelectorEventLoop, uvloop.new_event_loop)
# So many that some come while their reader waits.
WORDS = ["é", " 你好", " 🏮", " end"] * 8
EVENTS = [sse(json.dumps(chunk(content=words), ensure_ascii=False)) for words in WORDS]
ANSWER = Reply([*EVENTS, sse(chunk(finish="stop"), "[DONE]")])
AT_ONCE = replace(ANSWER, is_at_once=True)
HELD = Reply(EVENTS[:2], ending="hold")


async def read(
    inference: Inference, endpoint: Endpoint, straight: list[str], error: Exception | None = None
) -> str:
    """The text of one answer; what went straight is noted, too, or an error raised for it."""
    heard: list[str] = []

    def take(words: Sequence[TextDelta]) -> bool:
        if error is not None:
            raise error
        heard.extend(delta.text for delta in words)
        straight.extend(heard[-1:])
        return True

    async with inference.open(endpoint, asking(), take) as deltas:
        async for delta in deltas:
            heard += [delta.text] if isinstance(delta, TextDelta) else []
    return "".join(heard)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1, signed by itself, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    told = ("-subj", "/CN=lantern", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    paths = ("-keyout", str(made), "-out", f"{made}.crt")
    subprocess.run(
        [openssl, "req", "-x509", *curve, *told, *paths], check=True, capture_output=True
    )
    with made.open("ab") as both:
        both.write(Path(f"{made}.crt").read_bytes())
    return made


@asynccontextmanager
async def behind_tls(certificate: Path, *replies: Reply) -> AsyncGenerator[tuple[WireDouble, str]]:
    double, line = WireDouble([*replies]), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    line.load_cert_chain(certificate)
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0, ssl=line)
    async with server:
        yield double, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_provider_behind_tls_answers_and_its_connection_serves_again(
    certificate: Path,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")

    async def scene() -> None:
        async with (
            behind_tls(certificate, AT_ONCE, ANSWER, HELD) as (double, url),
            Inference() as inference,
        ):
            endpoint, straight = Endpoint(url, "m", accepted_models=NAMES), list[str]()
            assert await read(inference, endpoint, straight) == "".join(WORDS)
            assert not double.has_closed.is_set()
            assert await read(inference, endpoint, straight) == "".join(WORDS)
            assert (len(double.requests), double.connections, bool(straight)) == (2, 1, True)
            async with inference.open(endpoint, asking()) as deltas:
                await anext(deltas)
            # Left at once, though the other side says no farewell.
            await double.was_left.wait()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scene())


async def test_a_certificate_that_nobody_knows_is_told_as_such(
    certificate: Path, inference: Inference
) -> None:
    async with behind_tls(certificate) as (_, url):
        with pytest.raises(Unavailable, match="its certificate is not valid"):
            await read(inference, Endpoint(url, "m"), [])


@pytest.mark.parametrize(
    ("first", "beside_s"),
    [
        # Its packets are lost: the next is tried beside it. Refused: the next is tried at once.
        ("hangs", 0.0),
        ("refuses", 60.0),
    ],
)
async def test_a_name_whose_first_address_leads_nowhere_still_connects(
    inference: Inference, first: str, beside_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inference.exchange._NEXT_ADDRESS_S", beside_s)
    loop = asyncio.get_running_loop()
    connect, tried = loop.sock_connect, list[object]()

    async def connected(line: socket.socket, at: tuple[str, int]) -> None:
        tried.append(at[0])
        if at[0] == "127.0.0.1":
            await connect(line, at)
        elif first == "refuses":
            raise ConnectionRefusedError
        else:
            await asyncio.Event().wait()

    resolve = loop.getaddrinfo

    async def found(name: str, port: int, **how: int) -> list[object]:
        kind = socket.AF_INET, socket.SOCK_STREAM, 6, ""
        if name == "name.lan":
            return [(*kind, (at, port)) for at in ("192.0.2.1", "127.0.0.1")]
        return [*await resolve(name, port, **how)]

    async with wire_double(ANSWER) as double:
        monkeypatch.setattr(loop, "sock_connect", connected)
        monkeypatch.setattr(loop, "getaddrinfo", found)
        endpoint = Endpoint(f"http://name.lan:{double.port}/v1", "m", accepted_models=NAMES)
        assert await read(inference, endpoint, []) == "".join(WORDS)
    assert tried == ["192.0.2.1", "127.0.0.1"]


async def test_an_address_is_not_looked_up(
    inference: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = list[str]()

    async def found(name: str, port: int, **how: int) -> list[object]:
        looked_up.append(name)
        raise OSError("no look-up")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    async with wire_double(ANSWER) as double:
        endpoint = Endpoint(double.base_url, "m", accepted_models=NAMES)
        assert await read(inference, endpoint, []) == "".join(WORDS)
    # Its zone is not a part of the address that connecting takes.
    for name in ("studio.lan", "10.0.0.5.lan", "[fe80::1%25eth0]"):
        with pytest.raises(Unavailable):
            await read(inference, Endpoint(f"http://{name}:1/v1", "m"), [])
    assert looked_up == ["studio.lan", "10.0.0.5.lan", "fe80::1%25eth0"]


async def test_of_a_prompt_that_is_being_sent_the_rest_stays_here_once_its_asker_has_left() -> None:
    body, taken = bytes(16 << 20), 0
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    listening.setblocking(False)
    loop = asyncio.get_running_loop()
    at = Endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", "m")
    async with Inference() as inference:
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(inference.relay_whole(at, "/chat", body, 1000))
            line, _ = await loop.sock_accept(listening)
            taken += len(await loop.sock_recv(line, 1000))
            asked.cancel()
        with suppress(ConnectionError):
            while more := await loop.sock_recv(line, 1 << 20):
                taken += len(more)
    line.close()
    listening.close()
    assert 0 < taken < len(body)


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("error", [ValueError("ours"), ConnectionResetError("ours")])
def test_what_a_callback_raises_ends_its_own_answer_as_a_fault_of_ours_and_no_other(
    new_loop: Callable[[], asyncio.AbstractEventLoop], error: Exception
) -> None:
    async def scene() -> None:
        complaints = list[object]()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: complaints.append(told))
        async with wire_double(ANSWER) as one, wire_double(ANSWER) as two, Inference() as inference:
            ends = [Endpoint(d.base_url, "m", accepted_models=NAMES) for d in (one, two)]
            async with asyncio.TaskGroup() as tasks:
                whole = tasks.create_task(read(inference, ends[0], []))
                with pytest.raises(Bug) as failed:
                    await read(inference, ends[1], [], error)
            await two.has_closed.wait()
        assert whole.result() == "".join(WORDS)
        assert failed.value.__cause__ is error
        assert complaints == []

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scene())


@pytest.mark.parametrize("status", [200, 401])
async def test_of_a_packed_answer_its_status_tells_enough(
    inference: Inference, status: int
) -> None:
    packed = Reply([b"\x1f\x8b"], status, headers={"Content-Encoding": "gzip"})
    async with wire_double(packed) as double:
        with pytest.raises(Unavailable) as failed:
            await read(inference, Endpoint(double.base_url, "m"), [])
    assert failed.value.kind is (FailureKind.GARBAGE if status == 200 else FailureKind.AUTH)
