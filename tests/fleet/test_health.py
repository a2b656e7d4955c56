"""Whether a host may serve: its going and coming, to the exact second, each said once."""

import pytest

from bot.domain.errors import FailureKind
from bot.domain.events import FleetEvent
from bot.domain.hosts import Report, WakeRecord
from bot.domain.ids import HostName
from bot.fleet.health import SETTLES_S, HostHealth
from bot.policy.waking import LONGEST, WAKE_RULES, WAKE_S

H = HostName("studio")
REPORT = Report("/api/v1", "0.4.16", {}, ())
HALF = Report("/api/v0", "0.3", {}, ())
FOUND = FleetEvent("host found", H, interface="/api/v1", version="0.4.16")


def up() -> HostHealth:
    health = HostHealth(H)
    assert health.next_probe_at(5.0) == 5.0, "nothing is known of it yet"
    health.probed(0.0, REPORT)
    return health


def test_a_host_is_found_once_with_what_it_told() -> None:
    health = HostHealth(H)
    assert (health.is_doubted, health.needs_token, health.may_sleep) == (False, False, False)
    news = health.probed(0.0, REPORT)
    assert news == (FOUND,)
    assert (health.state, health.reason, health.report) == ("up", "", REPORT)
    assert health.probed(30.0, REPORT) == ()
    assert health.next_probe_at(30.0) is None


def test_a_host_is_lost_once_with_its_reason() -> None:
    health = up()
    lost = health.failed(1.0, "refused", FailureKind.CONNECT)
    assert lost == (FleetEvent("host lost", H, reason="refused"),)
    assert health.failed(2.0, "no route", FailureKind.CONNECT) == ()
    assert (health.away(), health.away_since) == ("studio is away: no route", 1.0)
    assert (health.probes.failures, health.requests.failures) == (2, 0)


def test_a_good_probe_ends_the_pauses_of_failed_ones() -> None:
    health = up()
    for _ in range(2):
        health.failed(1.0, "refused", FailureKind.CONNECT)
    assert health.next_probe_at(1.0) == 2.0
    assert health.probed(2.0, REPORT) == (FOUND,)
    assert health.reason == ""
    health.failed(3.0, "refused", FailureKind.CONNECT)
    assert health.next_probe_at(3.0) == 3.0


def test_that_a_token_is_wanted_is_known_until_the_next_probe() -> None:
    health = up()
    health.failed(1.0, "no token", FailureKind.AUTH)
    assert health.needs_token
    health.failed(2.0, "refused", FailureKind.CONNECT)
    assert not health.needs_token
    health.failed(3.0, "no token", FailureKind.AUTH)
    health.probed(4.0, REPORT)
    assert not health.needs_token


def test_a_doubt_is_probed_at_once_and_ended_by_the_probe_either_way() -> None:
    health = up()
    news = health.doubted(1.0, "HTTP 500")
    assert news == (FleetEvent("host lost", H, reason="HTTP 500"),)
    assert health.is_doubted
    assert health.next_probe_at(1.5) == 1.5
    health.failed(2.0, "refused", FailureKind.CONNECT)
    health.failed(2.0, "refused", FailureKind.CONNECT)
    assert not health.is_doubted
    assert health.next_probe_at(2.5) == 3.0
    health.probed(3.0, REPORT)
    health.doubted(4.0, "HTTP 500")
    health.probed(4.0, REPORT)
    assert not health.is_doubted


def test_it_is_in_doubt_while_the_probe_that_decides_is_still_to_come() -> None:
    health = up()
    assert not health.is_in_doubt
    for is_in_doubt in (True, False, False):
        health.failed(1.0, "refused", FailureKind.CONNECT)
        assert health.is_in_doubt is is_in_doubt
    health = up()
    health.doubted(1.0, "HTTP 500")
    assert health.is_in_doubt


def test_many_requests_broken_by_one_loss_count_once() -> None:
    health = up()
    for _ in range(9):
        health.doubted(1.0, "cut")
    assert health.requests.failures == 1
    assert health.away().endswith("cut")


def test_a_host_that_answers_probes_and_fails_requests_stays_out_to_the_second() -> None:
    health = up()
    for _ in range(2):
        health.doubted(10.0, "HTTP 503")
        health.probed(10.0, REPORT)
    health.doubted(10.0, "HTTP 503")
    assert health.next_probe_at(10.0) == 10.0, "the doubt is looked into first"
    assert health.probed(10.0, REPORT) == ()
    assert (health.state, health.reason) == ("down", "HTTP 503")
    assert health.next_probe_at(10.0) == 15.0
    assert health.probed(14.9, REPORT) == ()
    assert health.probed(15.0, REPORT) == (FOUND,)


def test_of_two_pauses_the_failed_probes_count() -> None:
    health = up()
    for _ in range(3):
        health.doubted(10.0, "HTTP 503")
        health.probed(10.0, REPORT)
    for _ in range(2):
        health.failed(11.0, "refused", FailureKind.CONNECT)
    assert health.next_probe_at(11.0) == 12.0


def fallen(times: int, *, came: float = 0.0, stays_s: float = 59.5) -> HostHealth:
    """A host that came, stayed for so long and was lost, so many times; it ends lost."""
    health, at = HostHealth(H), came
    for _ in range(times):
        health.probed(at, REPORT)
        at += stays_s
        health.failed(at, "refused", FailureKind.CONNECT)
    return health


def test_a_host_that_comes_and_goes_is_left_out_for_growing_pauses() -> None:
    health = fallen(2)
    lost_at = 119.0
    assert health.probed(lost_at + 9.9, REPORT) == ()
    assert (health.state, health.reason) == ("down", f"{H} came and went 2 times in a row.")
    assert health.next_probe_at(lost_at + 9.9) == lost_at + 10.0
    assert health.probed(lost_at + 10.0, REPORT) == (FOUND,)
    health.failed(lost_at + 11.0, "refused", FailureKind.CONNECT)
    assert health.probed(lost_at + 30.9, REPORT) == ()
    assert health.probed(lost_at + 31.0, REPORT) == (FOUND,)


def test_a_longer_stay_forgives_earlier_falls() -> None:
    assert fallen(9, stays_s=60.0).probed(600.0, REPORT) == (FOUND,)
    health = fallen(1)
    health.probed(100.0, REPORT)
    health.failed(160.0, "refused", FailureKind.CONNECT)
    health.probed(161.0, REPORT)
    health.failed(162.0, "refused", FailureKind.CONNECT)
    assert health.probed(163.0, REPORT) == (FOUND,), "the stay in between forgave the first"


def test_a_loss_that_a_failed_request_told_of_first_is_a_fall_too() -> None:
    health = HostHealth(H)
    for at in (0.0, 10.0):
        health.probed(at, REPORT)
        health.doubted(at + 1.0, "cut")
        health.failed(at + 1.0, "refused", FailureKind.CONNECT)
        health.failed(at + 2.0, "refused", FailureKind.CONNECT)
    assert health.probed(20.9, REPORT) == ()
    assert health.probed(21.0, REPORT) == (FOUND,)


def test_a_machine_that_goes_to_sleep_does_not_fall() -> None:
    health = HostHealth(H, can_wake=True)
    for at in (0.0, 10.0, 20.0):
        assert health.probed(at, REPORT) == (FOUND,)
        health.failed(at + 1.0, "no route", FailureKind.CONNECT)
        assert health.may_sleep


def test_of_falls_and_failed_requests_the_longer_pause_counts() -> None:
    health = fallen(1, stays_s=1.0)
    for at in (2.0, 3.0, 4.0):
        health.probed(at, REPORT)
        health.doubted(at, "HTTP 503")
    health.failed(5.0, "refused", FailureKind.CONNECT)
    health.probed(6.0, REPORT)
    # Requests are let in again from second 9, and after its second fall it is out till 15.
    assert (health.requests.open_until, health.next_probe_at(6.0)) == (9.0, 15.0)


def test_one_that_is_found_as_it_is_called_took_no_time_to_wake() -> None:
    health = HostHealth(H, can_wake=True)
    health.failed(5.0, "refused", FailureKind.CONNECT)
    assert health.is_to_be_called(5.0, is_wanted=True)
    assert health.probed(5.0, REPORT) == (FOUND, WakeRecord(H, 0.0))


def test_one_that_wakes_quickly_is_given_up_as_quickly() -> None:
    health = HostHealth(H, can_wake=True, wake_s=10.0)
    health.failed(0.0, "refused", FailureKind.CONNECT)
    assert health.is_to_be_called(0.0, is_wanted=True)
    health.is_to_be_called(LONGEST * 10.0 - 0.1, is_wanted=True)
    assert health.may_sleep
    health.is_to_be_called(LONGEST * 10.0, is_wanted=True)
    assert not health.may_sleep


def test_where_nobody_else_is_left_no_pause_is_waited_for() -> None:
    health = fallen(2)
    assert health.probed(119.0, REPORT) == ()
    health.sought(119.0)
    assert health.probed(119.0, REPORT) == (FOUND,)

    failing = up()
    for _ in range(3):
        failing.doubted(10.0, "HTTP 503")
        failing.probed(10.0, REPORT)
    failing.sought(10.0)
    assert failing.probed(10.0, REPORT) == (FOUND,)
    assert failing.requests.failures == 3, "only a served request forgives it"


def test_one_that_was_called_in_vain_and_goes_again_is_lost_not_asleep() -> None:
    health = HostHealth(H, can_wake=True)
    health.failed(0.0, "refused", FailureKind.CONNECT)
    assert health.is_to_be_called(0.0, is_wanted=True)
    assert not health.is_to_be_called(LONGEST * WAKE_S, is_wanted=True)
    assert (health.may_sleep, health.woken_at) == (False, None)
    # Its owner switches it on by hand, and off again.
    health.probed(200.0, REPORT)
    lost = health.failed(210.0, "refused", FailureKind.CONNECT)
    assert lost == (FleetEvent("host lost", H, reason="refused"),)


def test_one_that_woke_is_believed_asleep_again_however_often_it_once_did_not() -> None:
    health = HostHealth(H, can_wake=True)
    vain_s = LONGEST * WAKE_S
    for began in (0.0, 1000.0):
        health.failed(began, "refused", FailureKind.CONNECT)
        health.is_to_be_called(began, is_wanted=True)
        health.is_to_be_called(began + vain_s, is_wanted=True)
    now = 1000.0 + vain_s + 2 * WAKE_RULES.base_s
    health.failed(now, "refused", FailureKind.CONNECT)
    assert health.is_to_be_called(now, is_wanted=True)
    found, woken = health.probed(now + 20.0, REPORT)
    assert (found, woken) == (FOUND, WakeRecord(H, 20.0))
    now += 30.0
    health.failed(now, "refused", FailureKind.CONNECT)
    health.is_to_be_called(now, is_wanted=True)
    health.is_to_be_called(now + vain_s, is_wanted=True)
    health.failed(now + vain_s + WAKE_RULES.base_s, "refused", FailureKind.CONNECT)
    assert health.may_sleep, "the first pause again, not the third"


@pytest.mark.parametrize(("can_wake", "kind", "longest_s"), [
    (False, FailureKind.CONNECT, 5.0),
    (True, FailureKind.CONNECT, 60.0),
    (True, FailureKind.GARBAGE, 5.0),
])  # fmt: skip
def test_a_host_that_is_down_is_looked_at_often_and_one_that_may_sleep_is_left_alone(
    can_wake: bool, kind: FailureKind, longest_s: float
) -> None:
    health, now = HostHealth(H, can_wake=can_wake), 0.0
    pauses: list[float] = []
    for _ in range(12):
        health.failed(now, "refused", kind)
        due = health.next_probe_at(now)
        assert due is not None
        pauses.append(due - now)
        now = due
    assert max(pauses) == longest_s


def half_up(at: float) -> HostHealth:
    """LM Studio 0.3 that came back with its WebSocket closed."""
    health = up()
    health.failed(at - 1.0, "refused", FailureKind.CONNECT)
    health.probed(at, HALF)
    return health


def test_one_that_came_by_less_than_it_may_serve_is_looked_at_again_for_a_moment() -> None:
    health, at = half_up(100.0), 100.0
    looks = list[float]()
    # Nobody is refused by it before the next look.
    assert health.is_in_doubt
    while (due := health.next_probe_at(at)) is not None:
        assert (health.state, health.is_settling) == ("up", True)
        at = due
        looks.append(at)
        assert health.probed(at, HALF) == ()
        assert not health.is_in_doubt
    assert looks == [100.0, 101.0, 103.0, 107.0, 112.0]
    assert not health.is_settling


def test_one_that_serves_all_of_it_or_goes_is_not_looked_at_for_that_any_more() -> None:
    health = half_up(100.0)
    health.probed(100.0, REPORT)
    assert (health.is_settling, health.next_probe_at(100.0)) == (False, None)
    # Whatever it is later on: it has settled.
    health.probed(200.0, HALF)
    assert (health.is_settling, health.next_probe_at(200.0)) == (False, None)
    health = half_up(100.0)
    health.failed(100.5, "refused", FailureKind.CONNECT)
    assert not health.is_settling
    health = half_up(100.0)
    health.probed(100.0 + SETTLES_S, HALF)
    assert not health.is_settling


def test_a_host_at_work_that_tells_nothing_stays_up_and_is_said_to_be_silent() -> None:
    health = up()
    health.missed(25.0, "no answer", 20.0)
    assert (health.state, health.reason, health.silent_since) == ("up", "no answer", 20.0)
    assert health.is_in_doubt
    assert health.next_probe_at(25.0) == 25.0
    health.missed(30.0, "no answer", 20.0)
    assert (health.probes.failures, health.silent_since) == (2, 20.0)
    assert health.next_probe_at(30.0) == 31.0
    assert health.probed(31.0, REPORT) == ()
    assert (health.reason, health.silent_since, health.probes.failures) == ("", None, 0)
    assert health.next_probe_at(31.0) is None


def test_words_of_its_answers_end_the_silence_of_a_host() -> None:
    health = up()
    health.missed(25.0, "no answer", 20.0)
    health.missed(30.0, "no answer", None)
    assert (health.reason, health.silent_since, health.probes.failures) == ("", None, 0)


def test_a_silent_host_that_is_lost_was_away_for_as_long_as_it_said_nothing() -> None:
    health = up()
    health.missed(25.0, "no answer", 20.0)
    health.failed(40.0, "no answer", FailureKind.TIMEOUT)
    assert (health.state, health.away_since, health.silent_since) == ("down", 20.0, None)
