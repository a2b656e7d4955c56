"""A host that cannot be reached: its name is told from its server."""

import socket

import httpx
import pytest

from bot.domain.errors import HostUnreachable
from bot.fleet.rest import RestApi


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (socket.gaierror(-2, "unknown"), "The name tower.invalid cannot be resolved"),
        (ConnectionRefusedError(111, "refused"), "tower.invalid:1234 refuses connections"),
    ],
)
async def test_an_unknown_name_is_not_called_a_refusal(cause: OSError, words: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request) from cause

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        with pytest.raises(HostUnreachable) as failed:
            await RestApi(http, "tower.invalid:1234", None).get("/v1/models")
    assert words in failed.value.user_message
