import asyncio

import pytest

from bot.sim.faults import Faults


def test_a_dial_holds_until_it_is_cleared() -> None:
    faults = Faults()
    faults.refuse()
    assert all(faults.take("refuse") for _ in range(5))
    faults.clear("refuse")
    assert faults.take("refuse") is None


@pytest.mark.parametrize("times", [1, 3])
def test_a_counted_dial_is_used_so_many_times(times: int) -> None:
    faults = Faults()
    faults.status_500(times=times)
    taken = [faults.take("status") is not None for _ in range(times + 2)]
    assert taken == [True] * times + [False, False]
    assert not faults.is_set("status")


def test_a_dial_for_one_path_is_not_used_up_by_others() -> None:
    faults = Faults()
    faults.garbage(times=1, path="/v1/chat")
    assert faults.take("garbage", "/v1/models") is None
    assert faults.take("garbage", "/v1/chat/completions") is not None
    assert faults.take("garbage", "/v1/chat/completions") is None


def test_no_times_sets_nothing() -> None:
    faults = Faults()
    faults.drop_after_tokens(3, times=0)
    assert not faults.is_set("drop_after_tokens")


def test_setting_a_dial_replaces_its_former_setting() -> None:
    faults = Faults()
    faults.status_500()
    faults.status_503()
    fault = faults.take("status")
    assert fault is not None
    assert fault.number == 503


def test_clearing_without_names_clears_all() -> None:
    faults = Faults()
    faults.hang()
    faults.refuse()
    faults.clear()
    assert not faults.is_set("hang")
    assert not faults.is_set("refuse")


async def test_clearing_wakes_who_waits_for_it() -> None:
    faults = Faults()
    async with asyncio.timeout(1), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(faults.until_cleared())
        await asyncio.sleep(0)
        faults.clear()
    assert waiting.done()
