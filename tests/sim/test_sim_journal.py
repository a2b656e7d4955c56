import asyncio

import pytest

from bot.sim.journal import Called, Journal, PredictionCancelled, PredictionEnded, Request


def test_records_are_read_by_kind_subclasses_included() -> None:
    journal = Journal()
    journal.write(Request(1.0, "GET", "/v1/models"))
    journal.write(PredictionCancelled(2.0, 1, "m", "m", 4))
    assert [record.at for record in journal] == [1.0, 2.0]
    assert [record.tokens for record in journal.of(PredictionEnded)] == [4]
    assert journal.of(Called) == []


def test_the_oldest_records_go_first() -> None:
    journal = Journal(limit=2)
    for number in range(4):
        journal.write(Request(float(number), "GET", "/"))
    assert [record.at for record in journal] == [2.0, 3.0]
    journal.clear()
    assert len(journal) == 0


async def test_waiting_for_a_record_returns_the_first_that_fits() -> None:
    journal = Journal()
    async with asyncio.TaskGroup() as tasks:
        found = tasks.create_task(journal.wait_for(Request, lambda record: record.path == "/b"))
        await asyncio.sleep(0)
        journal.write(Request(1.0, "GET", "/a"))
        await asyncio.sleep(0)
        journal.write(Request(2.0, "GET", "/b"))
    assert found.result().at == 2.0


async def test_waiting_in_vain_ends_in_time() -> None:
    with pytest.raises(TimeoutError):
        await Journal().wait_for(Request, timeout_s=0.001)
