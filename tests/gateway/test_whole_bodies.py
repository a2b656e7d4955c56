"""The body of a whole answer: the host's own bytes, with LM Studio's statistics behind them."""

import json
from typing import Any

import pytest

from bot.domain.chat import Candidate, Receipt
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, ModelKey, PersonaName
from bot.gateway.sinks import WholeSink

STUDIO, KEY = HostName("studio"), ModelKey("key")
OWN = b'{"id": "a",  "model": "key", "choices": [], "big": 1.0e2, "text": "\\u00e9\xc3\xa9"'


async def answered(body: bytes) -> bytes:
    sink = WholeSink("chat", "chatcmpl-1", 0)
    await sink.begins(Candidate(KEY, STUDIO), HostSnapshot(STUDIO, "127.0.0.1:1234"))
    await sink.write(body, json.loads(body))
    receipt = Receipt(PersonaName("default"), KEY, STUDIO)
    sent = sink.answer(receipt).body
    assert isinstance(sent, bytes)
    return sent


@pytest.mark.parametrize("end", [b"}", b"}\n", b" \r\n}  "])
async def test_what_a_host_wrote_stays_as_it_wrote_it(end: bytes) -> None:
    sent = await answered(OWN + end)
    assert sent.startswith(OWN)
    told: dict[str, Any] = json.loads(sent)
    assert told.pop("stats")["generation_time"] == 0.0
    assert told.pop("model_info")["context_length"] is None
    assert told == json.loads(OWN + end)


async def test_a_hosts_own_statistics_are_said_once() -> None:
    sent = await answered(OWN + b', "stats": {"generation_time": 2.5, "stop_reason": "eosFound"}}')
    assert sent.count(b'"stats"') == 1
    told: dict[str, Any] = json.loads(sent)
    assert told["stats"]["generation_time"] == 2.5
    assert told["stats"]["stop_reason"] == "eosFound"
    assert told["stats"]["time_to_first_token"] is None


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_what_no_byte_can_be_added_to_is_written_anew(coding: str) -> None:
    body = (OWN + b"}").decode()
    told: dict[str, Any] = json.loads((await answered(body.encode(coding))).decode())
    assert told.pop("stats")
    assert told.pop("model_info")
    assert told == json.loads(body)
