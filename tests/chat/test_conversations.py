"""What reaches a model in a channel, a chain of replies and a thread, however turns overlap."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from privacy_world import MODEL, HomeEar, World, world

from bot.chat.draft import Draft
from bot.chat.planning import Job
from bot.domain.chat import Candidate, Place, Quote, TurnRequest
from bot.domain.events import Failed, Started, TurnEvent
from bot.domain.ids import HostName, PlaceId, TurnId, UserId
from bot.policy.privacy import Sources
from bot.store.people import PeopleStore

HALL = Place(PlaceId("hall"), server=PlaceId("house"))
THREAD = replace(HALL, thread=PlaceId("thread"))
OTHER = replace(HALL, thread=PlaceId("other"))
ADA, BOB = UserId("ada"), UserId("bob")


class Talk:
    """Asks, and reads what the model was sent for it."""

    def __init__(self, home: World) -> None:
        self.home = home

    async def ask(
        self, text: str, user: UserId = ADA, place: Place = HALL, **more: object
    ) -> tuple[TurnId, str]:
        request = replace(TurnRequest(user, str(user), place, text), **more)
        self.home.ears.reply = f"re:{text}"
        return await self.play(request)

    async def play(self, request: TurnRequest) -> tuple[TurnId, str]:
        events: list[TurnEvent] = []
        async with self.home.turns.open(request) as stream:
            async for event in stream:
                events.append(event)
        assert not isinstance(events[-1], Failed), events[-1]
        (turn,) = [event.turn for event in events if isinstance(event, Started)]
        return turn, self.home.ears.read_at_home[-1]


async def test_fresh_questions_share_no_words_and_a_reply_goes_on_from_its_chain(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        talk = Talk(home)
        ada, _ = await talk.ask("one", fresh_after_s=0.0)
        bob, sent = await talk.ask("two", BOB, fresh_after_s=0.0)
        assert "one" not in sent
        more, sent = await talk.ask("three", parent=ada, fresh_after_s=0.0)
        assert ("one" in sent, "re:one" in sent, "two" in sent) == (True, True, False)
        _, sent = await talk.ask("four", BOB, parent=bob, fresh_after_s=0.0)
        assert ("two" in sent, "one" in sent) == (True, False)
        # Somebody else takes up the chain, and goes on from all of it.
        _, sent = await talk.ask("five", BOB, parent=more, fresh_after_s=0.0)
        assert ("one" in sent, "three" in sent, "four" in sent) == (True, True, False)


@pytest.mark.parametrize("fresh_after_s", [None, 0.0])
async def test_three_questions_of_one_person_in_one_moment_lose_no_word(
    tmp_path: Path, fresh_after_s: float | None
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        talk, words = Talk(home), ("one", "two", "three")
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(talk.ask(word, fresh_after_s=fresh_after_s)) for word in words
            ]
        for number, (turn, _) in enumerate(task.result() for task in asked):
            branch = await home.store.branch(turn)
            expected = words[: number + 1] if fresh_after_s is None else (words[number],)
            assert tuple(said.user_text for said in branch) == expected
        _, sent = await talk.ask("four")
        assert all(word in sent for word in words) is (fresh_after_s is None)


class HeldEar(HomeEar):
    """A host that answers only when it is let."""

    may_answer = asyncio.Event()

    async def serve(
        self,
        host: HostName,
        candidate: Candidate,
        job: Job,
        draft: Draft,
        *,
        max_wait_s: float | None,
        is_last: bool,
    ) -> None:
        await self.may_answer.wait()
        await super().serve(host, candidate, job, draft, max_wait_s=max_wait_s, is_last=is_last)


@pytest.mark.parametrize("fresh_after_s", [None, 0.0])
async def test_three_replies_of_one_person_to_one_answer_in_one_moment_lose_no_word(
    tmp_path: Path, fresh_after_s: float | None
) -> None:
    HeldEar.may_answer = asyncio.Event()
    async with world(tmp_path, "prefer_local", is_slow=False, home_ear=HeldEar) as home:
        talk, words, stored = Talk(home), ["one", "two", "three"], asyncio.Queue[TurnId]()
        HeldEar.may_answer.set()
        start, _ = await talk.ask("start")
        HeldEar.may_answer.clear()
        home.store.on_stored = stored.put_nowait
        asked: list[TurnId] = []
        async with asyncio.TaskGroup() as tasks:
            for word in words:
                tasks.create_task(talk.ask(word, parent=start, fresh_after_s=fresh_after_s))
                asked.append(await stored.get())
            # Somebody else's reply is a branch of their own.
            tasks.create_task(talk.ask("four", BOB, parent=start))
            asked.append(await stored.get())
            HeldEar.may_answer.set()
        said = [[turn.user_text for turn in await home.store.branch(turn)][1:] for turn in asked]
        assert said[3] == ["four"]
        if fresh_after_s is None:
            assert said[:3] == [words[:1], words[:2], words]
            _, sent = await talk.ask("five")
            assert all(word in sent for word in words)
        else:
            assert said[:3] == [["one"], ["two"], ["three"]]


async def test_a_thread_begins_with_the_answer_it_was_opened_on_and_keeps_its_words(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        talk = Talk(home)
        start, _ = await talk.ask("one")
        await talk.ask("later in the hall")
        # Two at once: the second goes on from the first, not from the answer once more.
        async with asyncio.TaskGroup() as tasks:
            for word in ("two", "three"):
                tasks.create_task(talk.ask(word, place=THREAD, opened_on=start))
        _, sent = await talk.ask("four", BOB, THREAD, opened_on=start)
        assert all(word in sent for word in ("re:one", "two", "three"))
        assert "later" not in sent
        _, sent = await talk.ask("five", place=OTHER, opened_on=start)
        assert ("re:one" in sent, "two" in sent) == (True, False)
        _, sent = await talk.ask("six")
        assert ("later" in sent, "two" in sent, "five" in sent) == (True, False, False)


async def test_a_thread_is_not_led_to_another_channels_words(tmp_path: Path) -> None:
    elsewhere = replace(THREAD, channel=PlaceId("elsewhere"))
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        talk = Talk(home)
        start, _ = await talk.ask("one")
        _, sent = await talk.ask("two", place=elsewhere, opened_on=start)
        assert "one" not in sent
        _, sent = await talk.ask("three", place=Place(PlaceId("cellar")), opened_on=start)
        assert "one" not in sent


async def test_a_thread_of_private_words_stays_here(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_cloud", is_slow=False) as home:
        talk = Talk(home)
        await home.privacy.mark("user", ADA, local_only=True)
        start, _ = await talk.ask("secret")
        await home.privacy.mark("user", ADA, local_only=False)
        await talk.ask("two", BOB, THREAD, opened_on=start)
        assert home.ears.sent_away == []


async def test_a_conversation_that_rested_begins_afresh_and_a_reply_wakes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        talk = Talk(home)
        old, _ = await talk.ask("one", fresh_after_s=60.0)
        _, sent = await talk.ask("two", fresh_after_s=60.0)
        assert "one" in sent
        database = home.store.database
        a_minute_later = database.now_ms() + 61_000
        monkeypatch.setattr(database, "now_ms", lambda: a_minute_later)
        _, sent = await talk.ask("three", fresh_after_s=60.0)
        assert "two" not in sent
        _, sent = await talk.ask("four", fresh_after_s=60.0)
        assert ("two" in sent, "three" in sent) == (False, True)
        _, sent = await talk.ask("five", parent=old, fresh_after_s=60.0)
        assert "one" in sent


async def test_a_prompt_tells_the_date_of_the_turn(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        text = f"name: default\nmodel: {MODEL}\nsystem_prompt: 'It is {{date}}. {{x}}'\n"
        (home.personas / "default.yaml").write_text(text, encoding="utf-8")
        await home.shelf.refresh()
        _, sent = await Talk(home).ask("hello")
        assert sent == "It is Friday, 20 November 2026. {x}\nhello"


async def test_a_fact_said_in_private_is_told_only_where_words_stay_here(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_cloud", is_slow=False) as home:
        talk, people = Talk(home), PeopleStore(home.store.database)
        private = Place(PlaceId("cellar"))
        await home.privacy.mark("place", private.channel, local_only=True)
        at_ms = home.store.database.now_ms()
        await people.remember(Quote("I like tea", ADA, "ada", HALL, at_ms))
        await people.remember(Quote("I hide gold", ADA, "ada", private, at_ms))
        await people.remember(Quote("Bob is tall", BOB, "bob", HALL, at_ms))
        request = TurnRequest(ADA, "ada", HALL, "what now?")
        async with home.turns.open(request) as events:
            async for _ in events:
                pass
        (sent,) = home.ears.sent_away
        assert ("tea" in sent, "gold" in sent, "tall" in sent) == (True, False, False)
        _, kept = await talk.ask("and here?", place=private)
        assert ("tea" in kept, "gold" in kept) == (True, True)
        assert len(home.ears.sent_away) == 1
        # A place that was opened since keeps what was said in it before.
        await home.privacy.mark("place", private.channel, local_only=False)
        async with home.turns.open(request) as events:
            async for _ in events:
                pass
        assert "gold" not in home.ears.sent_away[-1]


async def test_where_no_provider_is_a_fact_said_in_private_is_told_everywhere(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False, vendors=()) as home:
        at_ms, cellar = home.store.database.now_ms(), PlaceId("cellar")
        await home.privacy.mark("place", cellar, local_only=True)
        gold = Quote("I hide gold", ADA, "ada", Place(cellar), at_ms)
        await PeopleStore(home.store.database).remember(gold)
        turn, sent = await Talk(home).ask("what now?")
        assert "gold" in sent
        # With a provider configured one day, no word of that answer leaves.
        asked = Sources(frozenset(), frozenset(), frozenset({turn}))
        assert (await home.privacy.look_up(asked)).turns == {turn}


async def test_an_edited_question_is_answered_in_its_new_words_in_the_same_place(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        talk = Talk(home)
        first, _ = await talk.ask("on the sky")
        await talk.ask("more")
        again, sent = await talk.ask("on the sea", BOB, parent=first, kind="retry")
        assert sent.endswith("on the sea")
        assert "sky" not in sent
        stored = await home.store.get(again)
        assert stored is not None
        assert (stored.user, stored.user_text) == (ADA, "on the sea")
        _, sent = await talk.ask("most")
        assert ("sea" in sent, "sky" in sent, "more" in sent) == (True, False, True)


async def test_what_was_asked_out_of_sight_is_told_with_each_answer_to_it(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        talk, said = Talk(home), "Ada asked about the cat: what is it?"
        first, _ = await talk.ask("what is it?", asked=said)
        again, _ = await talk.ask("", BOB, parent=first, kind="retry")
        await talk.ask("", BOB, parent=again, kind="continue")
        after, _ = await talk.ask("and that?", parent=again)
        stored = [await home.turns.store.get(turn) for turn in (first, again, after)]
        receipts = [turn.receipt for turn in stored if turn is not None]
        assert [r and r.asked for r in receipts] == [said, said, ""]
