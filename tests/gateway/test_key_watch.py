"""Looks at the keys of requests under way."""

from aiohttp import web
from clocks import LoopClock
from stand_ins import double
from structlog.testing import capture_logs

from bot.chat.flights import Flights
from bot.domain.ids import ModelKey, TurnId, UserId
from bot.gateway.key_watch import LOOK_S, KeyWatch
from tests.helpers.house import QWEN

ID = TurnId("1")


async def test_looks_that_fail_in_a_row_are_logged_once_and_end_nothing(
    loop_clock: LoopClock,
) -> None:
    looks = 0

    async def admit(_: web.Request) -> None:
        nonlocal looks
        looks += 1
        if looks != 3:
            raise RuntimeError

    flights = Flights(lambda _: None)
    keys, request = KeyWatch(flights, admit), double(web.Request)
    with (
        capture_logs() as logs,
        flights.open(
            ID, UserId("gateway:a"), "chat", ModelKey(QWEN.key), is_stream=False
        ) as flight,
    ):
        async with keys.running():
            with keys.over(ID, request):
                for _ in range(5):
                    await loop_clock.armed(LOOK_S)
                    loop_clock.passes(LOOK_S)
                await loop_clock.armed(LOOK_S)
    assert (looks, flight.error) == (5, None)
    assert [line["event"] for line in logs] == ["keys not looked at"] * 2
