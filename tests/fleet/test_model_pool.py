"""Hosts with the same models on disk share the records of them."""

from fleet_bench import MODELS, H, fleet_over, sim_config

from bot.domain.ids import HostName
from bot.sim.host import SimHost

OTHER = HostName("studio-2")


async def test_hosts_with_the_same_models_hold_each_record_once() -> None:
    async with (
        SimHost(sim_config()) as one,
        SimHost(sim_config()) as two,
        fleet_over(one, two) as bench,
    ):
        here, there = bench.host(H).models, bench.host(OTHER).models
        assert len(here) == len(MODELS)
        assert all(here[key] is there[key] for key in here)


async def test_a_probe_that_finds_nothing_new_keeps_the_records() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        before = bench.host().models
        await bench.fleet.host(H).probe()
        assert bench.host().models is before
