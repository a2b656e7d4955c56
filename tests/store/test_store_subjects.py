"""The small stores: choices, instances, speeds, messages and notes."""

import asyncio
from dataclasses import replace

import pytest
from clocks import WallClock
from store_values import CHANNEL, SAGE, new_turn

from bot.domain.chat import Place, Quote
from bot.domain.errors import StoreUnavailable
from bot.domain.hosts import (
    Drain,
    FleetMemory,
    LoadBegun,
    LoadRecord,
    OwnInstance,
    Speed,
    SpeedRecord,
    WakeRecord,
)
from bot.domain.ids import HostName, InstanceId, InstanceRef, ModelKey, PlaceId, TurnId, UserId
from bot.policy.choice import ScopeKey, scope_keys
from bot.policy.speeds import SENT_S
from bot.store.choices import MAX_CHANGES, ChoiceStore, Stored
from bot.store.database import Database
from bot.store.fleet_memory import KEPT_RECORDS, FleetStore
from bot.store.notes import NoteStore
from bot.store.people import PeopleStore
from bot.store.questions import KEPT_MS, Question, QuestionStore
from bot.store.replies import ReplyMessage, ReplyStore
from bot.store.turns import TurnStore

ADA = UserId("discord:1")
STUDIO = HostName("studio-1")
QWEN = ModelKey("qwen/qwen3-8b")
TURN = TurnId("a")


class TestChoices:
    async def test_only_what_was_asked_for_is_found(self, database: Database) -> None:
        choices = ChoiceStore(database)
        server = PlaceId("discord:5")
        mine, channel = ScopeKey("me", CHANNEL, ADA), ScopeKey("channel", CHANNEL)
        await choices.put(mine, "model", "qwen/qwen3-8b")
        await choices.put(channel, "model", "google/gemma-3-12b")
        await choices.put(channel, "persona", "pirate")
        await choices.put(replace(mine, user=UserId("discord:2")), "model", "somebody else's")

        keys = scope_keys(Place(CHANNEL, server=server), ADA)

        assert await choices.get(keys) == Stored(
            {channel: "pirate"}, {mine: "qwen/qwen3-8b", channel: "google/gemma-3-12b"}
        )
        assert await choices.get(()) == Stored({}, {})

    @pytest.mark.parametrize("how", ["answer", "question"])
    async def test_a_thread_knows_whose_answer_it_was_opened_on(
        self, database: Database, how: str
    ) -> None:
        choices, turns = ChoiceStore(database), TurnStore(database)
        keys = scope_keys(Place(CHANNEL, PlaceId("discord:400")), ADA)
        assert (await choices.get(keys)).opened_on is None
        await QuestionStore(database).hear("400", "9", None)
        asked = {"answer": None, "question": "400"}[how]
        await turns.begin(new_turn("a"), question=asked)
        if how == "answer":
            await ReplyStore(database).put("400", "9", TurnId("a"), 0)
        assert (await choices.get(keys)).opened_on == SAGE
        # Of the channel itself no message has the id.
        assert (await choices.get(scope_keys(Place(PlaceId("discord:400")), ADA))).opened_on is None
        await PeopleStore(database).forget(ADA)
        assert (await choices.get(keys)).opened_on is None

    async def test_a_choice_replaces_the_one_before_and_none_takes_it_back(
        self, database: Database
    ) -> None:
        choices = ChoiceStore(database)
        key = ScopeKey("channel", CHANNEL)
        await choices.put(key, "model", "a")
        await choices.put(key, "model", "b")
        assert (await choices.get([key])).models == {key: "b"}

        await choices.put(key, "model", None)
        assert (await choices.get([key])).models == {}

    async def test_who_chose_and_when_is_kept_also_of_the_one_that_is_put_back(
        self, database: Database
    ) -> None:
        choices, key, bob = ChoiceStore(database), ScopeKey("channel", CHANNEL), UserId("discord:2")
        assert await choices.set_for([key], "persona") == {}
        await choices.put(key, "persona", "sage", by=bob)
        before = await choices.set_for([key], "persona")
        assert [(chosen.value, chosen.by) for chosen in before.values()] == [(("sage",), bob)]
        await choices.put(key, "persona", "muse", by=ADA, ticket="1")
        assert (await choices.set_for([key], "persona"))[key].by == ADA
        await choices.restore("1")
        assert await choices.set_for([key], "persona") == before
        assert await choices.set_for([key], "model") == {}


class TestUndoing:
    KEY = ScopeKey("channel", CHANNEL)

    async def stored(self, choices: ChoiceStore) -> str | None:
        return (await choices.get([self.KEY])).models.get(self.KEY)

    async def test_the_choice_before_is_back_and_each_can_be_undone_in_its_turn(
        self, database: Database
    ) -> None:
        choices = ChoiceStore(database)
        for value in ("a", "b", "c"):
            await choices.put(self.KEY, "model", value, by=ADA, ticket=value)
        assert await choices.restore("c") == ("restored", "b")
        assert await choices.restore("b") == ("restored", "a")
        assert await choices.restore("a") == ("restored", None)
        assert await self.stored(choices) is None

    async def test_undone_twice_it_is_undone_once(self, database: Database) -> None:
        choices = ChoiceStore(database)
        await choices.put(self.KEY, "model", "a")
        await choices.put(self.KEY, "model", "b", by=ADA, ticket="1")
        async with asyncio.TaskGroup() as group:
            presses = [group.create_task(choices.restore("1")) for _ in range(2)]
        assert sorted(press.result() for press in presses) == [("again", "a"), ("restored", "a")]
        await choices.put(self.KEY, "model", "b")
        assert await choices.restore("1") == ("again", "b")

    async def test_of_choices_those_are_told_that_another_took_the_place_of(
        self, database: Database
    ) -> None:
        choices, mine = ChoiceStore(database), replace(self.KEY, place=PlaceId("discord:99"))
        await choices.put(mine, "model", "a", by=ADA, ticket="elsewhere")
        await choices.put(self.KEY, "model", "a", by=ADA, ticket="1")
        assert await choices.overtaken(["1", "elsewhere", "unknown"]) == {
            "1": None,
            "elsewhere": None,
        }
        await choices.put(self.KEY, "model", "b", by=ADA, ticket="2")
        assert await choices.overtaken(["1", "2"]) == {"1": ("model", "b"), "2": None}
        await choices.restore("2")
        assert await choices.overtaken(["1", "2"]) == {"1": None}, "it stands again"
        await choices.put(self.KEY, "model", "a", by=ADA, ticket="3")
        assert await choices.overtaken(["1"]) == {"1": None}, "the same is chosen"
        await choices.put(self.KEY, "model", None, by=ADA)
        assert await choices.overtaken(["3"]) == {"3": ("model", None)}

    async def test_a_later_choice_is_never_overwritten_be_it_the_same(
        self, database: Database
    ) -> None:
        choices = ChoiceStore(database)
        await choices.put(self.KEY, "model", "a", by=ADA, ticket="1")
        # In the very millisecond, by the clock of these tests.
        await choices.put(self.KEY, "model", "a", by=ADA, ticket="2")
        assert await choices.restore("1") == ("changed", "a")
        await choices.put(self.KEY, "model", None)
        assert await choices.restore("2") == ("changed", None)

    async def test_of_two_at_once_one_wins_and_nothing_is_lost(self, database: Database) -> None:
        choices = ChoiceStore(database)
        await choices.put(self.KEY, "model", "a", by=ADA, ticket="1")
        async with asyncio.TaskGroup() as group:
            press = group.create_task(choices.restore("1"))
            group.create_task(choices.put(self.KEY, "model", "b", by=ADA, ticket="2"))
        assert press.result()[0] in ("restored", "changed")
        assert await self.stored(choices) == "b"
        made = await choices.change("2")
        assert made is not None
        assert made.before == (None if press.result()[0] == "restored" else "a")

    async def test_another_slot_and_subject_are_left_alone(self, database: Database) -> None:
        choices, mine = ChoiceStore(database), ScopeKey("me", CHANNEL, ADA)
        await choices.put(mine, "model", "mine")
        await choices.put(self.KEY, "persona", "sage")
        await choices.put(self.KEY, "model", "a", by=ADA, ticket="1")
        await choices.restore("1")
        assert await choices.get([mine, self.KEY]) == Stored({self.KEY: "sage"}, {mine: "mine"})

    async def test_it_outlives_a_restart_and_the_newest_are_kept(self, database: Database) -> None:
        choices = ChoiceStore(database)
        for number in range(MAX_CHANGES + 1):
            await choices.put(self.KEY, "model", f"m{number}", by=ADA, ticket=str(number))
        # Another store over the same file is what a restart leaves.
        after = ChoiceStore(database)
        assert await after.change("0") is None
        assert await after.restore("0") == ("gone", None)
        oldest = await after.change("1")
        assert oldest is not None
        assert (oldest.by, oldest.slot) == (ADA, ("channel", CHANNEL, "", "model"))
        assert await after.restore(str(MAX_CHANGES)) == ("restored", f"m{MAX_CHANGES - 1}")

    async def test_without_a_ticket_nothing_is_noted(self, database: Database) -> None:
        choices = ChoiceStore(database)
        await choices.put(self.KEY, "model", "a")
        assert await choices.change("") is None


class TestInstances:
    OWN = OwnInstance(STUDIO, InstanceRef("r1"), InstanceId(QWEN), QWEN, idle_ttl_s=1800.0)

    async def test_what_was_added_is_remembered(self, database: Database) -> None:
        fleet = FleetStore(database)
        kept = replace(self.OWN, reference=InstanceRef("r2"), idle_ttl_s=None, pinned=True)
        await fleet.add_own(self.OWN)
        await fleet.add_own(kept)

        assert (await fleet.remembered()).own == (self.OWN, kept)

    async def test_what_changed_replaces_what_was(self, database: Database) -> None:
        fleet = FleetStore(database)
        await fleet.add_own(self.OWN)
        await fleet.add_own(replace(self.OWN, pinned=True))

        assert (await fleet.remembered()).own == (replace(self.OWN, pinned=True),)

    async def test_one_reference_on_one_host_is_forgotten(self, database: Database) -> None:
        fleet = FleetStore(database)
        elsewhere = replace(self.OWN, host=HostName("studio-2"))
        await fleet.add_own(self.OWN)
        await fleet.add_own(elsewhere)
        await fleet.remove_own(STUDIO, self.OWN.reference)

        assert (await fleet.remembered()).own == (elsewhere,)

    async def test_what_is_known_of_a_host_goes_with_its_address_to_another_name(
        self, database: Database
    ) -> None:
        fleet, attic = FleetStore(database), HostName("attic")
        assert await fleet.renamed({STUDIO: "10.0.0.1:1234", attic: "10.0.0.2:1234"}) == {}
        await fleet.add_own(self.OWN)
        await fleet.pin(STUDIO, QWEN, is_pinned=True)
        fleet.add(TestSpeeds.LOAD)
        fleet.add(replace(TestSpeeds.ANSWER, predicted_s=2.0, waited_s=5.5))
        await fleet.drain(Drain(STUDIO))
        await fleet.woken(WakeRecord(STUDIO, 30.0))
        await fleet.load_begun(LoadBegun(STUDIO, QWEN, 3600, 1800.0))
        before, loft = await fleet.remembered(), HostName("loft")

        assert await fleet.renamed({loft: "10.0.0.1:1234", attic: "10.0.0.2:1234"}) == {
            STUDIO: loft
        }
        after = await fleet.remembered()
        assert after.own == (replace(self.OWN, host=loft),)
        assert after.speeds == {(loft, QWEN): before.speeds[STUDIO, QWEN]}
        assert (after.rates, after.wakes) == ({loft: before.rates[STUDIO]}, {loft: 30.0})
        assert [each.host for each in (*after.drains, *after.begun)] == [loft, loft]
        assert (await fleet.pins(), list(await fleet.foretold())) == (((loft, QWEN),), [loft])
        again = await fleet.renamed({loft: "10.0.0.1:1234", attic: "10.0.0.2:1234"})
        assert (again, await fleet.remembered()) == ({}, after)

    @pytest.mark.parametrize(
        ("starts", "moved"),
        [
            # Renamed, and back.
            ([{"a": "1", "b": "2"}, {"c": "1", "b": "2"}], {"a": "c"}),
            ([{"a": "1", "b": "2"}, {"c": "1", "b": "2"}, {"a": "1", "b": "2"}], {"c": "a"}),
            ([{"a": "1", "b": "2"}, {"c": "2", "d": "1"}], {"a": "d", "b": "c"}),
            # One is gone, and the other got its address.
            ([{"a": "1", "b": "2"}, {"a": "2"}], {}),
            # They got each other's; exchanged names look the same.
            ([{"a": "1", "b": "2"}, {"a": "2", "b": "1"}], {}),
            ([{"a": "1", "b": "2"}, {"a": "2", "b": "3"}], {}),
            ([{"a": "1", "b": "2"}, {"a": "3", "c": "1", "b": "2"}], {}),
            # Left out for a start, and back: by another name, by its own, after its address went.
            ([{"a": "1", "b": "2"}, {"b": "2"}, {"b": "2", "c": "1"}], {"a": "c"}),
            ([{"a": "1", "b": "2"}, {}, {"c": "1", "d": "2"}], {"a": "c", "b": "d"}),
            ([{"a": "1", "b": "2"}, {"b": "2"}, {"b": "2", "a": "1"}], {}),
            ([{"a": "1", "b": "2"}, {"b": "1"}, {"b": "2", "c": "1"}], {}),
        ],
    )
    async def test_a_host_is_known_by_its_name_and_only_a_new_one_takes_from_an_old(
        self, database: Database, starts: list[dict[str, str]], moved: dict[str, str]
    ) -> None:
        fleet = FleetStore(database)
        seen = dict[str, str]()
        for hosts in starts:
            renamed = await fleet.renamed({HostName(name): at for name, at in hosts.items()})
            seen = {str(old): str(new) for old, new in renamed.items()}
            if hosts is starts[0]:
                for name in hosts:
                    await fleet.pin(HostName(name), ModelKey(f"of-{name}"), is_pinned=True)
        assert seen == moved
        if len(starts) == 2:
            where = {str(key): str(host) for host, key in await fleet.pins()}
            assert where == {f"of-{name}": moved.get(name, name) for name in starts[0]}

    async def test_a_host_at_another_address_keeps_what_is_known_by_its_name(
        self, database: Database
    ) -> None:
        fleet = FleetStore(database)
        await fleet.renamed({STUDIO: "a:1"})
        await fleet.add_own(self.OWN)
        assert await fleet.renamed({STUDIO: "b:1"}) == {}
        assert (await fleet.remembered()).own == (self.OWN,)

    async def test_a_host_that_had_no_name_is_known_by_its_address(
        self, database: Database
    ) -> None:
        fleet, bare = FleetStore(database), HostName("10.0.0.1:1234")
        await fleet.add_own(replace(self.OWN, host=bare))
        await fleet.renamed({STUDIO: "10.0.0.1:1234"})
        assert (await fleet.remembered()).own == (self.OWN,)


class TestSpeeds:
    LOAD = LoadRecord(STUDIO, QWEN, seconds=10.0, size_bytes=5_000)
    ANSWER = SpeedRecord(STUDIO, QWEN, 1000, 101, first_token_s=2.0, generation_s=10.0)

    async def test_a_drain_is_remembered_until_it_is_over(
        self, database: Database, clock: WallClock
    ) -> None:
        fleet, attic = FleetStore(database), HostName("attic")
        await fleet.drain(Drain(STUDIO, left_s=60.0))
        await fleet.drain(Drain(STUDIO))
        await fleet.drain(Drain(attic, left_s=7200.0))
        clock.advance(7199.5)
        assert (await fleet.remembered()).drains == (Drain(attic, left_s=0.5), Drain(STUDIO))
        clock.advance(0.5)
        assert (await fleet.remembered()).drains == (Drain(STUDIO),)
        await fleet.drain(Drain(STUDIO, is_on=False))
        assert (await fleet.remembered()).drains == ()

    async def test_what_was_predicted_is_remembered_with_what_came(
        self, database: Database
    ) -> None:
        fleet, told = FleetStore(database), replace(self.ANSWER, predicted_s=2.0, waited_s=5.5)
        fleet.add(self.ANSWER)
        fleet.add(told)
        fleet.add(replace(told, host=HostName("attic"), waited_s=2.5))
        found = await fleet.foretold()
        assert found == {STUDIO: [(2.0, 5.5)], HostName("attic"): [(2.0, 2.5)]}

    async def test_a_load_under_way_is_remembered_for_a_while(
        self, database: Database, clock: WallClock
    ) -> None:
        fleet, begun = FleetStore(database), LoadBegun(STUDIO, QWEN, 3600, 1800.0)
        await fleet.load_begun(replace(begun, ttl_s=60))
        await fleet.load_begun(begun)
        await fleet.load_begun(replace(begun, host=HostName("attic")))
        await fleet.load_begun(replace(begun, host=HostName("attic"), is_over=True))
        clock.advance(899.0)
        assert (await fleet.remembered()).begun == (replace(begun, age_s=899.0),)
        clock.advance(1.0)
        assert (await fleet.remembered()).begun == ()

    async def test_how_long_a_host_takes_to_wake_is_remembered(self, database: Database) -> None:
        fleet = FleetStore(database)
        for seconds in (40.0, 30.0):
            await fleet.woken(WakeRecord(STUDIO, seconds))
        assert (await fleet.remembered()).wakes == {STUDIO: 30.0}

    async def test_nothing_measured_is_nothing_remembered(self, database: Database) -> None:
        assert await FleetStore(database).remembered() == FleetMemory()

    async def test_loads_and_answers_meet_in_one_average(self, database: Database) -> None:
        fleet = FleetStore(database)
        fleet.add(self.LOAD)
        fleet.add(self.ANSWER)

        assert await fleet.remembered() == FleetMemory(
            speeds={(STUDIO, QWEN): Speed(10.0, 1000 / (2.0 - SENT_S), 10.0, 12.0)},
            rates={STUDIO: 500.0},
            answers={(STUDIO, QWEN): (10.0,)},
        )

    async def test_the_newest_counts_for_three_tenths(self, database: Database) -> None:
        fleet = FleetStore(database)
        fleet.add(self.LOAD)
        fleet.add(replace(self.LOAD, seconds=20.0))

        memory = await fleet.remembered()

        assert memory.speeds[STUDIO, QWEN].load_s == pytest.approx(13.0)
        assert memory.rates[STUDIO] == pytest.approx(425.0)

    async def test_a_load_of_unknown_size_says_nothing_of_the_hosts_rate(
        self, database: Database
    ) -> None:
        fleet = FleetStore(database)
        fleet.add(replace(self.LOAD, size_bytes=None))

        assert await fleet.remembered() == FleetMemory(speeds={(STUDIO, QWEN): Speed(load_s=10.0)})

    async def test_single_records_are_bounded(self, database: Database) -> None:
        fleet = FleetStore(database)
        fleet.add(self.LOAD)
        fleet.add(self.ANSWER)
        await database.noted()
        for table in ("load_record", "speed_record"):
            grow = f"UPDATE {table} SET number = {KEPT_RECORDS}"
            await database.write(lambda c, grow=grow: c.execute(grow).rowcount)
        fleet.add(replace(self.LOAD, seconds=1.0))
        fleet.add(replace(self.LOAD, seconds=2.0))
        fleet.add(self.ANSWER)
        fleet.add(self.ANSWER)
        await database.noted()

        numbers = "SELECT number FROM load_record UNION ALL SELECT number FROM speed_record"
        rows = await database.read(lambda c: c.execute(numbers).fetchall())
        assert [row["number"] for row in rows] == [2000, 2001, 2002] * 2


class TestReplies:
    async def test_a_message_leads_to_its_turn_and_back(self, database: Database) -> None:
        replies = ReplyStore(database)
        await TurnStore(database).begin(new_turn(TURN))
        await replies.put("101", "9", TURN, 1)
        await replies.put("100", "9", TURN, 0)

        assert await replies.turn_of("101") == TURN
        assert await replies.turn_of("999") is None
        assert await replies.left_open() == (
            ReplyMessage("100", "9", TURN, 0, is_open=True),
            ReplyMessage("101", "9", TURN, 1, is_open=True),
        )

    async def test_open_messages_are_those_of_turns_not_closed(self, database: Database) -> None:
        replies, turns = ReplyStore(database), TurnStore(database)
        await turns.begin(new_turn(TURN))
        await turns.begin(new_turn("b"))
        await replies.put("100", "9", TURN, 0)
        await replies.put("200", "9", TurnId("b"), 0)
        await replies.close(TURN)

        assert [message.message_id for message in await replies.left_open()] == ["200"]
        assert await replies.turn_of("100") == TURN

    async def test_a_message_used_again_shows_the_new_turn(self, database: Database) -> None:
        replies, turns = ReplyStore(database), TurnStore(database)
        await turns.begin(new_turn(TURN))
        await turns.begin(new_turn("b"))
        await replies.put("100", "9", TURN, 0)
        await replies.close(TURN)
        await replies.put("100", "9", TurnId("b"), 0)

        assert await replies.turn_of("100") == "b"
        assert [(m.turn, m.is_open) for m in await replies.left_open()] == [("b", True)]

    async def test_of_two_messages_of_one_part_the_later_stands_there(
        self, database: Database
    ) -> None:
        replies, turns = ReplyStore(database), TurnStore(database)
        await turns.begin(new_turn(TURN))
        await turns.begin(new_turn("b"))
        for message, turn, part in (("100", TURN, 0), ("101", TURN, 1), ("200", TurnId("b"), 0)):
            await replies.put(message, "9", turn, part)
        await replies.put("102", "9", TURN, 0)

        ids = [message.message_id for message in await replies.messages(TURN)]
        assert ids == ["102", "101"]
        assert [m.message_id for m in await replies.left_open()] == ["102", "101", "200"]
        assert await replies.turn_of("100") == TURN
        # An answer that was deleted as it was written stays so, whatever its writer still notes.
        await replies.put("100", "9", TurnId("b"), 1)
        await replies.bind(TurnId("b"), "9", [200, 100], ())
        assert [m.message_id for m in await replies.messages(TurnId("b"))] == ["200"]
        await replies.bind(TurnId("b"), "9", [], (TURN,))
        assert await replies.messages(TURN) == await replies.messages(TurnId("b")) == ()
        # What a thread was opened on still leads to it.
        assert await replies.turn_of("100") == "b"
        assert await replies.turn_of("101") is None

    async def test_a_message_that_is_gone_shows_nothing_and_still_leads_to_its_turn(
        self, database: Database
    ) -> None:
        replies, turns = ReplyStore(database), TurnStore(database)
        await turns.begin(new_turn(TURN))
        await replies.put("100", "9", TURN, 0)
        await replies.put("101", "9", TURN, 1)
        for message in ("100", "100", "999"):
            await replies.lost(message)

        assert [m.message_id for m in await replies.messages(TURN)] == ["101"]
        assert [m.message_id for m in await replies.left_open()] == ["101"]
        assert await replies.turn_of("100") == TURN
        await PeopleStore(database).remove(TURN)
        assert await database.fetch("SELECT * FROM gone") == []

    async def test_a_turn_deleted_meanwhile_gets_no_message(self, database: Database) -> None:
        replies = ReplyStore(database)
        await replies.put("100", "9", TurnId("deleted"), 0)

        assert await replies.left_open() == ()


class TestQuestions:
    async def test_a_question_is_open_until_it_is_closed(self, database: Database) -> None:
        questions = QuestionStore(database)
        assert await questions.hear("41", "7", "token")
        assert await questions.hear("42", "8", None)
        await TurnStore(database).begin(new_turn(TURN), question="41")
        assert await questions.left_open() == (
            Question("41", "7", "token", TURN),
            Question("42", "8", None, None),
        )
        await questions.close("41")
        assert [question.id for question in await questions.left_open()] == ["42"]

    async def test_a_turn_that_is_not_stored_answers_no_question(self, database: Database) -> None:
        questions, turns = QuestionStore(database), TurnStore(database)
        await questions.hear("41", "7", None)
        await turns.begin(new_turn(TURN))
        with pytest.raises(StoreUnavailable):
            await turns.begin(new_turn(TURN), question="41")
        assert await turns.asked_by("41") is None

    async def test_where_the_message_stands_that_asked_is_known_and_of_a_command_nothing(
        self, database: Database
    ) -> None:
        questions, turns = QuestionStore(database), TurnStore(database)
        for number, channel, token in ((0, "7", None), (1, "8", "t"), (2, "9", None), (3, "7", "")):
            await questions.hear(f"4{number}", channel, token)
            await turns.begin(new_turn(f"t{number}"), question=f"4{number}")
        # Not noted, as on a full disk: it may be a command's, as may one that was answered.
        await turns.begin(new_turn("t4"), question="44")
        await questions.hear("45", "7", "t")
        await questions.close("45")
        await turns.begin(new_turn("t5"), question="45")
        await questions.hear("46", "7", None)
        await turns.begin(new_turn("t6"), question="46")
        found = [await turns.asked_in(TurnId(f"t{n}")) for n in range(8)]
        assert found == [("7", "40"), None, ("9", "42"), None, None, None, ("7", "46"), None]
        assert await turns.newest_asked(9) == {"7": ("46", "40"), "9": ("42",)}
        assert list(await turns.newest_asked(2)) == ["7", "9"]
        assert await turns.newest_asked(1) == {"7": ("46",)}
        # What was quoted is looked for where it was said; of old ones nobody knows which they are.
        thread = Place(PlaceId("discord:8"), PlaceId("discord:81"))
        quotes = (
            Quote("a", UserId("x"), "X", thread, 1, "60"),
            Quote("b", UserId("x"), "X", Place(PlaceId("discord:8")), 1, "61"),
            Quote("c", UserId("x"), "X", thread, 1),
        )
        await turns.begin(replace(new_turn("t8"), quotes=quotes))
        assert await turns.newest_asked(3) == {"81": ("60",), "8": ("61",), "7": ("46",)}

    async def test_a_question_is_new_once_even_after_its_end(self, database: Database) -> None:
        questions = QuestionStore(database)
        assert await questions.hear("41", "7", "token")
        assert not await questions.hear("41", "7", "token")
        await questions.close("41")
        assert not await questions.hear("41", "7", "token")
        assert await questions.left_open() == ()

    async def test_a_closed_question_keeps_no_token(self, database: Database) -> None:
        questions = QuestionStore(database)
        await questions.hear("41", "7", "token")
        await questions.close("41")
        rows = await database.fetch("SELECT token FROM question")
        assert [row["token"] for row in rows] == [None]

    async def test_it_is_known_where_people_ask_and_since_when(self, database: Database) -> None:
        questions = QuestionStore(database)
        # As text "100" comes before "41".
        for question, channel in (("100", "7"), ("41", "7"), ("50", "8")):
            await questions.hear(question, channel, None)
        assert await questions.channels(9) == {"7": 41, "8": 50}
        assert len(await questions.channels(1)) == 1

    async def test_what_ended_a_day_ago_is_forgotten_and_what_did_not_is_kept(
        self, database: Database, clock: WallClock
    ) -> None:
        questions = QuestionStore(database)
        for question in ("41", "42"):
            await questions.hear(question, "7", None)
        await questions.close("41")
        clock.advance(KEPT_MS / 1000)
        await questions.hear("43", "7", None)
        assert await questions.channels(9) == {"7": 41}
        clock.advance(0.001)
        await questions.hear("44", "7", None)
        assert await questions.channels(9) == {"7": 42}


class TestNotes:
    async def test_a_note_is_what_was_written_last(self, database: Database) -> None:
        notes = NoteStore(database)
        assert await notes.get("salt") is None
        await notes.put("salt", "a")
        await notes.put("salt", "b")

        assert await notes.get("salt") == "b"
