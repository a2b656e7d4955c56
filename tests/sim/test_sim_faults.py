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


def test_clearing_a_dial_lifts_it_for_those_who_took_it_before() -> None:
    faults = Faults()
    faults.hang()
    faults.stall_load(times=1)
    hang, stall = faults.take("hang"), faults.take("stall_load")
    assert hang is not None
    assert stall is not None
    faults.clear("hang")
    assert hang.lifted.is_set()
    assert not stall.lifted.is_set()
    faults.clear()
    assert stall.lifted.is_set()


def test_a_dial_set_anew_is_not_lifted_by_the_clearing_before() -> None:
    faults = Faults()
    faults.hang()
    faults.clear()
    faults.hang()
    again = faults.take("hang")
    assert again is not None
    assert not again.lifted.is_set()
