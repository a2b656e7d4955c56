"""A client's request that is ended by several at once, in each moment of its end."""

import asyncio

import pytest

from bot.chat.flights import Flights, News
from bot.domain.errors import BotError, FailureKind, NoCandidates, RequestCancelled
from bot.domain.ids import ModelKey, TurnId, UserId

ID = TurnId("one")


@pytest.mark.parametrize("first", ["admin", "restart"])
@pytest.mark.parametrize("window", ["at once", "as it is told", "as its host stops"])
@pytest.mark.parametrize("others", [1, 2])
async def test_whoever_ends_what_is_ending_is_told_so(window: str, first: str, others: int) -> None:
    flights, hits = Flights(list[News]().append), 0
    works, stops, stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
    told: list[BotError] = []

    async def asking() -> None:
        nonlocal hits
        try:
            with flights.open(ID, UserId("u"), "chat", ModelKey("m"), is_stream=True) as one:
                async with one.scope:
                    try:
                        works.set()
                        await asyncio.Event().wait()
                    finally:
                        hits += 1
                        stops.set()
                        # As a host that is told to stop takes a while for it.
                        await stopped.wait()
        except BotError as error:
            told.append(error)

    restarting = NoCandidates("It is restarting.", (FailureKind.BUSY,))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asking())
        await works.wait()
        [flight] = flights
        if first == "admin":
            assert flights.cancel(ID) == "cancelled"
        else:
            assert flight.cancel(restarting)
        if window == "as it is told":
            # The deadline rang; the request itself has not gone on yet.
            await asyncio.sleep(0)
        elif window == "as its host stops":
            await stops.wait()
        for _ in range(others):
            assert flights.cancel(ID) == "ending"
            assert not flight.cancel(restarting)
        stopped.set()
    assert hits == 1
    assert flights.cancel(ID) is None
    assert not flight.cancel()
    if first == "admin":
        assert isinstance(told[0], RequestCancelled)
    else:
        assert told == [restarting]
