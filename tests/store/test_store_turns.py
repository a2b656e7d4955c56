import sqlite3
from dataclasses import replace

import pytest
from clocks import WallClock
from store_values import CHANNEL, SAGE, new_turn

from bot.domain.chat import Attachment, Place, Quote, Receipt, Turn, TurnStatus, Usage
from bot.domain.errors import StoreUnavailable
from bot.domain.ids import ModelKey, PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.store.database import Database
from bot.store.turns import BRANCH_IMAGE_BYTES, BRANCH_TURNS, IMAGE_BYTES, TurnStore

ADA = UserId("discord:1")
RECEIPT = Receipt(SAGE, model=ModelKey("qwen/qwen3-8b"), usage=Usage(10, 20))
THREAD = Place(CHANNEL, thread=PlaceId("discord:77"), server=PlaceId("discord:5"))


@pytest.fixture
def turns(database: Database) -> TurnStore:
    return TurnStore(database)


async def chain(turns: TurnStore, *names: str) -> None:
    parent: str | None = None
    for name in names:
        await turns.begin(new_turn(name, parent=parent))
        parent = name


async def finish(turns: TurnStore, name: str, status: TurnStatus = "done") -> None:
    await turns.finish(TurnId(name), status, f"reply of {name}", f"thoughts of {name}", RECEIPT)


async def answered(turns: TurnStore, turn: Turn) -> None:
    await turns.begin(turn)
    await finish(turns, str(turn.id))


async def latest(turns: TurnStore, conversation: PlaceId, persona: PersonaName) -> str | None:
    """The turn a new message goes on from."""
    line = await turns.newest_branch(conversation, persona, ADA)
    return str(line[-1].id) if line else None


def ids(turns: tuple[Turn, ...]) -> list[str]:
    return [str(turn.id) for turn in turns]


@pytest.mark.parametrize(
    "place", [Place(CHANNEL), THREAD, Place(PlaceId("terminal:1"), is_private=True)]
)
async def test_a_turn_comes_back_as_it_was_begun(turns: TurnStore, place: Place) -> None:
    turn = new_turn("a", place=place, text="naïve \0 text 🙂")
    await turns.begin(turn)

    assert await turns.get(turn.id) == turn


async def test_a_finished_turn_has_its_reply_and_receipt(turns: TurnStore) -> None:
    turn = new_turn("a")
    await turns.begin(turn)
    await finish(turns, "a")

    assert await turns.get(turn.id) == replace(
        turn,
        status="done",
        reply_text="reply of a",
        reasoning_text="thoughts of a",
        receipt=RECEIPT,
    )


async def test_an_unknown_turn_is_none(turns: TurnStore) -> None:
    assert await turns.get(TurnId("nobody")) is None
    assert await turns.branch(TurnId("nobody")) == ()
    assert await turns.last_in(CHANNEL) is None
    assert await latest(turns, CHANNEL, SAGE) is None


async def test_a_turn_is_begun_once(turns: TurnStore) -> None:
    await turns.begin(new_turn("a", text="first"))

    with pytest.raises(StoreUnavailable):
        await turns.begin(new_turn("a", text="second"))

    turn = await turns.get(TurnId("a"))
    assert turn is not None
    assert turn.user_text == "first"


async def test_a_parent_nobody_knows_makes_a_root(turns: TurnStore) -> None:
    await turns.begin(new_turn("a", parent="deleted"))

    turn = await turns.get(TurnId("a"))
    assert turn is not None
    assert turn.parent is None


async def test_the_text_so_far_is_kept_while_a_turn_runs(turns: TurnStore) -> None:
    await turns.begin(new_turn("a"))
    turns.checkpoint(TurnId("a"), "half an ans", "hmm", Receipt(SAGE))
    await turns.database.noted()

    turn = await turns.get(TurnId("a"))
    assert turn is not None
    assert (turn.reply_text, turn.reasoning_text) == ("half an ans", "hmm")
    assert turn.status == "running"


async def test_a_newer_text_takes_the_place_of_one_that_waits_to_be_stored(
    turns: TurnStore,
) -> None:
    stored: list[int] = []

    def count(connection: sqlite3.Connection) -> None:
        stored.append(connection.total_changes)

    await turns.begin(new_turn("a"))
    await turns.begin(new_turn("b"))
    turns.database.note(count)
    for words in ("one", "one two", "one two three"):
        turns.checkpoint(TurnId("a"), words, "", Receipt(SAGE))
    turns.checkpoint(TurnId("b"), "of another", "", Receipt(SAGE))
    turns.database.note(count)
    await turns.database.noted()

    both = [await turns.get(TurnId(name)) for name in "ab"]
    assert [turn and turn.reply_text for turn in both] == ["one two three", "of another"]
    assert stored[1] - stored[0] == 2


async def test_an_older_text_takes_no_answers_place_that_is_gone_on_with(turns: TurnStore) -> None:
    await turns.begin(new_turn("a"))
    turns.checkpoint(TurnId("a"), "half", "", Receipt(SAGE))
    await turns.finish(TurnId("a"), "partial", "half of it", "", Receipt(SAGE))
    assert await turns.resume(TurnId("a"))
    await turns.database.noted()

    turn = await turns.get(TurnId("a"))
    assert turn is not None
    assert (turn.status, turn.reply_text) == ("running", "half of it")


async def test_a_turn_ends_once(turns: TurnStore) -> None:
    await turns.begin(new_turn("a"))
    await finish(turns, "a")
    turns.checkpoint(TurnId("a"), "late words", "", Receipt(SAGE))
    await turns.database.noted()
    await turns.finish(TurnId("a"), "failed", "", "", Receipt(SAGE, finish="error"))

    turn = await turns.get(TurnId("a"))
    assert turn is not None
    assert (turn.status, turn.reply_text) == ("done", "reply of a")


async def test_a_branch_runs_from_the_root_to_its_turn(turns: TurnStore) -> None:
    await chain(turns, "a", "b", "c")
    await turns.begin(new_turn("b2", parent="a"))
    await turns.begin(new_turn("stranger"))

    assert ids(await turns.branch(TurnId("c"))) == ["a", "b", "c"]
    assert ids(await turns.branch(TurnId("b2"))) == ["a", "b2"]


async def test_only_the_last_turn_of_a_branch_carries_thoughts_and_receipt(
    turns: TurnStore,
) -> None:
    await chain(turns, "a", "b")
    await finish(turns, "a")
    await finish(turns, "b")

    first, last = await turns.branch(TurnId("b"))

    assert (first.reply_text, first.reasoning_text, first.receipt) == ("reply of a", "", None)
    assert (last.reply_text, last.reasoning_text, last.receipt) == (
        "reply of b",
        "thoughts of b",
        RECEIPT,
    )


@pytest.mark.slow
async def test_of_a_very_long_branch_the_newest_turns_are_read(turns: TurnStore) -> None:
    names = [f"{number:04}" for number in range(BRANCH_TURNS + 5)]
    await chain(turns, *names)

    assert ids(await turns.branch(TurnId(names[-1]))) == names[5:]


@pytest.mark.parametrize(
    ("text_bytes", "read"),
    [(0, "c"), (1, "c"), (21, "c"), (22, "bc"), (42, "bc"), (43, "abc"), (10**9, "abc")],
)
async def test_of_a_branch_as_many_of_the_newest_turns_are_read_as_hold_so_many_bytes(
    turns: TurnStore, text_bytes: int, read: str
) -> None:
    parent = None
    for name in "abc":
        # 11 bytes in 9 characters, a NUL among them, and 10 bytes of reply.
        picture = Attachment(f"{name}.png", "image/png", image=b"x")
        await turns.begin(new_turn(name, parent=parent, text="né\0é 1234", attachments=(picture,)))
        await finish(turns, name)
        parent = name

    line = await turns.branch(TurnId("c"), text_bytes=text_bytes)

    assert ids(line) == list(read)
    assert [turn.attachments[0].name for turn in line] == [f"{name}.png" for name in read]
    assert line == await turns.newest_branch(CHANNEL, SAGE, ADA, text_bytes=text_bytes)


async def test_a_new_message_goes_on_from_the_newest_turn_however_that_stands(
    turns: TurnStore,
) -> None:
    await chain(turns, "a", "b", "c", "d")
    await finish(turns, "a")
    await finish(turns, "b", "partial")
    await finish(turns, "c", "failed")

    line = await turns.newest_branch(CHANNEL, SAGE, ADA)

    assert ids(line) == ["a", "b", "c", "d"]
    assert [turn.receipt is not None for turn in line] == [False, False, True, False]


async def test_personas_and_places_have_histories_of_their_own(turns: TurnStore) -> None:
    await answered(turns, new_turn("a"))
    await answered(turns, new_turn("b", persona="pirate"))
    await answered(turns, new_turn("c", place=THREAD))

    assert await latest(turns, CHANNEL, SAGE) == "a"
    assert await latest(turns, CHANNEL, PersonaName("pirate")) == "b"
    assert await latest(turns, THREAD.conversation, SAGE) == "c"


async def test_a_reset_begins_afresh_for_every_persona_of_one_place(turns: TurnStore) -> None:
    await answered(turns, new_turn("a"))
    await answered(turns, new_turn("b", persona="pirate"))
    await answered(turns, new_turn("c", place=THREAD))
    await turns.reset(CHANNEL)
    await turns.reset(CHANNEL)

    assert await latest(turns, CHANNEL, SAGE) is None
    assert await latest(turns, CHANNEL, PersonaName("pirate")) is None
    assert await latest(turns, THREAD.conversation, SAGE) == "c"

    await answered(turns, new_turn("d"))
    assert await latest(turns, CHANNEL, SAGE) == "d"


async def test_a_reset_before_the_first_turn_hides_nothing(turns: TurnStore) -> None:
    await turns.reset(CHANNEL)
    await answered(turns, new_turn("a"))

    assert await latest(turns, CHANNEL, SAGE) == "a"


async def test_a_reset_outlives_the_deletion_of_the_turns_before_it(
    turns: TurnStore, database: Database
) -> None:
    await answered(turns, new_turn("a"))
    await turns.reset(CHANNEL)
    await database.write(lambda c: c.execute("DELETE FROM turn").rowcount)
    await answered(turns, new_turn("b"))

    assert await latest(turns, CHANNEL, SAGE) == "b"


async def test_the_last_turn_of_a_place_is_found_however_it_ended(turns: TurnStore) -> None:
    await chain(turns, "a")
    await turns.begin(new_turn("b", persona="pirate"))
    await finish(turns, "b", "failed")

    last = await turns.last_in(CHANNEL)

    assert last is not None
    assert (last.id, last.receipt) == ("b", RECEIPT)


async def test_turns_a_killed_lantern_left_are_closed_honestly(turns: TurnStore) -> None:
    await chain(turns, "whole", "cut", "mute")
    await finish(turns, "whole")
    by = Receipt(SAGE, provider=ProviderName("zai"))
    turns.checkpoint(TurnId("cut"), "half an ans", "", by)
    await turns.database.noted()

    closed = await turns.close_running()

    assert [(turn.id, turn.status) for turn in closed] == [
        ("cut", "partial"),
        ("mute", "failed"),
    ]
    assert [await turns.get(turn.id) for turn in closed] == list(closed)
    assert all(turn.receipt and turn.receipt.finish == "error" for turn in closed)
    assert closed[0].reply_text == "half an ans"
    assert closed[0].receipt
    assert closed[0].receipt.provider == "zai"
    assert await turns.close_running() == ()


async def test_quotes_come_back_in_order_with_their_origin(turns: TurnStore) -> None:
    thread = Place(PlaceId("discord:9"), PlaceId("discord:91"), PlaceId("discord:7"))
    nowhere = Place(PlaceId("discord:8"), is_private=True, is_certain=False)
    quotes = (
        Quote("né\0é", UserId("discord:2"), "Bob", thread, 1_600_000_000_000, "4711"),
        Quote("It is green.", UserId("discord:1"), "Ada", nowhere, 1_700_000_000_000),
    )
    await turns.begin(replace(new_turn("a"), quotes=quotes))
    await turns.begin(new_turn("b", parent="a"))

    first, last = await turns.branch(TurnId("b"))
    assert (first.quotes, last.quotes) == (quotes, ())


async def test_attachments_come_back_in_order_for_a_retry(turns: TurnStore) -> None:
    attachments = (
        Attachment("notes.txt", "text/plain", text="remember the milk \ud83d\ude42"),
        Attachment("cat.png", "image/png", image=b"\x89PNG\0", message_id="4711"),
        Attachment("empty.txt", "text/plain", text=""),
    )
    await turns.begin(new_turn("a", attachments=attachments))
    await turns.begin(new_turn("b", parent="a"))

    first, last = await turns.branch(TurnId("b"))

    assert first.attachments == (
        replace(attachments[0], text="remember the milk 🙂"),
        *attachments[1:],
    )
    assert last.attachments == ()


@pytest.mark.parametrize(("size", "is_kept"), [(IMAGE_BYTES, True), (IMAGE_BYTES + 1, False)])
async def test_an_image_too_large_to_keep_leaves_its_name(
    turns: TurnStore, size: int, is_kept: bool
) -> None:
    await turns.begin(
        new_turn("a", attachments=(Attachment("cat.png", "image/png", image=b"x" * size),))
    )

    turn = await turns.get(TurnId("a"))

    assert turn is not None
    (attachment,) = turn.attachments
    assert attachment.name == "cat.png"
    assert (attachment.image is not None) is is_kept


@pytest.mark.slow
async def test_a_branch_brings_the_newest_images_that_fit_the_bound(turns: TurnStore) -> None:
    image = Attachment("cat.png", "image/png", image=b"x" * IMAGE_BYTES)
    parent = None
    for name in "abcdef":
        await turns.begin(new_turn(name, parent=parent, attachments=(image,)))
        parent = name

    line = await turns.branch(TurnId("f"))

    kept = [bool(turn.attachments[0].image) for turn in line]
    assert kept == [False, False, True, True, True, True]
    assert sum(kept) * IMAGE_BYTES == BRANCH_IMAGE_BYTES


async def test_halves_of_a_character_from_a_torn_stream_are_stored(turns: TurnStore) -> None:
    await turns.begin(new_turn("a"))
    turns.checkpoint(TurnId("a"), "joined \ud83d\ude42 lone \ud83d.", "\udc00", Receipt(SAGE))
    await turns.database.noted()

    turn = await turns.get(TurnId("a"))

    assert turn is not None
    assert (turn.reply_text, turn.reasoning_text) == (
        "joined 🙂 lone \N{REPLACEMENT CHARACTER}.",
        "\ufffd",
    )


async def test_deleting_a_turn_takes_its_attachments_and_frees_its_children(
    turns: TurnStore, database: Database
) -> None:
    await turns.begin(new_turn("a", attachments=(Attachment("a.txt", "text/plain", text="x"),)))
    await turns.begin(new_turn("b", parent="a"))
    await database.write(lambda c: c.execute("DELETE FROM turn WHERE id = 'a'").rowcount)

    assert ids(await turns.branch(TurnId("b"))) == ["b"]
    left = await database.read(lambda c: c.execute("SELECT count(*) FROM attachment").fetchone()[0])
    assert left == 0


async def test_when_a_turn_last_changed_is_kept(
    turns: TurnStore, database: Database, clock: WallClock
) -> None:
    await turns.begin(new_turn("a"))
    clock.advance(2.5)
    await finish(turns, "a")

    query = "SELECT changed_at_ms FROM turn"
    changed: int = await database.read(lambda c: c.execute(query).fetchone()[0])
    assert changed == clock.now.timestamp() * 1000


# --- threads -------------------------------------------------------------------------------


CHILD = PlaceId("discord:77")


async def opened(turns: TurnStore, on: str, thread: PlaceId = CHILD) -> tuple[Turn, ...]:
    """What the first words of a thread go on from."""
    return await turns.newest_branch(thread, SAGE, ADA, opened_on=TurnId(on))


async def test_a_thread_begins_at_the_answer_it_was_opened_on(turns: TurnStore) -> None:
    await chain(turns, "a", "b", "c")

    assert ids(await opened(turns, "b")) == ["a", "b"]
    await turns.begin(new_turn("t", parent="b", place=THREAD))
    assert ids(await opened(turns, "b")) == ["a", "b", "t"]


async def test_a_thread_that_was_begun_afresh_is_not_led_back(turns: TurnStore) -> None:
    await chain(turns, "a")
    await turns.begin(new_turn("t", parent="a", place=THREAD))
    await turns.reset(PlaceId("discord:77"))

    assert await opened(turns, "a") == ()


async def test_threads_and_their_channel_do_not_see_each_other(turns: TurnStore) -> None:
    await chain(turns, "a", "b")
    other = replace(THREAD, thread=PlaceId("discord:78"))
    await turns.begin(new_turn("t", parent="b", place=THREAD))
    await turns.begin(new_turn("o", parent="b", place=other))
    await turns.begin(new_turn("c", parent="b"))

    assert ids(await opened(turns, "b")) == ["a", "b", "t"]
    assert ids(await opened(turns, "b", PlaceId("discord:78"))) == ["a", "b", "o"]
    assert await latest(turns, CHANNEL, SAGE) == "c"


async def test_a_thread_opened_on_a_branch_aside_is_one_talk_for_everybody(
    turns: TurnStore,
) -> None:
    await chain(turns, "a", "b")
    await turns.begin(new_turn("aside", parent="a"))
    await turns.begin(new_turn("t", parent="aside", place=THREAD))
    await turns.begin(new_turn("more", parent="aside"))

    bob = UserId("discord:2")
    line = await turns.newest_branch(PlaceId("discord:77"), SAGE, bob)
    assert ids(line) == ["a", "aside", "t"]
    # And the branch aside goes on in its channel as if there were no thread.
    assert ids(await turns.newest_branch(CHANNEL, SAGE, ADA)) == ["a", "aside", "more"]
    assert ids(await turns.newest_branch(CHANNEL, SAGE, bob)) == ["a", "b"]


async def test_a_thread_keeps_what_it_was_opened_on_whatever_is_pressed_there(
    turns: TurnStore,
) -> None:
    await chain(turns, "a")
    await finish(turns, "a", "partial")
    await turns.begin(new_turn("t", parent="a", place=THREAD))
    await turns.begin(new_turn("b", parent="a"))
    await turns.begin(new_turn("again"), "retry", TurnId("a"))

    assert ids(await turns.branch(TurnId("t"))) == ["a", "t"]
    assert ids(await turns.branch(TurnId("b"))) == ["again", "b"]
