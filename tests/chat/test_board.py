"""What a board reads: how the hosts stand, the day's money, and never too much for a message."""

import pytest

from bot.chat.board import board_text
from bot.chat.usage import UsageReport
from bot.domain.cloud import ProviderStanding, UsageLine
from bot.domain.hosts import FleetSnapshot, HostSnapshot, HostState, Instance, LoadInFlight
from bot.domain.ids import HostName, InstanceId, ModelKey, ProviderName
from bot.policy.periods import Period

GB = 10**9
BUSY = HostSnapshot(
    HostName("studio-1"),
    "10.0.0.1:1234",
    "up",
    instances=(
        Instance(InstanceId("a/big"), ModelKey("a/big"), size_bytes=30 * GB, leases=2),
        Instance(InstanceId("b/small"), ModelKey("b/small"), size_bytes=6 * GB),
    ),
    load=LoadInFlight(ModelKey("c/new"), 0.4, 0.0, None),
    waiting={ModelKey("a/big"): 2, ModelKey("c/new"): 1},
    memory_bytes=72 * GB,
)


def read(*hosts: HostSnapshot, today: UsageReport | None = None) -> list[str]:
    fleet = FleetSnapshot({host.name: host for host in hosts}, taken_at=0.0)
    return board_text(fleet, (), today).splitlines()


def test_a_host_shows_memory_models_load_and_queue() -> None:
    assert read(BUSY)[1:] == [
        "🟢 **studio-1** · `█████░░░░░` 36.0 GB of 72.0 GB",
        "└ `a/big` · 2 answering",
        "└ `b/small`",
        "└ 📦 `c/new` loading 40%",
        "└ ⏳ 3 waiting",
    ]


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("down", "🔴 **h** · down"),
        ("asleep", "💤 **h** · asleep"),
        ("unknown", "⚪ **h** · unknown"),
        ("draining", "🟡 **h** · 1.0 GB in use · draining"),
    ],
)
def test_of_a_host_that_is_away_nothing_is_claimed(state: HostState, line: str) -> None:
    held = (Instance(InstanceId("m"), ModelKey("m"), size_bytes=GB),)
    told = read(HostSnapshot(HostName("h"), "10.0.0.1:1", state, instances=held))
    assert told[1] == line
    assert ("└ `m`" in told) is (state == "draining")


def test_an_address_is_not_put_before_a_whole_server() -> None:
    host = HostSnapshot(HostName("10.0.0.7:1234"), "10.0.0.7:1234", "down")
    assert read(BUSY, host)[-1] == "🔴 **host 2** · down"


def test_the_days_money_is_told_and_a_saving_where_there_is_one() -> None:
    used = UsageLine("", local_turns=3, cost_micro_usd=20_000)
    zai = ProviderName("zai")
    for saved, words in (
        (50_000, "Cost here today: 2 ¢ · saved 5 ¢"),
        (None, "Cost here today: 2 ¢"),
    ):
        period = Period("2026-11-21", "2026-11-21")
        report = UsageReport(period, used, (), (), (), saved, zai if saved else None)
        assert read(today=report)[-1] == words


def test_why_a_provider_rests_is_not_put_before_a_whole_server() -> None:
    standing = ProviderStanding(
        ProviderName("zai"), ModelKey("glm"), "No money is left.", 0, 0, 0, ()
    )
    told = board_text(FleetSnapshot({}, 0.0), (standing,), None)
    assert "resting" in told
    assert "money" not in told


def test_however_many_hosts_it_stays_one_message() -> None:
    many = [HostSnapshot(HostName(f"h{n}"), f"10.0.0.{n}:1", "down") for n in range(300)]
    told = read(*many)
    assert len("\n".join(told)) < 2000
    assert told[-1] == f"… and {301 - (len(told) - 1)} lines more: `/fleet status`"
