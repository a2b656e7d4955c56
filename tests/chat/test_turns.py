"""One turn over real sockets: the right model, never cut, never silent."""

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clocks import LoopClock
from house import ADA, BOB, GEMMA, PATIENT, PLACE, QWEN, Said, house, sim
from leftovers import leftovers

from bot.chat import turns
from bot.chat.beginning import DELETED, FORGOTTEN, TAKEN_BACK
from bot.chat.planning import ChatRules
from bot.chat.walk import load_first
from bot.chat.words import footer, why_text
from bot.domain.chat import Attachment, Candidate, Place, Quote, Route
from bot.domain.errors import (
    FailureKind,
    NoCandidates,
    NotPermitted,
    QuestionDeleted,
    RequestRefused,
    Unavailable,
    UnknownName,
)
from bot.domain.events import (
    Failed,
    Finished,
    Loading,
    Notice,
    Progress,
    Queued,
    Reading,
    ReasoningDelta,
    Started,
    Stopped,
    TextDelta,
    TurnEvent,
)
from bot.domain.hosts import Wish
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, TurnId, UserId
from bot.fleet.lmstudio import SocketClient
from bot.fleet.reading import COUNT_S
from bot.policy.access import EVERY_RIGHT, Rights
from bot.policy.context import estimate_tokens
from bot.sim.journal import (
    LoadStarted,
    PredictionCancelled,
    PredictionStarted,
    Unloaded,
)
from bot.sim.models import GB, SimModel
from bot.store.turns import TurnStore


async def test_a_cold_model_is_loaded_with_progress_and_answers(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        said = await home.ask("hello [[tokens 20]]")
        assert isinstance(said.events[0], Started)
        assert any(isinstance(event, Loading) for event in said.events)
        assert isinstance(said.last, Finished)
        assert said.receipt.model == "qwen/qwen3-8b"
        assert said.receipt.host == "studio"
        assert said.receipt.usage.completion_tokens == 20
        stored = await home.lantern.turns.store.get(said.turn)
        assert stored is not None
        assert stored.reply_text == said.text
        assert stored.status == "done"


async def test_a_warm_model_answers_without_a_load(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.ask("one")
        said = await home.ask("two")
        assert not any(isinstance(event, Loading) for event in said.events)
        assert any(isinstance(event, Reading) for event in said.events)


async def test_an_answer_that_ended_waits_for_no_garbage_collector(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.ask("one")
        with leftovers() as left:
            async with home.lantern.turns.open(home.request("two"), lambda _: None) as events:
                assert [isinstance(event, Finished) async for event in events][-1]
            there = left()
        assert there & {"Draft", "Running", "DeltaStream", "Lease"} == set()
        assert not any(name.startswith("HostReader.first_word_within") for name in there)


async def test_reasoning_is_kept_apart_from_the_answer(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        said = await home.ask("[[think 5]] [[say Forty-two.]]")
        thoughts = [e.text for e in said.events if isinstance(e, ReasoningDelta)]
        assert thoughts
        assert said.text == "Forty-two."
        stored = await home.lantern.turns.store.get(said.turn)
        assert stored is not None
        assert stored.reasoning_text == "".join(thoughts)


async def test_the_conversation_is_sent_and_a_reply_branches(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        first = await home.ask("[[say A]] alpha")
        await home.ask("[[say B]] beta")
        await home.ask("gamma", parent=first.turn)
        sent = home.hosts["studio"].journal.of(PredictionStarted)[-1].messages
        texts = " ".join(str(message) for message in sent)
        assert "alpha" in texts
        assert "gamma" in texts
        assert "beta" not in texts


async def test_what_is_taken_back_while_it_is_looked_up_is_neither_kept_nor_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        turns = home.lantern.turns
        first = await home.ask("hello")
        turns.taken_back.delete(41)
        turns.taken_back.forget(ADA, 60)
        for question, user, words in (
            ("41", BOB, DELETED),
            ("59", ADA, FORGOTTEN),
            ("60", ADA, ""),
            ("59", BOB, ""),
        ):
            said = await home.play(replace(home.request("again", user=user), question=question))
            if words:
                # Without its turn there is nothing to press.
                assert isinstance(said.last, Failed)
                assert (said.last.turn, said.last.error.user_message) == (None, words)
                assert isinstance(said.last.error, QuestionDeleted) == (words == DELETED)
            else:
                assert isinstance(said.last, Finished)
        # What is asked about a message that was deleted is asked without it.
        quotes = tuple(Quote(f"of {m}", BOB, "Bob", PLACE, 1, m) for m in ("41", "42", None))
        files = tuple(
            Attachment(f"{m}.txt", "text/plain", f"file of {m}", message_id=m) for m in ("41", None)
        )
        asked = replace(home.request("and?", attachments=files), quotes=quotes)
        said = await home.play(asked)
        stored = await turns.store.get(said.turn)
        assert stored is not None
        assert (stored.quotes, stored.attachments) == (quotes[1:], files[1:])
        sent = str(home.hosts["studio"].journal.of(PredictionStarted)[-1].messages)
        assert "of 42" in sent
        assert "of None" in sent
        assert "of 41" not in sent
        # A question that leaves as its retry begins takes that along.
        begin = TurnStore.begin

        async def late(self: TurnStore, *args: Any) -> None:
            await home.lantern.people.remove(first.turn)
            await begin(self, *args)

        monkeypatch.setattr(TurnStore, "begin", late)
        said = await home.play(home.request("", parent=first.turn, kind="retry"))
        assert isinstance(said.last, Failed)
        assert said.last.error.user_message == DELETED
        rows = await turns.store.database.fetch("SELECT user_text FROM turn")
        assert [row["user_text"] for row in rows] == ["again", "again", "and?"]


async def test_what_is_taken_back_while_a_question_waits_is_not_sent(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home, asyncio.TaskGroup() as tasks:
        turns, studio = home.lantern.turns, home.hosts["studio"]
        first = await home.ask("my pin is 1", user=BOB)
        quotes = (Quote("my pin is 2", BOB, "Bob", PLACE, 1, "41"),)
        studio.unload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        studio.faults.stall_load()
        other = replace(PLACE, channel=PlaceId("discord:9"))
        quoting = replace(home.request("what pin?", place=other), quotes=quotes)
        alone = home.request("hello", place=replace(PLACE, channel=PlaceId("discord:10")))
        waiting = [
            tasks.create_task(home.play(one))
            for one in (quoting, home.request("and before?", parent=first.turn), alone)
        ]
        await home.lantern.fleet.host(HostName("studio")).until(
            lambda seen: seen.load is not None and seen.load.waiters == len(waiting)
        )
        turns.taken_back.delete(41)
        await home.lantern.people.remove(first.turn)
        studio.faults.clear()
        quoted, gone_on, asked = [await one for one in waiting]
        for said in (quoted, gone_on):
            assert isinstance(said.last, Failed)
            assert said.last.error.user_message == TAKEN_BACK
        assert isinstance(asked.last, Finished)
        sent = [str(one.messages) for one in studio.journal.of(PredictionStarted)[1:]]
        assert len(sent) == 1
        assert "pin" not in sent[0]


async def test_whose_question_another_has_answered_again_may_stop_that(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home, asyncio.TaskGroup() as tasks:
        studio, said = home.hosts["studio"], await home.ask("the sky is blue", user=ADA)
        asked = replace(home.request("", user=BOB, parent=said.turn), kind="retry")
        turns, here = home.lantern.turns, PLACE.conversation
        studio.journal.clear()
        studio.faults.stall_after_tokens(1)
        again = tasks.create_task(home.play(asked))
        await studio.journal.wait_for(PredictionStarted)
        (turn,) = turns.running(here)
        assert (turns.asker(turn), turns.author(turn)) == (BOB, ADA)
        assert [turns.stop(here, who) for who in (UserId("discord:eve"), ADA)] == [0, 1]
        assert isinstance((await again).last, Stopped)


async def test_a_question_that_waits_is_asked_without_what_others_took_back(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home, asyncio.TaskGroup() as tasks:
        studio, kept = home.hosts["studio"], await home.ask("the sky is blue", user=ADA)
        studio.unload(QWEN.key)
        host = home.lantern.fleet.host(HostName("studio"))
        await host.probe()
        studio.faults.stall_load()
        waiting = tasks.create_task(home.ask("my pin is 1", user=BOB))
        await host.until(lambda seen: seen.load is not None and seen.load.waiters == 1)
        unrelated = tasks.create_task(home.ask("and who are you?", user=ADA))
        await host.until(lambda seen: seen.load is not None and seen.load.waiters == 2)
        turns = home.lantern.turns
        running = turns.running(PLACE.conversation)
        (gone,) = [turn for turn in running if turns.asker(turn) == BOB]
        turns.stop_turn(gone)
        await home.lantern.people.remove(gone)
        studio.faults.clear()
        await waiting
        assert isinstance((await unrelated).last, Finished)
        sent = str(studio.journal.of(PredictionStarted)[-1].messages)
        assert "pin" not in sent
        assert kept.text in sent
        assert "and who are you?" in sent


async def test_a_question_that_waits_is_asked_without_what_left_as_it_was_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        turns = home.lantern.turns
        begin = TurnStore.begin

        async def late(self: TurnStore, *args: Any) -> None:
            turns.taken_back.delete(41)
            turns.taken_back.forget(BOB, 60)
            await home.lantern.people.forget(BOB)
            await begin(self, *args)

        monkeypatch.setattr(TurnStore, "begin", late)
        by = (("deleted", ADA, "41"), ("forgotten", BOB, "42"), ("kept", ADA, "43"))
        quotes = tuple(Quote(text, user, "Bob", PLACE, 1, m) for text, user, m in by)
        files = tuple(Attachment(f"{m}.txt", "text/plain", m, message_id=m) for _, _, m in by)
        asked = replace(home.request("and?", attachments=files), quotes=quotes)
        said = await home.play(asked)
        assert isinstance(said.last, Finished)
        stored = await turns.store.get(said.turn)
        assert stored is not None
        assert (stored.quotes, stored.attachments) == (quotes[2:], files[2:])
        (sent,) = home.hosts["studio"].journal.of(PredictionStarted)
        assert "kept" in str(sent.messages)
        assert "deleted" not in str(sent.messages)
        assert "forgotten" not in str(sent.messages)


async def test_what_leaves_the_store_while_a_question_waits_is_not_sent(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home, asyncio.TaskGroup() as tasks:
        studio, people = home.hosts["studio"], home.lantern.people
        first = await home.ask("my pin is 1", user=BOB)
        await people.remember(Quote("my cat is Tom", ADA, "Ada", PLACE, 1))
        studio.unload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        studio.faults.stall_load()
        # Noted before it was asked, and gone only after that was read.
        home.lantern.turns.taken_back.delete(40)
        other = replace(PLACE, channel=PlaceId("discord:9"))
        gone_on = tasks.create_task(home.ask("and before?", user=BOB, parent=first.turn))
        told = tasks.create_task(home.ask("who is it?", place=other))
        kept = tasks.create_task(home.ask("hello", user=BOB, place=other))
        await home.lantern.fleet.host(HostName("studio")).until(
            lambda seen: seen.load is not None and seen.load.waiters == 3
        )
        await people.remove(first.turn)
        (fact,) = await people.facts(ADA)
        await people.drop(ADA, fact.number)
        studio.faults.clear()
        refused = (await gone_on).last
        assert isinstance(refused, Failed)
        assert refused.error.user_message == TAKEN_BACK
        # A host that was sent nothing was said to have declined.
        assert gone_on.result().receipt.finish == "refused"
        assert footer(gone_on.result().receipt) == ""
        # Their own fact is all that was taken back: the question goes without it.
        for waits in (told, kept):
            assert isinstance((await waits).last, Finished)
        sent = [str(one.messages) for one in studio.journal.of(PredictionStarted)[1:]]
        assert len(sent) == 2
        assert not [each for each in sent if "pin" in each or "Tom" in each]


async def test_reset_starts_afresh_and_forgets_nothing_stored(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        first = await home.ask("alpha")
        await home.lantern.turns.store.reset(PLACE.conversation)
        await home.ask("beta")
        sent = home.hosts["studio"].journal.of(PredictionStarted)[-1].messages
        assert "alpha" not in " ".join(str(message) for message in sent)
        assert await home.lantern.turns.store.get(first.turn) is not None


async def test_two_people_in_two_channels_share_no_words(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        elsewhere = Place(PlaceId("discord:2"), server=PLACE.server)
        await home.ask("my secret is 7", user=ADA)
        await home.ask("hello", user=BOB, place=elsewhere)
        sent = home.hosts["studio"].journal.of(PredictionStarted)[-1].messages
        assert "secret" not in " ".join(str(message) for message in sent)


async def test_a_reply_of_another_channel_cannot_be_branched_from(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        first = await home.ask("my secret is 7")
        elsewhere = Place(PlaceId("discord:2"))
        said = await home.ask("and?", place=elsewhere, parent=first.turn)
        assert isinstance(said.last, Failed)
        assert isinstance(said.last.error, NotPermitted)


async def test_retry_asks_the_same_question_on_a_new_branch(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        first = await home.ask("alpha")
        again = await home.play(home.request("", parent=first.turn, kind="retry"))
        assert first.receipt.choice_reason.startswith("persona the configured default")
        assert again.receipt.choice_reason.startswith("persona who answered before")
        said = PersonaName("default")
        by_name = home.request("", parent=first.turn, kind="retry", persona=said)
        named = await home.play(by_name)
        assert named.receipt.choice_reason.startswith("persona asked for this turn")
        assert isinstance(again.last, Finished)
        one, two = [await home.lantern.turns.store.get(said.turn) for said in (first, again)]
        assert one is not None
        assert two is not None
        assert (two.user_text, two.parent) == (one.user_text, one.parent)


async def test_continue_goes_on_from_the_reply(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        first = await home.ask("[[say Half an answer]] alpha")
        more = await home.play(home.request("", parent=first.turn, kind="continue"))
        assert isinstance(more.last, Finished)
        sent = home.hosts["studio"].journal.of(PredictionStarted)[-1].messages
        assert "Half an answer" in " ".join(str(message) for message in sent)


async def test_an_answer_two_models_gave_names_both_also_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "CHECKPOINT_S", 0.0)
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        store = home.lantern.turns.store
        first = await home.ask("[[say One two three.]]", model=GEMMA.key)
        said = first.receipt.usage.completion_tokens

        async def lost(*_: object) -> None:
            """Killed before its end was stored."""

        monkeypatch.setattr(TurnStore, "finish", lost)
        more = home.request("", parent=first.turn, kind="continue", model=QWEN.key)
        last = await home.play(more)
        whole = last.receipt.usage.completion_tokens
        assert whole > said
        names = f"{GEMMA.key} → {QWEN.key} · studio · "
        assert footer(last.receipt).startswith(f"{names}{whole} tokens · ")
        await store.database.noted()
        (cut,) = await store.close_running()
        assert cut.receipt is not None
        assert cut.receipt.usage.completion_tokens > said
        assert footer(cut.receipt).startswith(f"{names}~")


# --- the wrong model, the cut answer, the silence ------------------------------------------


async def test_a_reply_naming_another_model_is_never_shown(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", QWEN)) as home:
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        home.hosts["studio"].faults.wrong_model("impostor", times=None)
        said = await home.ask("[[say right]]")
        assert said.receipt.host == "laptop"
        assert said.text == "right"
        # It stays under the answer, whoever gave it.
        assert (
            said.notices == f"`{QWEN.key}` was not as we left it on studio, so it was asked again."
        )


async def test_a_failure_before_the_first_word_moves_on_unseen(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", QWEN)) as home:
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        home.hosts["studio"].faults.status_500(path="/v1/chat")
        said = await home.ask("[[say served]]")
        assert isinstance(said.last, Finished)
        assert said.text == "served"
        assert said.receipt.host == "laptop"
        assert [fallback.failed.host for fallback in said.fallbacks] == ["studio"]


async def test_a_cut_after_the_first_word_keeps_the_text_and_says_so(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", GEMMA)) as home:
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        home.hosts["studio"].faults.drop_after_tokens(7)
        said = await home.ask("[[tokens 50]]")
        assert isinstance(said.last, Stopped)
        assert not said.last.by_asker
        assert said.text
        stored = await home.lantern.turns.store.get(said.turn)
        assert stored is not None
        assert (stored.status, stored.reply_text) == ("partial", said.text)


async def test_a_stream_without_its_end_mark_is_never_called_whole(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.silent_end(5)
        said = await home.ask("[[tokens 50]]")
        assert isinstance(said.last, Stopped)


async def test_a_dead_host_costs_nothing_after_the_first_miss(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", QWEN)) as home:
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        await home.hosts["studio"].stop()
        first = await home.ask("one")
        second = await home.ask("two")
        assert (len(first.fallbacks), len(second.fallbacks)) == (1, 0)
        assert second.receipt.host == "laptop"


async def test_a_host_that_is_back_serves_again(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.hosts["studio"].stop()
        said = await home.ask("one")
        assert isinstance(said.last, Failed)
        await home.hosts["studio"].start()
        await home.lantern.fleet.host(HostName("studio")).probe()
        assert isinstance((await home.ask("two")).last, Finished)


async def test_every_host_down_is_told_with_every_reason(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", GEMMA)) as home:
        for host in home.hosts.values():
            await host.stop()
        said = await home.ask("anyone?")
        assert isinstance(said.last, Failed)
        assert isinstance(said.last.error, NoCandidates)
        for name in home.hosts:
            assert name in said.last.error.user_message
        stored = await home.lantern.turns.store.get(said.turn)
        assert stored is not None
        assert stored.status == "failed"
        # For whoever brings its message in line later, and for `/why`.
        assert stored.receipt is not None
        assert stored.receipt.ending == said.last.error.user_message
        assert f"Failed: {stored.receipt.ending}" in why_text(stored).splitlines()


async def test_a_model_that_will_not_load_gives_the_hosts_own_reason_once(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.fail_next_load("exit code 42: not enough luck", times=None)
        said = await home.ask("hello")
        assert isinstance(said.last, Failed)
        assert said.last.error.user_message.count("not enough luck") == 1
        assert len(home.hosts["studio"].journal.of(LoadStarted)) <= 1


# --- many at once --------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_hundred_requests_for_one_cold_model_make_one_load(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        async with asyncio.TaskGroup() as tasks:
            turns = [
                tasks.create_task(home.ask("[[tokens 3]]", place=Place(PlaceId(f"discord:{n}"))))
                for n in range(100)
            ]
        assert all(isinstance(turn.result().last, Finished) for turn in turns)
        assert len(home.hosts["studio"].journal.of(LoadStarted)) == 1


async def test_a_leaver_does_not_cancel_the_load_of_others(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        studio = home.hosts["studio"]
        studio.faults.stall_load()
        elsewhere = Place(PlaceId("discord:2"))
        async with asyncio.TaskGroup() as tasks:
            async with home.lantern.turns.open(home.request("one")) as events:
                async for event in events:
                    if isinstance(event, Loading):
                        break
                staying = tasks.create_task(home.ask("two", place=elsewhere))
                async for event in events:
                    if isinstance(event, Loading) and event.waiters == 2:
                        break
            studio.faults.clear("stall_load")
        assert isinstance(staying.result().last, Finished)
        assert len(studio.journal.of(LoadStarted)) == 1


async def test_a_second_model_never_cuts_a_running_answer(tmp_path: Path) -> None:
    config = sim("studio", QWEN, GEMMA, memory_bytes=7 * 10**9)
    async with house(tmp_path, config, memory_gb=7) as home:
        studio = home.hosts["studio"]
        studio.faults.stall_after_tokens(200)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(home.ask("[[tokens 400]]", model=QWEN.key))
            await studio.journal.wait_for(PredictionStarted)
            second = tasks.create_task(home.ask("[[tokens 5]]", model=GEMMA.key, user=BOB))
            await home.lantern.fleet.host(HostName("studio")).until(lambda now: bool(now.waiting))
            studio.faults.clear("stall_after_tokens")
        assert isinstance(first.result().last, Finished)
        assert first.result().receipt.usage.completion_tokens == 400
        assert isinstance(second.result().last, Finished)
        assert second.result().receipt.model == GEMMA.key


async def test_two_cold_models_at_once_on_a_host_for_one_are_both_served(tmp_path: Path) -> None:
    config = sim("studio", QWEN, GEMMA, memory_bytes=7 * 10**9)
    async with house(tmp_path, config, memory_gb=7) as home:
        async with asyncio.TaskGroup() as tasks:
            turns = [
                tasks.create_task(home.ask("hi", model=key, place=Place(PlaceId(f"discord:{key}"))))
                for key in (QWEN.key, GEMMA.key)
            ]
        assert all(isinstance(turn.result().last, Finished) for turn in turns)


async def test_a_foreign_instance_is_used_and_never_unloaded(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        studio = home.hosts["studio"]
        await studio.preload(QWEN.key, context_length=8192)
        await home.lantern.fleet.host(HostName("studio")).probe()
        said = await home.ask("hello")
        assert isinstance(said.last, Finished)
        await home.lantern.fleet.evict_idle()
        assert len(home.lantern.fleet.snapshot().hosts[HostName("studio")].instances) == 1
        assert [load.via for load in studio.journal.of(LoadStarted)] == ["foreign"]
        assert not studio.journal.of(Unloaded)
        with pytest.raises(NotPermitted):
            await home.lantern.acts.unload(None, QWEN.key)


@pytest.mark.parametrize("evict_foreign", [True, False])
async def test_a_foreign_instance_makes_room_for_a_chat_where_its_owner_allows_it(
    tmp_path: Path, evict_foreign: bool
) -> None:
    config = sim("studio", QWEN, GEMMA, memory_bytes=7 * 10**9)
    rules = replace(PATIENT, evict_foreign=evict_foreign)
    async with house(tmp_path, config, memory_gb=7, fleet_rules=rules) as home:
        studio = home.hosts["studio"]
        await studio.preload(GEMMA.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        said = await home.ask("hello", model=QWEN.key)
        assert isinstance(said.last, Finished) is evict_foreign
        assert [one.identifier for one in studio.resident] == [
            QWEN.key if evict_foreign else GEMMA.key
        ]


async def test_what_is_still_being_loaded_is_not_called_unknown(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        studio, acts = home.hosts["studio"], home.lantern.acts
        studio.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(home.ask("hello"))
            await home.lantern.fleet.host(HostName("studio")).until(
                lambda now: now.load is not None
            )
            words = (
                f"`{QWEN.key}` is still being loaded on studio; Cancel under its load ends that."
            )
            with pytest.raises(RequestRefused, match=words):
                await acts.unload(None, "qwen3-8b")
            with pytest.raises(UnknownName):
                await acts.unload(None, "gemma")
            studio.faults.clear("stall_load")
        assert isinstance(asked.result().last, Finished)


async def test_an_unload_the_host_refuses_is_not_called_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise Unavailable("the model is in use", FailureKind.SERVER)

    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.ask("hello")
        with monkeypatch.context() as patch:
            patch.setattr(SocketClient, "unload", refuse)
            with pytest.raises(Unavailable, match="on studio is still in memory: the model is in"):
                await home.lantern.acts.unload("studio", QWEN.key)
        assert len(home.hosts["studio"].resident) == 1
        done = await home.lantern.acts.unload("studio", QWEN.key)
        assert done.said == f"Unloaded `{QWEN.key}` on studio."
        assert done.left == (("studio", QWEN.key),)


async def test_an_unload_of_what_had_left_by_itself_is_not_called_done(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", QWEN)) as home:
        for name in ("studio", "laptop"):
            async with home.lantern.acts.load(name, QWEN.key) as steps:
                _ = [step async for step in steps]
        home.hosts["studio"].unload(QWEN.key)
        done = await home.lantern.acts.unload(None, QWEN.key)
        assert done.said == f"Unloaded `{QWEN.key}` on laptop."
        assert done.left == (("laptop", QWEN.key),)
        async with home.lantern.acts.load("laptop", QWEN.key) as steps:
            _ = [step async for step in steps]
        home.hosts["laptop"].unload(QWEN.key)
        with pytest.raises(UnknownName, match="no loaded model"):
            await home.lantern.acts.unload(None, QWEN.key)


async def test_a_pinned_model_is_not_evicted_for_another_until_it_is_unpinned(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA), memory_gb=7) as home:
        acts, studio = home.lantern.acts, home.hosts["studio"]
        await home.ask("hello", model=QWEN.key)
        said = await acts.pin(None, QWEN.key, is_pinned=False)
        assert said == f"`{QWEN.key}` was not pinned on studio."
        said = await acts.pin(None, QWEN.key, is_pinned=True)
        assert said == (
            f"`{QWEN.key}` stays in memory on studio until it is unpinned or unloaded; "
            "should it get lost, it is loaded again."
        )
        refused = await home.ask("hello", model=GEMMA.key)
        assert isinstance(refused.last, Failed)
        why = f"pinned until `/fleet unpin`: {QWEN.key}"
        assert why in refused.last.error.user_message
        assert [one.identifier for one in studio.resident] == [QWEN.key]
        await acts.pin("studio", QWEN.key, is_pinned=False)
        assert isinstance((await home.ask("hello", model=GEMMA.key)).last, Finished)
        with pytest.raises(UnknownName, match="loaded model"):
            await acts.pin("studio", QWEN.key, is_pinned=True)


async def test_a_drained_host_ends_its_answers_and_takes_no_new_ones(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("attic", QWEN)) as home:
        acts = home.lantern.acts
        home.hosts["studio"].faults.stall_after_tokens(2)
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        request = home.request("[[tokens 12]]", model=QWEN.key)
        async with home.lantern.turns.open(request) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    assert "studio drains" in await acts.drain("studio", is_draining=True)
                    break
            home.hosts["studio"].faults.clear("stall_after_tokens")
            said = [event async for event in events]
        assert isinstance(said[-1], Finished)
        assert said[-1].receipt.host == "studio"
        assert (await home.ask("hello", model=QWEN.key)).receipt.host == "attic"
        assert await acts.drain("studio", is_draining=False) == "studio takes new turns again."
        assert await acts.drain("studio", is_draining=False) == "studio was not drained."
        said = await acts.drain("studio", is_draining=True, lasting="90m")
        fleet = home.lantern.catalog.snapshot()
        ends = fleet.hosts[HostName("studio")].drained_until
        assert ends is not None
        assert ends - fleet.taken_at == pytest.approx(5400.0, abs=60.0)
        assert "until `/fleet resume studio`, at the latest in 90 min 00 s." in said
        with pytest.raises(RequestRefused, match="`soon` is not a duration such as 30s"):
            await acts.drain("studio", is_draining=True, lasting="soon")
        with pytest.raises(UnknownName, match="host"):
            await acts.drain("cellar", is_draining=True)


async def test_who_waits_at_a_host_moves_on_when_it_drains(tmp_path: Path) -> None:
    one_at_a_time = sim("studio", QWEN, parallel=1)
    async with house(tmp_path, one_at_a_time, sim("attic", QWEN)) as home:
        fleet, wish = home.lantern.fleet, Wish(ModelKey(QWEN.key))
        there = Candidate(ModelKey(QWEN.key), HostName("studio"))
        other = replace(there, host=HostName("attic"))
        steps: list[Progress] = []

        async def note(step: Progress) -> None:
            steps.append(step)
            if isinstance(step, Queued):
                await home.lantern.acts.drain("studio", is_draining=True)

        async with fleet.host(HostName("studio")).lease(wish) as held:
            async for _ in held:
                pass
            ready = await load_first(fleet, wish, Route((there, other)), note)
        assert isinstance(steps[0], Queued)
        assert ready.by == other
        assert "studio is draining" in ready.failed[0].reason


# --- stopping ------------------------------------------------------------------------------


async def test_stop_keeps_the_text_and_stops_the_hosts_generation(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        studio = home.hosts["studio"]
        home.hosts["studio"].faults.stall_after_tokens(3)
        await studio.preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        said = Said()
        async with home.lantern.turns.open(home.request("[[tokens 5000]]")) as events:
            async for event in events:
                said.events.append(event)
                if isinstance(event, TextDelta):
                    home.lantern.turns.stop(PLACE.conversation)
        assert isinstance(said.last, Stopped)
        assert said.last.by_asker
        assert not said.receipt.ending, "whoever stopped it need not be told who did"
        assert said.text
        await studio.journal.wait_for(PredictionCancelled)


@pytest.mark.parametrize("every_s", [3600.0, 0.0])
async def test_words_that_went_straight_to_the_face_are_the_answers_like_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_s: float
) -> None:
    monkeypatch.setattr("bot.chat.turns.CHECKPOINT_S", every_s)
    # Slow enough for a read of its own for most tokens.
    async with house(tmp_path, sim("studio", QWEN, time_scale=0.05)) as home:
        await home.hosts["studio"].preload(QWEN.key)
        heard: list[TurnEvent] = []
        request = home.request("[[tokens 20]] Why?")
        async with home.lantern.turns.open(request, heard.extend) as events:
            async for event in events:
                heard.append(event)
        last = heard[-1]
        assert isinstance(last, Finished)
        stored = await home.lantern.turns.store.get(last.turn)
    text = "".join(event.text for event in heard if isinstance(event, TextDelta))
    assert stored is not None
    assert (stored.reply_text, stored.receipt) == (text, last.receipt)
    assert last.receipt.usage.completion_tokens == 20


async def test_no_word_waits_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.chat.turns.CHECKPOINT_S", 0.0)
    disk_is_back = threading.Event()
    async with house(tmp_path, sim("studio", QWEN)) as home:
        studio, said = home.hosts["studio"], Said()
        hangs: list[asyncio.Task[bool]] = []
        await studio.preload(QWEN.key)
        studio.faults.stall_after_tokens(1)
        opened = home.lantern.turns.open(home.request("[[say the first, others, the last]]"))
        async with asyncio.TaskGroup() as tasks, opened as events:
            async for event in events:
                said.events.append(event)
                if said.text and not hangs:
                    hang = home.lantern.turns.store.database.write(lambda _: disk_is_back.wait())
                    hangs.append(tasks.create_task(hang))
                    studio.faults.clear("stall_after_tokens")
                if "last" in said.text:
                    disk_is_back.set()
    assert said.text == "the first, others, the last"


@pytest.mark.parametrize("every_s", [3600.0, 0.0])
async def test_a_press_within_the_callback_ends_the_answer_with_the_words_that_were_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_s: float
) -> None:
    monkeypatch.setattr("bot.chat.turns.CHECKPOINT_S", every_s)
    async with house(tmp_path, sim("studio", QWEN, time_scale=0.05)) as home:
        await home.hosts["studio"].preload(QWEN.key)
        heard: list[TurnEvent] = []

        def take(words: Sequence[TurnEvent]) -> None:
            heard.extend(words)
            # On a machine too busy for any other way all words are iterated.
            if len(heard) > 20:
                assert home.lantern.turns.stop(home.request("").place.conversation) == 1

        async with home.lantern.turns.open(home.request("[[tokens 5000]]"), take) as events:
            async for event in events:
                take((event,)) if isinstance(event, TextDelta) else heard.append(event)
        last = heard[-1]
        assert isinstance(last, Stopped)
        assert last.turn is not None
        stored = await home.lantern.turns.store.get(last.turn)
        text = "".join(event.text for event in heard if isinstance(event, TextDelta))
        assert stored is not None
        assert (stored.reply_text, stored.status) == (text, "partial")


@pytest.mark.parametrize("by_asker", [True, False])
async def test_an_answer_that_is_ended_says_whether_somebody_wished_it(
    tmp_path: Path, *, by_asker: bool
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.stall_load()
        said = Said()
        opened = home.lantern.turns.open(home.request("[[tokens 5000]]"))
        async with asyncio.TaskGroup() as tasks, opened as events:
            async for event in events:
                said.events.append(event)
                if isinstance(event, Started):
                    ending = home.lantern.turns.end((event.turn,), "Why.", by_asker=by_asker)
                    tasks.create_task(ending)
        assert isinstance(said.last, Stopped)
        assert (said.last.by_asker, said.last.reason) == (by_asker, "Why.")


async def test_what_is_about_to_be_read_is_stored_before_its_second_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "CHECKPOINT_S", 3600.0)
    async with house(tmp_path, sim("studio", QWEN)) as home:
        open_turns = home.lantern.turns
        open_turns.showing(TurnId("nobody's"))
        home.hosts["studio"].faults.stall_after_tokens(3)
        async with open_turns.open(home.request("[[tokens 50]] Why?")) as events:
            texts, turn = "", TurnId("")
            async for event in events:
                texts += event.text if isinstance(event, TextDelta) else ""
                (turn,) = open_turns.running()
                open_turns.showing(turn)
                if isinstance(event, TextDelta):
                    break
            await open_turns.store.database.noted()
            stored = await open_turns.store.get(turn)
    assert stored is not None
    assert stored.status == "running"
    assert stored.reply_text.startswith(texts)
    assert texts


async def test_leaving_the_turn_stores_what_was_said_and_stops_the_host(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        studio = home.hosts["studio"]
        home.hosts["studio"].faults.stall_after_tokens(3)
        await studio.preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        turn: TurnId | None = None
        async with home.lantern.turns.open(home.request("[[tokens 5000]]")) as events:
            async for event in events:
                if isinstance(event, Started):
                    turn = event.turn
                if isinstance(event, TextDelta):
                    break
        assert turn is not None
        stored = await home.lantern.turns.store.get(turn)
        assert stored is not None
        assert stored.status == "partial"
        assert stored.reply_text
        await studio.journal.wait_for(PredictionCancelled)


@pytest.mark.parametrize(("press", "waiters"), [("Cancel", 0), ("Stop", 1)])
async def test_cancelling_a_load_that_nobody_else_wants_cancels_it_at_the_host(
    tmp_path: Path, press: str, waiters: int
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.stall_load()
        said = Said()
        async with home.lantern.turns.open(home.request("hello")) as events:
            turn: TurnId | None = None
            async for event in events:
                said.events.append(event)
                if isinstance(event, Started):
                    turn = event.turn
                if isinstance(event, Loading) and turn is not None:
                    ends_load = {"cancels_load": True} if press == "Cancel" else {}
                    assert home.lantern.turns.stop_turn(turn, **ends_load)
                    studio = home.lantern.fleet.snapshot().hosts[HostName("studio")]
                    # At once, while the turn itself is only just leaving.
                    assert studio.load is not None
                    assert studio.load.waiters == waiters
                    turn = None
        # Told as the asker's own doing: no host failed.
        assert not said.fallbacks
        assert isinstance(said.last, Stopped)
        assert said.receipt.attempts == ()
        assert [told.split()[0] for told in said.receipt.presses] == [press]
        assert not home.hosts["studio"].resident


@pytest.mark.parametrize("is_by_us", [False, True])
async def test_stop_ends_a_load_that_nobody_else_waits_for(tmp_path: Path, is_by_us: bool) -> None:
    async with (
        house(tmp_path, sim("studio", QWEN)) as home,
        asyncio.TaskGroup() as tasks,
    ):
        home.hosts["studio"].faults.stall_load()
        said, turns = Said(), home.lantern.turns
        async with turns.open(home.request("hello")) as events:
            async for event in events:
                said.events.append(event)
                if isinstance(event, Loading):
                    if is_by_us:
                        tasks.create_task(turns.end(turns.running(), "Its channel is gone."))
                        await asyncio.sleep(0)
                    else:
                        assert turns.stop(PLACE.conversation, ADA) == 1
                    studio = home.lantern.fleet.snapshot().hosts[HostName("studio")]
                    # Cancelled at once, while the turn itself is only just leaving.
                    assert studio.load is None or studio.load.waiters == 0
        assert not said.fallbacks
        assert isinstance(said.last, Stopped)


async def test_draining_refuses_new_turns_and_lets_running_ones_finish(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        # All were done before, which they are no more.
        assert isinstance((await home.ask("hello", model="no/such")).last, Failed)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(home.ask("[[tokens 20]]"))
            await home.hosts["studio"].journal.wait_for(LoadStarted)
            await home.lantern.turns.drain(30)
            assert home.lantern.turns.running() == ()
        assert isinstance(running.result().last, Finished)
        late = await home.ask("late")
        assert isinstance(late.last, Failed)
        assert isinstance(late.last.error, RequestRefused)


async def test_a_drain_that_is_over_closes_running_turns_honestly(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.stall_after_tokens(3)
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(home.ask("[[tokens 5000]]"))
            await home.hosts["studio"].journal.wait_for(PredictionStarted)
            await home.lantern.turns.drain(0)
        assert isinstance(running.result().last, Stopped)


# --- choices -------------------------------------------------------------------------------


async def test_a_choice_is_kept_across_a_restart(tmp_path: Path) -> None:
    hosts = (sim("studio", QWEN, GEMMA),)
    async with house(tmp_path, *hosts) as home:
        await home.lantern.switch.set_model(PLACE, ADA, "me", "gemma-3-4b", rights=Rights())
    async with house(tmp_path, *hosts) as home:
        said = await home.ask("hello")
        assert said.receipt.model == GEMMA.key
        assert "chosen by you" in said.receipt.choice_reason


async def test_my_choice_is_mine_and_the_channels_is_an_admins(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        switch = home.lantern.switch
        with pytest.raises(NotPermitted):
            await switch.set_model(PLACE, ADA, "channel", GEMMA.key, rights=Rights())
        await switch.set_model(PLACE, ADA, "channel", QWEN.key, rights=EVERY_RIGHT)
        await switch.set_model(PLACE, ADA, "me", GEMMA.key, rights=Rights())
        assert (await home.ask("x", user=ADA)).receipt.model == GEMMA.key
        assert (await home.ask("x", user=BOB)).receipt.model == QWEN.key


async def test_who_chose_a_model_that_nobody_can_answer_with_is_told_so_and_of_the_way_back(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("attic", GEMMA)) as home:
        await home.lantern.switch.set_model(PLACE, BOB, "me", QWEN.key, rights=Rights())
        await home.lantern.acts.drain("studio", is_draining=True)
        refused = await home.ask("hello", user=BOB)
        assert isinstance(refused.last, Failed)
        told = refused.last.error.user_message
        assert told.startswith(f"No machine can answer with `{QWEN.key}` right now: ")
        words = "is chosen by you here; `/model auto` goes back to the persona's own model."
        assert f"`{QWEN.key}` {words}" in told
        turn = await home.lantern.turns.store.get(refused.turn)
        assert turn is not None
        assert "model chosen by you here (`/model auto` goes back)" in why_text(turn)
        once = await home.ask("hello", user=ADA, model=QWEN.key)
        assert isinstance(once.last, Failed)
        words = "is asked for this turn; without it the persona's own model answers."
        assert words in once.last.error.user_message
        # What is asked by itself was not chosen, and has no way back.
        said = await home.ask("hello", user=ADA)
        assert said.receipt.host == "attic"
        assert "goes back" not in said.receipt.choice_reason


async def test_where_the_way_back_leads_to_the_same_model_it_is_not_offered(tmp_path: Path) -> None:
    personas = {"lone": f"model: {QWEN.key}\nalternatives: []\n"}
    async with house(tmp_path, sim("studio", QWEN, GEMMA), personas=personas) as home:
        await home.lantern.acts.drain("studio", is_draining=True)
        for model, is_offered in ((QWEN.key, False), (GEMMA.key, True)):
            said = await home.ask("hello", persona="lone", model=model)
            assert isinstance(said.last, Failed)
            assert ("without it" in said.last.error.user_message) is is_offered


async def test_an_unknown_model_names_the_nearest(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        said = await home.ask("x", model="qwen/qwen3-8c")
        assert isinstance(said.last, Failed)
        assert isinstance(said.last.error, UnknownName)
        assert QWEN.key in said.last.error.user_message
        assert said.last.turn is None


async def test_an_empty_message_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        said = await home.ask("  \n ")
        assert isinstance(said.last, Failed)
        assert isinstance(said.last.error, RequestRefused)
        assert await home.lantern.turns.store.last_in(PLACE.conversation) is None


async def test_persona_settings_are_really_applied(tmp_path: Path) -> None:
    personas = {
        "sage": (
            "model: qwen/qwen3-8b\n"
            "system_prompt: You are calm.\n"
            "sampling: {temperature: 0.25, max_tokens: 77, top_k: 9}\n"
            "load: {context_length: 8192, flash_attention: true}\n"
        )
    }
    async with house(tmp_path, sim("studio", QWEN), personas=personas) as home:
        await home.ask("hello", persona="sage")
        started = home.hosts["studio"].journal.of(LoadStarted)[0]
        assert started.config["llm.load.contextLength"] == 8192
        sent = home.hosts["studio"].journal.of(PredictionStarted)[0]
        assert sent.sampling["temperature"] == 0.25
        assert sent.sampling["top_k"] == 9
        assert "You are calm." in str(sent.messages[0])


async def test_a_long_conversation_is_trimmed_and_says_so(tmp_path: Path) -> None:
    personas = {"brief": "model: qwen/qwen3-8b\nload: {context_length: 2048}\n"}
    async with house(tmp_path, sim("studio", QWEN), personas=personas) as home:
        said = [
            await home.ask("[[tokens 300]] " + "word " * 150, persona="brief") for _ in range(6)
        ]
        notices = [turn.notices for turn in said if turn.notices]
        assert notices == ["Kept the newest 3 of 5 messages."]
        assert all(isinstance(turn.last, Finished) for turn in said)
        # Of a question that needs more room hardly anything else is kept: that is news.
        more = await home.ask("[[tokens 300]] " + "word " * 550, persona="brief")
        assert "Kept the newest 1 of" in more.notices


@pytest.mark.parametrize(
    ("sockets", "count_s", "counts"), [(True, COUNT_S, True), (True, 0.0, False), (False, 9, False)]
)
async def test_what_fits_by_the_hosts_own_count_is_sent_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sockets: bool, count_s: float, counts: bool
) -> None:
    monkeypatch.setattr("bot.fleet.reading.COUNT_S", count_s)
    measured = Counter[str]()

    def measure(text: str) -> int:
        measured[text[:2]] += 1
        return estimate_tokens(text)

    personas = {"brief": "model: qwen/qwen3-8b\nload: {context_length: 2048}\n"}
    host = sim("studio", QWEN, sockets=sockets)
    async with house(tmp_path, host, personas=personas) as home:
        ask = "[[tokens 20]] " + "word " * 120
        said = [await home.ask(f"{n} {ask}", persona="brief") for n in range(4)]
        monkeypatch.setattr("bot.policy.context.estimate_tokens", measure)
        said.append(await home.ask(f"4 {ask}", persona="brief"))
        sent = home.hosts["studio"].journal.of(PredictionStarted)[-1]
        notices = [turn.notices for turn in said if turn.notices]
    # By our estimate the last needs over 1,000 tokens; REST counts none, and a busy host late.
    assert len(sent.messages) == (9 if counts else 7)
    # Once for the plan, whatever windows it is fitted to afterwards.
    assert [measured[f"{n} "] for n in range(5)] == [1] * 5
    assert notices == ([] if counts else ["Kept the newest 7 of 9 messages."])


async def test_what_was_not_even_read_of_a_long_conversation_is_said_to_be_left_out(
    tmp_path: Path,
) -> None:
    settings = "load: {context_length: 2048}\nsampling: {max_tokens: 20}\n"
    personas = {"brief": f"model: qwen/qwen3-8b\n{settings}"}
    async with house(tmp_path, sim("studio", QWEN), personas=personas) as home:
        said = [await home.ask("word " * 120, persona="brief") for _ in range(19)]
        sent = home.hosts["studio"].journal.of(PredictionStarted)
    # By the host's count the window is full: one more of these, of 162 tokens, would be too much.
    # What is refused as too long would be sent again, cut by a third.
    assert 2048 - 20 - 162 < sent[-1].prompt_tokens <= 2048 - 20
    assert [len(each.messages) for each in sent[-3:]] == [25] * 3
    assert len(sent) == 19
    assert [turn.notices for turn in said if turn.notices] == ["Kept the newest 25 of 27 messages."]


async def test_explain_names_persona_model_and_route(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        said = await home.lantern.switch.explain(PLACE, ADA)
        assert said.persona.name == "default"
        assert said.model == "auto"
        assert said.route.candidates[0].model == QWEN.key


async def test_the_board_marks_warm_and_cold(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        await home.ask("hello", model=QWEN.key)
        options = {option.key: option for option in home.lantern.catalog.models()}
        assert options[ModelKey(QWEN.key)].is_warm
        assert options[ModelKey(QWEN.key)].mark.startswith("warm · studio")
        assert options[ModelKey(GEMMA.key)].mark.startswith("cold · ~")
        assert home.lantern.catalog.hosts()[0].state == "up"


async def test_warming_loads_what_was_chosen(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        model = await home.lantern.switch.set_model(PLACE, ADA, "me", "gemma", rights=Rights())
        async with home.lantern.switch.warm(PLACE, ADA, model=model) as progress:
            steps = [step async for step in progress]
        assert any(isinstance(step, Loading) for step in steps)
        assert [i.key for i in home.hosts["studio"].resident] == [GEMMA.key]


# --- found by reading -----------------------------------------------------------------------


async def test_words_of_a_thread_do_not_reach_its_parent_channel(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        thread = Place(PLACE.channel, thread=PlaceId("discord:77"), server=PLACE.server)
        first = await home.ask("my secret is 4711", place=thread)
        said = await home.ask("and?", user=BOB, parent=first.turn)
        assert isinstance(said.last, Failed)
        assert isinstance(said.last.error, NotPermitted)


async def test_readers_who_leave_at_any_moment_leave_no_turn_running(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:

        async def leave_after(steps: int) -> None:
            async with home.lantern.turns.open(home.request("hello")):
                for _ in range(steps):
                    await asyncio.sleep(0)

        for steps in range(0, 60, 3):
            await leave_after(steps)
        rows = await home.lantern.database.read(
            lambda c: c.execute("SELECT count(*) FROM turn WHERE status = 'running'").fetchone()
        )
        assert rows[0] == 0


async def test_a_drain_waits_for_turns_that_are_just_beginning(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        async with asyncio.TaskGroup() as tasks:
            turn = tasks.create_task(home.ask("hello"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await home.lantern.turns.drain(30)
            assert home.lantern.turns.running(PLACE.conversation) == ()
        assert isinstance(turn.result().last, Finished)


async def test_a_drained_turn_says_why_it_was_stopped(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.stall_after_tokens(3)
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(home.ask("[[tokens 5000]]"))
            await home.hosts["studio"].journal.wait_for(PredictionStarted)
            await home.lantern.turns.drain(0)
        last = running.result().last
        assert isinstance(last, Stopped)
        assert not last.by_asker
        assert "restarting" in last.reason
        assert last.receipt.ending == last.reason


async def test_stopping_twice_is_stopping_once(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.stall_after_tokens(3)
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        said = Said()
        async with home.lantern.turns.open(home.request("[[tokens 5000]]")) as events:
            async for event in events:
                said.events.append(event)
                if isinstance(event, TextDelta):
                    home.lantern.turns.stop(PLACE.conversation)
                    home.lantern.turns.stop(PLACE.conversation)
        assert isinstance(said.last, Stopped)


async def test_a_host_that_only_stumbled_is_looked_at_again(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.status_500(times=1, path="/v1/chat")
        await home.ask("one")
        assert isinstance((await home.ask("two")).last, Finished)


async def test_why_does_not_name_who_did_not_answer(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.status_500(path="/v1/chat")
        said = await home.ask("hello")
        assert isinstance(said.last, Failed)
        assert said.receipt.host is None
        assert said.receipt.model is None
        assert said.receipt.attempts


async def test_a_retry_by_somebody_else_keeps_the_words_their_authors(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        first = await home.ask("my words", user=ADA)
        again = await home.play(home.request("", user=BOB, parent=first.turn, kind="retry"))
        stored = await home.lantern.turns.store.get(again.turn)
        assert stored is not None
        assert stored.user == ADA


async def test_thinking_the_answer_away_is_told_and_not_repeated_elsewhere(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", QWEN)) as home:
        personas = home.request("[[think 40]] [[tokens 0]]")
        said = await home.play(personas)
        assert isinstance(said.last, Failed)
        assert "max_tokens" in said.last.error.user_message
        assert not said.fallbacks
        stored = await home.lantern.turns.store.get(said.turn)
        assert stored is not None
        assert stored.reasoning_text


async def test_an_old_image_does_not_block_a_model_that_cannot_see(tmp_path: Path) -> None:
    eye = SimModel("see/er", 3 * GB, kind="vlm", vision=True)
    picture = Attachment("cat.png", "image/png", image=b"\x89PNG")
    async with house(tmp_path, sim("studio", QWEN, eye)) as home:
        first = await home.play(home.request("what is this?", model=eye.key, attachments=[picture]))
        assert first.receipt.model == eye.key
        said = await home.ask("and now?", model=QWEN.key)
        assert isinstance(said.last, Finished)
        assert any(isinstance(e, Notice) and "cannot see" in e.text for e in said.events)


async def test_a_growing_conversation_is_shortened_where_memory_is_short(tmp_path: Path) -> None:
    big = SimModel("big/one", 18 * GB, max_context_length=131_072)
    config = sim("studio", big, memory_bytes=24 * GB)
    async with house(tmp_path, config, memory_gb=24) as home:
        turns = [await home.ask("[[tokens 40]] " + "wo " * 9000) for _ in range(5)]
        assert all(isinstance(said.last, Finished) for said in turns)
        assert sum(bool(said.notices) for said in turns) == 1


async def test_nobody_waits_longer_than_the_limit_while_another_host_could(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    rules = ChatRules(default_persona=PersonaName("default"), max_local_wait_s=7.0)
    config = sim("a", QWEN, parallel=1)
    async with house(tmp_path, config, sim("b", QWEN), rules=rules) as home:
        home.hosts["a"].faults.stall_after_tokens(3)
        await home.hosts["a"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("a")).probe()
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(home.ask("[[tokens 5000]]"))
            await home.hosts["a"].journal.wait_for(PredictionStarted)
            elsewhere = Place(PlaceId("discord:2"))
            asking = tasks.create_task(home.ask("hello", user=BOB, place=elsewhere))
            await loop_clock.armed(7.0)
            loop_clock.passes(7.0)
            second = await asking
            home.lantern.turns.stop(PLACE.conversation)
        assert isinstance(second.last, Finished)
        assert second.receipt.host == "b"
        assert isinstance(first.result().last, Stopped)
