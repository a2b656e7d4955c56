"""What is kept of one person, and that forgetting leaves nothing of it in any file."""

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from clocks import WallClock
from store_values import CHANNEL, SAGE, new_turn

from bot.domain.chat import Attachment, Place, Quote, Receipt
from bot.domain.ids import ModelKey, PersonaName, PlaceId, TurnId, UserId
from bot.store import people as people_module
from bot.store.answers import AnswerStore, KeptAnswer
from bot.store.backups import backups_of
from bot.store.database import Database
from bot.store.people import EPOCH_MS, PeopleStore
from bot.store.personas import KeptPersona, PersonaStore
from bot.store.replies import ReplyStore
from bot.store.turns import TurnStore

ADA, BOB = UserId("discord:1"), UserId("discord:2")
SECRET = "Xylophon-4711"


@pytest.fixture
def people(database: Database) -> PeopleStore:
    return PeopleStore(database)


@pytest.fixture
def turns(database: Database) -> TurnStore:
    return TurnStore(database)


def fact(text: str, user: UserId = ADA) -> Quote:
    return Quote(text, user, "Ada", Place(CHANNEL, server=PlaceId("discord:5")), 1_000)


async def said(turns: TurnStore, name: str, parent: str | None = None, **more: object) -> None:
    turn = replace(new_turn(name, parent=parent), **more)
    await turns.begin(turn)
    await turns.finish(turn.id, "done", f"reply {turn.user_text}", "", Receipt(SAGE))


async def line(turns: TurnStore) -> list[str]:
    return [str(turn.id) for turn in await turns.newest_branch(CHANNEL, SAGE, BOB)]


async def test_facts_come_back_in_order_with_where_they_were_said(people: PeopleStore) -> None:
    for one in (fact("a"), fact("b"), fact("c", BOB)):
        await people.remember(one)
    first, second = await people.facts(ADA)
    assert (first.said, second.said) == (fact("a"), fact("b"))
    assert not await people.drop(BOB, first.number)
    assert await people.drop(ADA, first.number)
    assert [one.said.text for one in await people.facts(ADA)] == ["b"]


async def test_a_persons_questions_are_found_newest_first(
    people: PeopleStore, turns: TurnStore
) -> None:
    for name in ("a", "b"):
        await said(turns, name)
    await said(turns, "c", place=Place(PlaceId("discord:8")))
    await said(turns, "d", user=BOB)
    # Answered again it is the same question, and stays where it was asked.
    await turns.begin(new_turn("a2"), "retry", TurnId("a"))
    assert await people.said(ADA, 9) == ("c", "b", "a")
    assert await people.running(ADA) == ("a2",)
    assert await people.running(BOB) == ()
    assert await people.said(ADA, 1, CHANNEL) == ("b",)


async def test_what_was_said_since_goes_on_without_a_question_that_left(
    people: PeopleStore, turns: TurnStore
) -> None:
    await said(turns, "a", user=BOB)
    await said(turns, "b", "a")
    await said(turns, "c", "b")
    await turns.begin(new_turn("c2"), "retry", TurnId("c"))
    await said(turns, "d", "c2", user=BOB)
    await people.remove(TurnId("c2"))
    assert await line(turns) == ["a", "b", "d"]
    assert await turns.get(TurnId("c")) is None
    await people.remove(TurnId("d"))
    assert await line(turns) == ["a", "b"]
    await people.remove(TurnId("nobody"))


async def test_a_forgotten_person_leaves_no_word_in_any_file(
    people: PeopleStore, turns: TurnStore, database: Database
) -> None:
    picture = Attachment(f"{SECRET}.png", "image/png", image=SECRET.encode() * 1000)
    await said(turns, "a", user=BOB, user_text="hello")
    await said(turns, "b", "a", user_text=SECRET * 3000, attachments=(picture,))
    await turns.begin(replace(new_turn("b2"), user_text=SECRET), "retry", TurnId("b"))
    quote = Quote(SECRET, ADA, "Ada", Place(CHANNEL), 1)
    await said(turns, "c", "b", user=BOB, user_text="and?", quotes=(quote,))
    await people.remember(fact(SECRET))
    await people.remember(fact("stays", BOB))
    # Kept for the same question it names nobody: any of them may be hers.
    answers = AnswerStore(database, ttl_s=3600.0, max_entries=9)
    await answers.put("key", KeptAnswer(SECRET, ModelKey("qwen"), "studio", is_local=True))
    assert words_left(database)

    for message, part in (("300", 0), ("301", 1)):
        await ReplyStore(database).put(message, "9", TurnId("b"), part)
    await ReplyStore(database).put("302", "9", TurnId("a"), 0)
    # Where its answer ends there are buttons; Bob's stays as it is.
    gone = await people.forget(ADA)
    assert (gone.questions, gone.shown) == (1, (("9", "301"),))

    assert await line(turns) == ["a", "c"]
    assert await people.facts(ADA) == ()
    assert [one.said.text for one in await people.facts(BOB)] == ["stays"]
    assert words_left(database) == []
    gone = await people.forget(ADA)
    assert (gone.questions, gone.shown) == (0, ())


async def test_a_message_that_was_deleted_leaves_what_quotes_it(
    people: PeopleStore, turns: TurnStore, database: Database
) -> None:
    here = Place(CHANNEL)
    files = (
        Attachment("a.png", "image/png", image=SECRET.encode() * 1000, message_id="41"),
        Attachment("own.txt", "text/plain", text="mine"),
    )
    quotes = (
        Quote(SECRET, ADA, "Ada", here, 1, "41"),
        Quote("stays", ADA, "Ada", here, 1, "42"),
        Quote("of old", ADA, "Ada", here, 1),
    )
    await said(turns, "a", user=BOB, user_text="and?", quotes=quotes, attachments=files)
    # Nothing of what others deleted is quoted.
    await people.unquote("40")
    assert words_left(database)
    await people.unquote("41")
    assert words_left(database) == []
    left = await turns.get(TurnId("a"))
    assert left is not None
    assert (left.quotes, left.attachments) == (quotes[1:], files[1:])
    # A picture alone may be quoted as well.
    files = (replace(files[0], message_id="43"),)
    await said(turns, "b", user=BOB, attachments=files)
    await people.unquote("43")
    assert words_left(database) == []


async def test_a_question_about_a_deleted_message_links_it_no_more(
    people: PeopleStore, turns: TurnStore
) -> None:
    quote = Quote(SECRET, ADA, "Ada", Place(CHANNEL), 1, "41")
    for message, told in (
        ("40", "https://discord.com/channels/5/7/41"),
        ("41", "a deleted message"),
    ):
        asked = "Bob asked about https://discord.com/channels/5/7/41: what is it?"
        receipt = Receipt(PersonaName("sage"), asked=asked, notices=(asked,))
        turn = replace(new_turn(f"of {message}"), quotes=(quote,))
        await turns.begin(turn)
        await turns.finish(turn.id, "done", "A cat.", "", receipt)
        await people.unquote(message)
        left = await turns.get(turn.id)
        assert left is not None
        assert left.receipt is not None
        words = f"Bob asked about {told}: what is it?"
        assert (left.receipt.asked, left.receipt.notices) == (words, (words,))


async def test_a_quote_of_which_the_message_was_not_kept_leaves_by_when_that_was_written(
    people: PeopleStore, turns: TurnStore, database: Database
) -> None:
    at_ms = 1_795_000_000_123
    message = (at_ms - EPOCH_MS) << 22 | 4_194_303
    times = (at_ms - 2, at_ms - 1, at_ms, at_ms + 1)
    quotes = tuple(Quote(f"of {time}", BOB, "", Place(CHANNEL), time) for time in times)
    kept = Quote("of another", BOB, "", Place(CHANNEL), at_ms, "41")
    await said(turns, "a", quotes=(*quotes, kept))
    before = database.erasures
    await people.unquote(str(message + 2**32))
    assert database.erasures == before
    await people.unquote(str(message))
    left = await turns.get(TurnId("a"))
    assert left is not None
    assert left.quotes == (quotes[0], quotes[3], kept)


async def test_files_of_a_forgotten_person_leave_the_questions_that_quote_them(
    people: PeopleStore, turns: TurnStore
) -> None:
    files = tuple(
        Attachment(f"{message}.txt", "text/plain", SECRET, message_id=message)
        for message in ("41", "42", None)
    )
    quotes = tuple(
        Quote("look", user, "", Place(CHANNEL), 1, message)
        for user, message in ((ADA, "41"), (BOB, "42"))
    )
    await said(turns, "a", user=BOB, quotes=quotes, attachments=files)
    await people.forget(ADA)
    left = await turns.get(TurnId("a"))
    assert left is not None
    assert (left.quotes, left.attachments) == (quotes[1:], files[1:])


async def test_words_that_a_growing_answer_left_behind_go_too(
    tmp_path: Path, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = sqlite3.connect

    def elsewhere(*args: Any, **more: Any) -> sqlite3.Connection:
        connection = opened(*args, **more)
        # Some builds overwrite by themselves; most do not.
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    monkeypatch.setattr("bot.store.database.sqlite3.connect", elsewhere)
    async with Database(tmp_path / "lantern.db", utcnow=lambda: clock.now) as database:
        people, turns = PeopleStore(database), TurnStore(database)
        for name, user in (("a", ADA), ("b", BOB)) * 20:
            name += str(len(await people.said(user, 99)))
            await turns.begin(replace(new_turn(name), user=user))
            for size in (9, 90, 900, 400):
                text = (SECRET if user == ADA else "other") * size
                turns.checkpoint(TurnId(name), text, "", Receipt(SAGE))
                await database.noted()
        await people.forget(ADA)
        assert words_left(database) == []


async def test_one_fact_question_or_persona_that_is_deleted_stands_in_no_file(
    people: PeopleStore, turns: TurnStore, database: Database
) -> None:
    personas = PersonaStore(database)
    own = KeptPersona(PersonaName("ada"), "me", ADA, ADA, 1, f'{{"name": "{SECRET}"}}')
    await personas.add(own, None)
    await people.remember(fact(SECRET))
    await said(turns, "a", user_text=SECRET)
    assert words_left(database)
    await personas.delete(own.name)
    assert await people.drop(ADA, (await people.facts(ADA))[0].number)
    assert words_left(database)
    await people.remove(TurnId("a"))
    assert words_left(database) == []
    await people.remember(fact(SECRET))
    assert await people.drop(ADA, (await people.facts(ADA))[0].number)
    assert words_left(database) == []
    await personas.add(own, None)
    await personas.delete(own.name)
    assert words_left(database) == []


async def test_of_the_answers_that_went_the_newest_are_told(
    people: PeopleStore, turns: TurnStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people_module, "MOST_SHOWN", 2)
    for name in ("a", "b", "c"):
        await said(turns, name)
        await ReplyStore(database).put(f"message {name}", "9", TurnId(name), 0)
    gone = await people.forget(ADA)
    assert (gone.questions, gone.shown) == (3, (("9", "message c"), ("9", "message b")))


def words_left(database: Database) -> list[str]:
    """The files beside a database, and it, in which the secret still stands."""
    files = [file for file in database.path.parent.iterdir() if file.is_file()]
    return [file.name for file in files if SECRET.encode() in file.read_bytes()]


async def test_backups_lose_what_was_forgotten_within_eight_days(
    database: Database, clock: WallClock
) -> None:
    old = await database.back_up()
    clock.now += timedelta(days=7)
    await database.back_up()
    assert old in backups_of(database.path)
    clock.now += timedelta(days=1)
    await database.back_up()
    assert old not in backups_of(database.path)
    assert len(backups_of(database.path)) == 2
