"""Whether a host may serve: its going and coming, to the exact second, each said once."""

from bot.domain.errors import FailureKind
from bot.domain.events import FleetEvent
from bot.domain.hosts import Report
from bot.domain.ids import HostName
from bot.fleet.health import HostHealth

H = HostName("studio")
REPORT = Report("/api/v1", "0.4.16", {}, ())
FOUND = FleetEvent("host found", H, interface="/api/v1", version="0.4.16")


def up() -> HostHealth:
    health = HostHealth(H)
    assert health.next_probe_at(5.0) == 5.0, "nothing is known of it yet"
    health.probed(0.0, REPORT)
    return health


def test_a_host_is_found_once_with_what_it_told() -> None:
    health = HostHealth(H)
    assert (health.is_doubted, health.needs_token) == (False, False)
    news = health.probed(0.0, REPORT)
    assert news == (FOUND,)
    assert (health.state, health.reason, health.report) == ("up", "", REPORT)
    assert health.probed(30.0, REPORT) == ()
    assert health.next_probe_at(30.0) is None


def test_a_host_is_lost_once_with_its_reason() -> None:
    health = up()
    lost = health.failed(1.0, "refused", FailureKind.CONNECT)
    assert lost == (FleetEvent("host lost", H, reason="refused"),)
    assert health.failed(1.0, "no route", FailureKind.CONNECT) == ()
    assert health.away() == "studio is away: no route"
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
