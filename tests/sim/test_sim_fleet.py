from dataclasses import replace

import lmstudio as lms

from bot.sim.fleet import DEMO_HOSTS, SHARED, demo_fleet


def test_the_demo_hosts_differ_share_a_model_and_cannot_hold_everything() -> None:
    strong, weak = DEMO_HOSTS
    assert SHARED in strong.models
    assert SHARED in weak.models
    assert strong.models != weak.models
    for host in DEMO_HOSTS:
        assert sum(model.size_bytes for model in host.models) > host.memory_bytes
        assert all(model.size_bytes <= host.memory_bytes for model in host.models)


def test_the_longest_load_of_the_demo_is_visible_and_bearable() -> None:
    for host in DEMO_HOSTS:
        longest_s = max(model.size_bytes for model in host.models) / host.load_bytes_per_s
        assert 3 <= longest_s <= 4


async def test_the_demo_fleet_runs_real_hosts() -> None:
    fast = [replace(config, time_scale=0) for config in DEMO_HOSTS]
    async with demo_fleet(fast) as hosts:
        assert len({host.address for host in hosts}) == 2
        for host in hosts:
            assert await lms.AsyncClient.is_valid_api_host(host.address)
    assert not any(host.is_up for host in hosts)
