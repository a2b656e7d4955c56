"""Probing over real sockets: the same true picture on every generation, going and coming."""

import asyncio

import pytest
from clocks import LoopClock
from fleet_bench import EMBED, GUARD_S, ONE, TWO, H, a_wish, fleet_over, sim_config

from bot.domain.errors import FailureKind, HostUnreachable, UnknownName
from bot.domain.hosts import HostConfig, Instance, Interface, Report, SpeedRecord
from bot.domain.ids import HostName
from bot.fleet.fleet import FleetRules
from bot.fleet.lmstudio import SocketClient
from bot.sim import journal
from bot.sim.host import SimHost

TOKEN = "sk-lm-abcd1234:abcdefghij0123456789"


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize(
    ("generation", "sockets", "interface"),
    [
        ("0.4", True, "SDK socket"),
        ("0.3", True, "SDK socket"),
        ("0.4", False, "/api/v1"),
        ("0.3", False, "/api/v0"),
    ],
)
async def test_every_host_shows_the_same_true_picture(
    generation: str, sockets: bool, jit: bool, interface: Interface
) -> None:
    config = sim_config(generation=generation, sockets=sockets, jit=jit)
    async with SimHost(config) as sim:
        await sim.preload(TWO, context_length=8192)
        async with fleet_over(sim) as bench:
            host = bench.host()
            assert host.state == "up"
            assert host.interface == interface
            assert set(host.models) == {ONE, TWO, EMBED}
            assert host.models[EMBED].kind == "embedding"
            (instance,) = host.instances
            assert (instance.identifier, instance.model_key) == (TWO, TWO)
            assert instance.context_length == 8192
            assert not instance.own
            assert host.lists_only_loaded is not jit
            assert host.version.startswith(generation)
            assert (instance.parallel == 1) == (generation == "0.3")


async def test_the_listing_mode_is_unknown_when_everything_is_loaded() -> None:
    async with SimHost(sim_config()) as sim:
        for key in (ONE, TWO, EMBED):
            await sim.preload(key)
        async with fleet_over(sim) as bench:
            assert bench.host().lists_only_loaded is None


async def test_a_protected_host_is_entered_with_its_token() -> None:
    async with SimHost(sim_config(token=TOKEN)) as sim:
        configs = [HostConfig(H, sim.address, token=TOKEN)]
        async with fleet_over(configs=configs) as bench:
            assert bench.host().interface == "SDK socket"
            async with bench.fleet.host(H).lease(a_wish()) as lease:
                async for _ in lease:
                    pass
                assert lease.endpoint.token == TOKEN
                assert TOKEN not in repr(lease.endpoint)


@pytest.mark.parametrize("token", [None, "sk-lm-abcd1234:wrong", "nonsense"])
async def test_a_protected_host_without_its_token_says_so(token: str | None) -> None:
    async with SimHost(sim_config(token=TOKEN)) as sim:
        configs = [HostConfig(H, sim.address, token=token)]
        async with fleet_over(configs=configs) as bench:
            assert bench.host().state == "down"
            assert bench.host().needs_token
            assert "token" in bench.host().reason


async def test_a_host_that_is_not_there_is_down_and_said_once() -> None:
    async with SimHost(sim_config()) as sim:
        await sim.stop()
        async with fleet_over(sim) as bench:
            assert bench.host().state == "down"
            assert "refuses connections" in bench.host().reason
            await bench.fleet.host(H).probe()
            assert [event.what for event in bench.news] == ["host lost"]
            with pytest.raises(HostUnreachable):
                await bench.use()


@pytest.mark.parametrize("fault", ["garbage", "status_500", "status_503", "refuse"])
async def test_a_host_that_answers_nonsense_is_down_until_it_is_well(fault: str) -> None:
    async with SimHost(sim_config()) as sim:
        getattr(sim.faults, fault)()
        async with fleet_over(sim) as bench:
            assert bench.host().state == "down"
            sim.faults.clear()
            await bench.fleet.host(H).probe()
            assert bench.host().state == "up"


@pytest.mark.slow
async def test_a_host_that_never_answers_is_down_within_the_deadline(
    loop_clock: LoopClock,
) -> None:
    rules = FleetRules(probe_timeout_s=9.0)
    async with SimHost(sim_config()) as sim, fleet_over(sim, rules=rules) as bench:
        sim.faults.hang()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bench.fleet.host(H).probe())
            await loop_clock.armed(9.0)
            loop_clock.passes(9.0)
        assert bench.host().state == "down"
        assert "did not answer within 9 s" in bench.host().reason
        sim.faults.clear()
        await bench.fleet.host(H).probe()
        assert bench.host().state == "up"


@pytest.mark.parametrize("path", ["/v1/models", "/llm"])
async def test_garbage_on_one_path_alone_is_enough_to_be_down_or_poorer(path: str) -> None:
    async with SimHost(sim_config()) as sim:
        sim.faults.garbage(path=path)
        async with fleet_over(sim) as bench:
            host = bench.host()
            is_poorer = host.state == "up" and host.interface == "/api/v1"
            assert is_poorer or host.state == "down"


@pytest.mark.slow
async def test_a_host_that_restarts_is_found_again_with_a_new_connection() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        await bench.use()
        await sim.stop()
        await bench.fleet.host(H).probe()
        assert bench.host().state == "down"
        await bench.fleet.host(H).probe()
        await sim.start()
        await bench.fleet.host(H).probe()
        assert bench.host().instances == ()
        assert (await bench.use())[0].own
        kinds = [e.what for e in bench.news if e.what.startswith("host")]
        assert kinds == ["host found", "host lost", "host found"]


async def test_a_stale_connection_is_rebuilt_within_one_probe_unseen() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.kill()
        await bench.fleet.host(H).probe()
        assert bench.host().state == "up"
        assert [event.what for event in bench.news] == ["host found"]


async def test_a_load_over_a_stale_connection_is_served_all_the_same() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.kill()
        assert (await bench.use())[0].identifier == ONE


async def test_a_lost_host_comes_back_by_itself() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        await sim.stop()
        await bench.fleet.host(H).probe()
        await sim.start()
        await bench.until_up()


async def test_the_others_are_probed_though_one_hangs() -> None:
    other = HostName("studio-2")
    async with SimHost(sim_config()) as hung, SimHost(sim_config()) as well:
        hung.faults.hang()
        # Nobody waits for the one that hangs, and its own deadline is far off.
        async with fleet_over(hung, well, settled=[other]) as bench, asyncio.TaskGroup() as tasks:
            everybody = tasks.create_task(bench.fleet.probe_all())
            await bench.fleet.host(other).probe()
            assert (bench.host().state, bench.host(other).state) == ("unknown", "up")
            assert (await bench.use(name=other))[0].identifier == ONE
            assert not everybody.done()
            hung.faults.clear()


async def test_a_failed_request_takes_the_host_out_at_once_and_it_is_probed_back_in() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        bench.fleet.host(H).report_failure("HTTP 500")
        assert bench.host().state == "down"
        with pytest.raises(HostUnreachable):
            await bench.use()
        await bench.until_up()


async def test_a_host_that_answers_probes_and_fails_requests_stays_out() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        for _ in range(3):
            bench.fleet.host(H).report_failure("HTTP 503")
            await bench.fleet.host(H).probe()
        assert bench.host().state == "down"
        assert bench.host().failures == 3


async def test_an_answered_request_forgives_earlier_failures() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        for _ in range(5):
            bench.fleet.host(H).report_failure("HTTP 503")
            await bench.fleet.host(H).probe()
            bench.fleet.host(H).record_speed(SpeedRecord(H, ONE, 100, 50, 0.5, 2.0))
        assert bench.host().state == "up"
        assert bench.host().speeds[ONE].turn_s == pytest.approx(2.5)
        await bench.fleet.host(H).probe()
        assert len(bench.kept.speeds) == 5


async def _too_late(_: SocketClient) -> Report:
    # As its deadline ends it: a real one would be too short for the rest on a busy machine.
    raise TimeoutError


@pytest.mark.parametrize(
    ("is_silent", "words", "kind"),
    [
        (True, "studio said nothing for .* s: it hangs", FailureKind.TIMEOUT),
        (False, "cut the connection", FailureKind.CUT),
    ],
)
async def test_a_load_that_broke_off_at_a_silent_host_broke_since_it_hung(
    monkeypatch: pytest.MonkeyPatch, is_silent: bool, words: str, kind: FailureKind
) -> None:
    commanded, go_on = asyncio.Event(), asyncio.Event()

    async def breaks(*_: object) -> Instance | None:
        commanded.set()
        await go_on.wait()
        # As the heartbeat of the socket ends it where the host is frozen.
        raise HostUnreachable("studio cut the connection.", FailureKind.CUT)

    monkeypatch.setattr(SocketClient, "load", breaks)
    async with (
        SimHost(sim_config()) as sim,
        fleet_over(sim) as bench,
        # Without a timer nobody could tell what such a load makes, and it is not waited for.
        bench.fleet.host(H).lease(a_wish(idle_ttl_s=None)) as lease,
    ):
        await commanded.wait()
        if is_silent:
            monkeypatch.setattr(SocketClient, "inventory", _too_late)
            await bench.fleet.host(H).probe()
        go_on.set()
        with pytest.raises(HostUnreachable, match=words) as raised:
            async for _ in lease:
                pass
        assert raised.value.kind is kind


async def test_a_host_too_busy_to_answer_a_probe_keeps_its_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            async for _ in lease:
                pass
            monkeypatch.setattr(SocketClient, "inventory", _too_late)
            await bench.fleet.host(H).probe()
            first = bench.host()
            assert first.state == "up"
            assert "did not answer" in first.reason
            assert first.silent_since is not None
            await bench.fleet.host(H).probe()
            assert bench.host().silent_since == first.silent_since
            assert bench.host().failures == 2
        await bench.fleet.host(H).probe()
        assert bench.host().state == "down"


async def test_sockets_that_open_later_are_used_later() -> None:
    async with SimHost(sim_config()) as sim:
        sim.faults.status_503(path="/llm")
        async with fleet_over(sim) as bench:
            assert bench.host().interface == "/api/v1"
            sim.faults.clear()
            await bench.fleet.host(H).probe()
            assert bench.host().interface == "SDK socket"


async def test_probing_everything_leaves_a_host_in_its_pause_alone() -> None:
    async with SimHost(sim_config()) as sim:
        await sim.stop()
        async with fleet_over(sim) as bench:
            await bench.fleet.host(H).probe()
            async with asyncio.timeout(GUARD_S):
                await bench.fleet.probe_all()
            assert bench.host().state == "down"


async def test_probes_run_side_by_side_with_a_load() -> None:
    async with (
        SimHost(sim_config()) as sim,
        fleet_over(sim) as bench,
        bench.fleet.host(H).lease(a_wish()) as lease,
    ):
        sim.faults.stall_load()
        await anext(lease)
        await sim.journal.wait_for(journal.LoadStarted)
        await bench.fleet.probe_all()
        assert bench.host().load is not None
        sim.faults.clear()
        async for _ in lease:
            pass
        assert lease.granted.instance.leases == 1


@pytest.mark.parametrize("fault", ["status_500", "garbage", "refuse"])
@pytest.mark.parametrize("path", ["", "/v1/models"], ids=["everywhere", "one path"])
async def test_a_failed_probe_drops_no_load_in_flight(fault: str, path: str) -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await sim.journal.wait_for(journal.LoadStarted)
            getattr(sim.faults, fault)(path=path)
            await bench.fleet.host(H).probe()
            assert bench.host().state == "down"
            assert bench.host().load is not None
            sim.faults.clear("status", "garbage", "refuse")
            await bench.fleet.host(H).probe()
            assert bench.host().state == "up"
            assert bench.host().load is not None
        sim.faults.clear()
        await bench.until(lambda host: host.load is None)
        (instance,) = bench.host().instances
        assert instance.own
        assert not [event for event in bench.news if event.what == "load failed"]
        assert [own.reference for own in bench.kept.own.values()] == [instance.reference]


async def test_a_failed_probe_drops_no_unload_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    unload = SocketClient.unload

    async def slowly(client: SocketClient, instance: Instance, **how: bool) -> None:
        entered.set()
        await go_on.wait()
        await unload(client, instance, **how)

    monkeypatch.setattr(SocketClient, "unload", slowly)
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench, asyncio.TaskGroup() as tasks:
        await bench.use()
        leaving = tasks.create_task(bench.fleet.host(H).unload(ONE))
        await entered.wait()
        sim.faults.status_500(times=2, path="/v1/models")
        await bench.fleet.host(H).probe()
        assert bench.host().state == "down"
        go_on.set()
        assert await leaving == {ONE: ""}
        assert sim.resident == ()


async def test_an_unknown_host_is_named_with_the_nearest() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        with pytest.raises(UnknownName, match="studio"):
            await bench.use(name=HostName("studioo"))


@pytest.mark.slow
async def test_a_disk_of_a_thousand_models_is_read() -> None:
    models = tuple(
        type(sim_config().models[0])(f"lab/model-{n}-with-quite-a-long-name", 10**9)
        for n in range(1000)
    )
    async with SimHost(sim_config(models=models)) as sim, fleet_over(sim) as bench:
        assert len(bench.host().models) == 1000
        assert bench.host().interface == "SDK socket"
