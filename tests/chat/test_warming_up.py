"""A guess at what will be asked: loaded where there is room, and nowhere else."""

from pathlib import Path

import pytest
from house import ADA, GEMMA, PLACE, QWEN, cloud, house, sim

from bot.chat.planning import ChatRules
from bot.domain.hosts import Wish
from bot.domain.ids import HostName, PersonaName, ProviderName
from bot.fleet.host import Host
from bot.policy.warmup import WARM_UP, WARM_UP_TTL_S
from bot.sim.journal import LoadStarted

STUDIO = HostName("studio")
MODELS = {"default": f"model: {QWEN.key}\n"}


async def test_what_would_answer_is_loaded_for_a_while_and_once(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA), personas=MODELS) as home:
        host = home.lantern.fleet.host(STUDIO)
        await home.lantern.switch.warm_up(PLACE, ADA)
        await home.lantern.switch.warm_up(PLACE, ADA)
        await host.until(lambda seen: any(i.own for i in seen.instances))
        (held,) = home.lantern.fleet.snapshot().hosts[STUDIO].instances
        assert (held.model_key, held.idle_ttl_s) == (QWEN.key, WARM_UP_TTL_S)
        await home.ask("hello")
        (held,) = home.lantern.fleet.snapshot().hosts[STUDIO].instances
        assert held.idle_ttl_s is not None
        assert held.idle_ttl_s > WARM_UP_TTL_S, "a question makes it stay as usual"
        assert [news.what for news in home.news].count("model loaded") == 1


async def test_nothing_leaves_memory_for_a_guess(tmp_path: Path) -> None:
    # Room for either of them, never for both.
    most = (QWEN.size_bytes + GEMMA.size_bytes) / 1e9 - 1
    full = sim("studio", QWEN, GEMMA)
    async with house(tmp_path, full, personas=MODELS, memory_gb=most) as home:
        await home.ask("hello", model=GEMMA.key)
        await home.lantern.switch.warm_up(PLACE, ADA)
        (held,) = home.lantern.fleet.snapshot().hosts[STUDIO].instances
        assert held.model_key == GEMMA.key
        assert home.lantern.fleet.snapshot().hosts[STUDIO].load is None


@pytest.mark.parametrize("name", [GEMMA.key, None])
async def test_what_answers_in_a_long_conversation_is_loaded_with_room_for_it_after_a_restart(
    tmp_path: Path, name: str | None
) -> None:
    studio = sim("studio", QWEN, GEMMA, default_context_length=4096)
    async with house(tmp_path, studio, personas=MODELS) as home:
        await home.ask("And what came of it in the end? " * 900)
    # What was needed lately is forgotten by now.
    async with house(tmp_path, studio, personas=MODELS) as home:
        switch, host = home.lantern.switch, home.lantern.fleet.host(STUDIO)
        if name is None:
            await switch.warm_up(PLACE, ADA)
            await host.until(lambda seen: any(i.own for i in seen.instances))
        else:
            async with switch.warm(PLACE, ADA, model=name) as steps:
                assert [step async for step in steps]
        await home.ask("And then?", model=name)
        assert len(home.hosts["studio"].journal.of(LoadStarted)) == 1


async def test_a_guess_stands_behind_every_question_in_a_hosts_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes, lease = list[Wish](), Host.lease

    def noted(self: Host, wish: Wish) -> object:
        wishes.append(wish)
        return lease(self, wish)

    monkeypatch.setattr(Host, "lease", noted)
    async with house(tmp_path, sim("studio", QWEN), personas=MODELS) as home:
        await home.lantern.switch.warm_up(PLACE, ADA)
    assert [(wish.user, wish.priority) for wish in wishes] == [(WARM_UP, "low")]


async def test_where_a_provider_answers_first_nothing_is_loaded(tmp_path: Path) -> None:
    zai = (ProviderName("zai"),)
    rules = ChatRules(PersonaName("default"), strategy="prefer_cloud", cloud=zai)
    studio, paid = sim("studio", QWEN), cloud(zai="zai")
    async with house(tmp_path, studio, personas=MODELS, rules=rules, providers=paid) as home:
        await home.lantern.switch.warm_up(PLACE, ADA)
        at_rest = home.lantern.fleet.snapshot().hosts[STUDIO]
        assert (at_rest.load, at_rest.instances) == (None, ())
        assert not home.hosts["studio"].journal.of(LoadStarted)
