"""A host lost in the middle of an answer, over real sockets: another goes on from its last word."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from clocks import LoopClock
from house import GEMMA, GUARD_S, PLACE, QWEN, House, Said, cloud, house, sim

from bot.chat import host_serving, turns
from bot.chat.words import footer, why_text
from bot.domain.chat import Attachment, Receipt
from bot.domain.events import Finished, Loading, Resuming, Stopped, TextDelta, TurnEvent
from bot.domain.hosts import Speed, SpeedRecord
from bot.domain.ids import HostName, ModelKey, PlaceId, TurnId
from bot.policy.context import CONTINUE_TEXT
from bot.sim.answers import Answer, Asked, Message, default_answer
from bot.sim.journal import LoadFinished, LoadStarted, PredictionFinished, PredictionStarted
from bot.sim.models import Prefill, SimHostConfig, SimModel
from bot.store.turns import TurnStore

ONE, TWO, THREE = HostName("one"), HostName("two"), HostName("three")
KEY = ModelKey(QWEN.key)
COUNT = "one two three four five six seven eight nine ten eleven twelve"
SAY = f"[[say {COUNT}]]"


async def ready(home: House, *names: HostName) -> None:
    """Puts the model in memory at these; the first of them is the first in every route."""
    for place, name in enumerate(names):
        await home.hosts[name].preload(KEY)
        await home.lantern.fleet.host(name).probe()
        for _ in range(20):
            speed = SpeedRecord(name, KEY, 1000, 50, 0.01 + 5.0 * place, 1.0)
            home.lantern.fleet.host(name).record_speed(speed)


def asked_of(home: House, name: HostName) -> list[tuple[Message, ...]]:
    return [p.messages for p in home.hosts[name].journal.of(PredictionStarted)]


def resumed_at(said: Said) -> list[str]:
    return [event.candidate.where for event in said.events if isinstance(event, Resuming)]


def drops(home: House) -> None:
    home.hosts["one"].faults.drop_after_tokens(5)


def ends_silently(home: House) -> None:
    home.hosts["one"].faults.silent_end(5)


def stalls(home: House) -> None:
    home.hosts["one"].faults.stall_after_tokens(5)


@pytest.mark.parametrize("lost", [drops, ends_silently, stalls])
async def test_the_answer_goes_on_elsewhere_and_reads_as_one(
    tmp_path: Path, lost: Callable[[House], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def soon(speed: Speed, beside: int = 0) -> float:
        return 0.1

    monkeypatch.setattr(host_serving, "gap_s", soon)
    async with house(
        tmp_path, sim("one", QWEN), sim("two", QWEN), providers=cloud(zai="zai")
    ) as home:
        await ready(home, ONE, TWO)
        lost(home)
        said = await home.ask(SAY)
        assert isinstance(said.last, Finished)
        assert said.text == COUNT
        assert resumed_at(said) == ["two"]
        (messages,) = asked_of(home, TWO)
        assert [(m.role, m.text) for m in messages[-2:]] == [
            ("user", SAY),
            ("assistant", "one two three four five"),
        ]
        assert not home.doubles["zai"].journal.chats()
        # Told: who began, who went on, how much it was in all.
        receipt = said.receipt
        assert (receipt.host, [s.host for s in receipt.seams], receipt.attempts) == (TWO, [ONE], ())
        assert (receipt.usage.completion_tokens, receipt.usage.estimated) == (12, True)
        assert (receipt.finish, receipt.ending, receipt.cause) == ("stop", "", "")
        assert receipt.seams[0].tokens == 5
        assert receipt.seams[0].pause_s is not None
        assert "one → two" in footer(receipt)
        # Stored as one answer without a mark.
        stored = await home.lantern.turns.store.get(said.turn)
        assert stored is not None
        assert (stored.status, stored.reply_text) == ("done", COUNT)
        assert "Lost in the middle: one, after about 5 tokens" in why_text(stored)


async def test_an_answer_by_two_hosts_is_not_given_again(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN), cache_ttl_s=3600.0) as home:
        await ready(home, ONE, TWO)
        drops(home)
        for number in range(3):
            place = replace(PLACE, channel=PlaceId(f"discord:{number}"))
            said = await home.ask(SAY, place=place)
            assert (said.text, said.receipt.from_cache) == (COUNT, number == 2)


async def test_the_next_question_reads_the_whole_answer(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE, TWO)
        drops(home)
        said = await home.ask(SAY)
        assert isinstance(said.last, Finished)
        after = await home.ask("And then?", parent=said.turn)
        assert after.receipt.host is not None
        sent = asked_of(home, after.receipt.host)[-1]
        assert [m.text for m in sent if m.role == "assistant"] == [COUNT]


async def test_a_host_that_is_switched_off_in_five_answers_loses_none(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN, parallel=5), sim("two", QWEN)) as home:
        await ready(home, ONE)
        home.hosts["one"].faults.stall_after_tokens(3, times=None)
        saids, news = [Said() for _ in range(5)], asyncio.Event()

        async def ask(number: int, said: Said) -> None:
            place = replace(PLACE, channel=PlaceId(f"discord:{number}"))
            async with home.lantern.turns.open(home.request(SAY, place=place)) as events:
                async for event in events:
                    said.events.append(event)
                    news.set()

        async with asyncio.timeout(GUARD_S), asyncio.TaskGroup() as tasks:
            for number, said in enumerate(saids):
                tasks.create_task(ask(number, said))
            while not all(said.text for said in saids):
                await news.wait()
                news.clear()
            await home.hosts["one"].stop()
        for said in saids:
            assert isinstance(said.last, Finished)
            assert (said.text, said.receipt.host) == (COUNT, TWO)
            assert [seam.host for seam in said.receipt.seams] == [ONE]
        # Cold there: all of them waited for one load.
        assert len(home.hosts["two"].journal.of(LoadFinished)) == 1


async def test_a_cold_host_loads_it_and_the_wait_is_no_part_of_the_first_words(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE)
        drops(home)
        two = home.hosts["two"]
        two.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(home.ask(SAY))
            await two.journal.wait_for(LoadStarted)
            loop_clock.passes(4.0)
            two.faults.clear()
        said = asking.result()
        assert (said.text, said.receipt.host) == (COUNT, TWO)
        kinds = [type(event) for event in said.events]
        assert kinds.index(TextDelta) < kinds.index(Resuming) < kinds.index(Loading)
        timing, (seam,) = said.receipt.timing, said.receipt.seams
        assert (seam.pause_s, timing.wait_s) == (4.0, 0.0)
        assert timing.load_s == 0.0


async def test_lost_twice_it_goes_on_twice(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN), sim("three", QWEN)) as home:
        await ready(home, ONE, TWO, THREE)
        drops(home)
        home.hosts["two"].faults.drop_after_tokens(3)
        said = await home.ask(SAY)
        assert isinstance(said.last, Finished)
        assert said.text == COUNT
        assert asked_of(home, THREE)[0][-1].text == "one two three four five six seven eight"
        assert footer(said.receipt).startswith(f"{KEY} · one → two → three · ~12 tokens")


async def test_without_a_third_host_both_parts_are_kept_and_it_ends_honestly(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE, TWO)
        drops(home)
        home.hosts["two"].faults.drop_after_tokens(3)
        said = await home.ask(SAY)
        assert isinstance(said.last, Stopped)
        assert said.last.reason == "two broke off."
        assert said.text == "one two three four five six seven eight"
        receipt = said.receipt
        assert (receipt.finish, receipt.usage.completion_tokens) == ("error", 8)
        assert receipt.ending == said.last.reason
        assert receipt.cause not in ("", receipt.ending)
        assert "one → two" in footer(receipt)


@pytest.mark.parametrize(
    ("other", "is_asked"),
    [
        (sim("two", GEMMA), False),
        (replace(sim("two", QWEN), memory_bytes=1), True),
    ],
)
async def test_where_nobody_can_go_on_it_is_closed_as_cut_and_no_provider_is_asked(
    tmp_path: Path, other: SimHostConfig, *, is_asked: bool
) -> None:
    async with house(tmp_path, sim("one", QWEN), other, providers=cloud(zai="zai")) as home:
        await ready(home, ONE)
        drops(home)
        said = await home.ask(SAY)
        assert isinstance(said.last, Stopped)
        assert not said.last.by_asker
        tried = " No other machine could go on with it." if is_asked else ""
        assert said.last.reason == f"one broke off.{tried}"
        assert said.text == "one two three four five"
        assert bool(resumed_at(said)) == is_asked
        assert said.receipt.host == ONE
        assert not home.doubles["zai"].journal.chats()
        assert footer(said.receipt).startswith(f"{KEY} · one · ~5 tokens")


async def test_lost_in_its_thinking_it_begins_afresh_unseen(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE, TWO)
        drops(home)
        said = await home.ask(f"[[think 20]]{SAY}")
        assert isinstance(said.last, Finished)
        assert (said.text, said.receipt.seams, resumed_at(said)) == (COUNT, (), [])
        assert asked_of(home, TWO)[0][-1].role == "user"


async def test_the_thoughts_of_both_hosts_are_kept(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE, TWO)
        home.hosts["one"].faults.drop_after_tokens(10)
        said = await home.ask(f"[[think 4]]{SAY}")
        assert said.text == COUNT
        stored = await home.lantern.turns.store.get(said.turn)
        assert stored is not None
        assert stored.reasoning_text


async def test_whole_but_for_its_end_mark_it_is_called_whole(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE, TWO)
        home.hosts["one"].faults.silent_end()
        said = await home.ask(SAY)
        assert isinstance(said.last, Finished)
        assert said.text == COUNT
        # All its words are those of the first.
        assert (said.receipt.host, said.receipt.cause) == (ONE, "")
        assert home.hosts["two"].journal.of(PredictionFinished)


@pytest.mark.parametrize(
    ("prefill", "text"),
    [
        ("echoed", COUNT),
        ("refused", "one two three four five"),
        ("thought", "one two three four five"),
    ],
)
async def test_models_that_take_a_begun_answer_otherwise(
    tmp_path: Path, prefill: Prefill, text: str
) -> None:
    odd = replace(QWEN, prefill=prefill)
    async with house(tmp_path, sim("one", odd), sim("two", odd)) as home:
        await ready(home, ONE, TWO)
        drops(home)
        said = await home.ask(SAY)
        assert isinstance(said.last, Finished)
        assert said.text.startswith(text)
        assert said.text.count("one two") == 1
        assert said.receipt.host == TWO
        last = asked_of(home, TWO)[-1]
        if prefill != "echoed":
            # Asked in words, on the same host, which is not blamed for its model's template.
            assert [(m.role, m.text) for m in last[-2:]] == [
                ("assistant", "one two three four five"),
                ("user", CONTINUE_TEXT),
            ]
            assert home.lantern.fleet.snapshot().hosts[TWO].is_serving
            assert len(said.text) > len(text)


async def test_stop_while_another_host_loads_keeps_the_text_and_its_host(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE)
        drops(home)
        home.hosts["two"].faults.stall_load(0.5)
        told: list[TurnEvent] = []
        async with home.lantern.turns.open(home.request(SAY)) as events:
            async for event in events:
                told.append(event)
                if isinstance(event, Loading) and event.fraction >= 0.5:
                    home.lantern.turns.stop(PLACE.conversation)
        last = told[-1]
        assert isinstance(last, Stopped)
        assert last.by_asker
        receipt = last.receipt
        assert (receipt.host, receipt.finish) == (ONE, "cancelled")
        assert footer(receipt).startswith(f"{KEY} · one · ~5 tokens")
        stored = await home.lantern.turns.store.get(last.turn)
        assert stored is not None
        assert stored.reply_text == "one two three four five"


async def test_a_leaver_ends_the_rest_everywhere(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE, TWO)
        drops(home)
        home.hosts["two"].faults.stall_after_tokens(1)
        async with home.lantern.turns.open(home.request(SAY)) as events:
            is_resumed = False
            async for event in events:
                if isinstance(event, Resuming):
                    is_resumed = True
                elif is_resumed and isinstance(event, TextDelta):
                    break
        turn = await home.lantern.turns.store.last_in(PLACE.conversation)
        assert turn is not None
        assert turn.status == "partial"
        assert turn.reply_text.startswith("one two three four five six")
        assert all(i.leases == 0 for i in home.lantern.fleet.snapshot().hosts[TWO].instances)


async def test_the_limit_on_an_answers_length_holds_for_both_parts(tmp_path: Path) -> None:
    personas = {"terse": f"model: {KEY}\nsampling: {{max_tokens: 8}}\n"}
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN), personas=personas) as home:
        await ready(home, ONE, TWO)
        drops(home)
        said = await home.ask(SAY, persona="terse")
        assert said.text == "one two three four five six seven eight"
        assert said.receipt.finish == "length"


async def test_the_same_model_goes_on_where_an_alternative_had_begun(tmp_path: Path) -> None:
    personas = {"either": f"model: {GEMMA.key}\nalternatives: [{KEY}]\n"}
    both = sim("two", QWEN, SimModel(GEMMA.key, GEMMA.size_bytes))
    async with house(tmp_path, sim("one", QWEN), both, personas=personas) as home:
        await ready(home, ONE, TWO)
        home.hosts["two"].faults.fail_next_load("No.", times=None)
        drops(home)
        said = await home.ask(SAY, persona="either")
        assert (said.text, said.receipt.model) == (COUNT, KEY)


async def test_the_next_hosts_speed_is_measured_by_its_own_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop_clock: LoopClock
) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE, TWO)
        one, two = home.hosts["one"].faults, home.hosts["two"].faults
        one.drop_after_tokens(15)
        one.stall_after_tokens(1)
        two.stall_after_tokens(1)
        records: list[SpeedRecord] = []

        def note(record: SpeedRecord, *_: object) -> None:
            records.append(record)

        monkeypatch.setattr(home.lantern.fleet.host(TWO), "record_speed", note)
        said, standing = Said(), [(two, 1.0), (one, 8.0)]
        async with home.lantern.turns.open(home.request("[[tokens 30]]")) as events:
            async for event in events:
                said.events.append(event)
                # At each of the two the first word is long behind when the next one comes.
                if isinstance(event, TextDelta) and len(standing) > (resumed_at(said) == []):
                    faults, seconds = standing.pop()
                    loop_clock.passes(seconds)
                    faults.clear("stall_after_tokens")
        (record,) = records
        assert record.completion_tokens == 15
        assert (record.generation_s, said.receipt.timing.generation_s) == (1.0, 9.0)
        assert said.receipt.usage.completion_tokens == 30


async def test_what_was_left_out_is_told_once_for_the_whole_answer(tmp_path: Path) -> None:
    eye = SimModel("see/er", GEMMA.size_bytes, vision=True)
    cat = Attachment("cat.png", "image/png", image=b"\x89PNG")
    async with house(tmp_path, sim("one", QWEN, eye), sim("two", QWEN)) as home:
        await ready(home, ONE, TWO)
        drops(home)
        request = home.request(SAY, model=QWEN.key, attachments=[cat])
        said = await home.play(request)
        assert said.text == COUNT
        assert said.notices.count("cannot see") == 1
        assert said.receipt.seer is not None
        assert not any(message.images for message in asked_of(home, TWO)[0])


async def test_that_the_oldest_words_are_left_out_is_told_once_too(tmp_path: Path) -> None:
    personas = {"brief": f"model: {KEY}\nload: {{context_length: 2048}}\n"}
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN), personas=personas) as home:
        await ready(home, ONE)
        for _ in range(5):
            await home.ask("[[tokens 300]] " + "word " * 150, persona="brief")
        drops(home)
        said = await home.ask(SAY + " word" * 500, persona="brief")
        assert [seam.host for seam in said.receipt.seams] == [ONE]
        assert said.notices.count("Kept the newest") == 1


async def test_a_model_that_only_thinks_of_the_rest_leaves_it_to_others(tmp_path: Path) -> None:
    def thinks(asked: Asked) -> Answer:
        is_rest = asked.messages[-1].text == CONTINUE_TEXT
        return Answer((), ("Hm.",)) if is_rest else default_answer(asked)

    odd = replace(QWEN, prefill="thought")
    two, three = sim("two", odd, answer=thinks), sim("three", QWEN)
    async with house(tmp_path, sim("one", QWEN), two, three) as home:
        await ready(home, ONE, TWO, THREE)
        drops(home)
        said = await home.ask(SAY)
        assert isinstance(said.last, Finished)
        assert (said.text, said.receipt.host) == (COUNT, THREE)
        assert len(asked_of(home, TWO)) == 2


async def test_the_text_so_far_is_kept_with_whom_it_is_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "CHECKPOINT_S", 0.0)
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await ready(home, ONE, TWO)
        drops(home)
        kept: list[tuple[str, HostName | None, int]] = []

        def keep(
            store: TurnStore, turn: TurnId, reply_text: str, reasoning_text: str, who: Receipt
        ) -> None:
            kept.append((reply_text.split()[-1], who.host, len(who.seams)))

        monkeypatch.setattr(TurnStore, "checkpoint", keep)
        await home.ask(SAY)
        # While the next is waited for, it is still the first one's.
        assert {("five", ONE, 0), ("five", ONE, 1), ("six", TWO, 1)} <= set(kept)
