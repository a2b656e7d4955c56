"""The demo: simulated hosts and providers, the commands only it has, and its tour."""

from collections.abc import Mapping

import pytest
from house import Said

from bot.chat.lantern import Lantern
from bot.commands.demo import BANNER, TOUR, demo
from bot.domain.chat import Place, TurnRequest
from bot.domain.errors import RequestRefused
from bot.domain.events import Failed, Finished
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, UserId
from bot.terminal.commands import CommandForm, parse


async def run(extras: Mapping[str, CommandForm], *words: str) -> str | None:
    power = extras["power"].run
    assert power is not None
    return await power(words)


async def ask(built: Lantern, text: str, *, persona: str = "sage") -> Said:
    request = TurnRequest(
        user=UserId("terminal:you"),
        user_name="you",
        place=Place(PlaceId("terminal"), is_private=True),
        text=text,
        persona=PersonaName(persona),
        model=ModelKey("auto"),
    )
    said = Said()
    async with built.turns.open(request) as events:
        async for event in events:
            said.events.append(event)
    return said


@pytest.mark.slow
async def test_with_all_hosts_off_a_provider_answers_and_then_a_host_again() -> None:
    async with demo(lambda _: None, time_scale=0.0) as (built, extras):
        assert await run(extras, "all", "off") == "All simulated hosts are off."
        away = await ask(built, "Who answers?")
        await run(extras, "all", "on")
        await built.fleet.host(HostName("studio")).probe()
        back = await ask(built, "And now?")
    assert away.receipt.provider == "zai"
    assert away.receipt.cost_micro_usd > 0
    assert back.receipt.host == "studio"
    assert back.receipt.cost_micro_usd == 0


@pytest.mark.slow
async def test_the_diary_is_refused_rather_than_sent_away() -> None:
    async with demo(lambda _: None, time_scale=0.0) as (built, extras):
        await run(extras, "all", "off")
        said = await ask(built, "Dear diary", persona="diary")
        other = await ask(built, "Dear sage")
    assert isinstance(said.last, Failed)
    assert "local only" in said.last.error.user_message
    assert isinstance(other.last, Finished)


@pytest.mark.slow
async def test_one_host_may_lose_its_power_alone() -> None:
    async with demo(lambda _: None, time_scale=0.0) as (_, extras):
        assert await run(extras, "studio", "off") == "Simulated host studio is off."
        assert await run(extras, "studio", "on") == "Simulated host studio is on."
        with pytest.raises(RequestRefused, match=r"all\|studio\|laptop off"):
            await run(extras, "moon", "off")


@pytest.mark.slow
async def test_a_plug_may_be_pulled_in_the_middle_of_the_next_answer() -> None:
    async with demo(lambda _: None, time_scale=0.05) as (built, extras):
        assert await run(extras, "studio", "off", "0.1") == "Simulated host studio: off in 0.1 s."
        studio = HostName("studio")
        while built.fleet.snapshot().hosts[studio].state == "up":
            await built.fleet.host(studio).probe()
        with pytest.raises(RequestRefused, match="SECONDS"):
            await run(extras, "studio", "on", "soon")
        # Of a demo that ends, nothing is waited for.
        await run(extras, "studio", "on", "60")


def test_every_line_of_the_tour_is_a_command_or_a_message() -> None:
    parsed = [parse(line, ("power", "wait")) for line in TOUR.splitlines()]
    assert all(command is not None for command in parsed)
    assert TOUR.endswith("/usage\n")


def test_the_banner_says_that_nothing_is_real_and_nothing_is_paid() -> None:
    assert "SIMULATED" in BANNER
    assert "no money is spent" in BANNER
