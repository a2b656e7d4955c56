"""What people took back of late, as questions that are stored a moment later ask for it."""

from bot.chat.taken_back import MOST, TakenBack, unquoted
from bot.domain.chat import Attachment, Place, Quote, TurnRequest
from bot.domain.ids import PlaceId, UserId

ADA, BOB = UserId("ada"), UserId("bob")


def test_a_deleted_message_is_known_by_its_id() -> None:
    taken_back = TakenBack()
    taken_back.delete(41)
    assert [taken_back.is_deleted(one) for one in ("41", "42", None)] == [True, False, False]


def test_what_somebody_asked_before_they_had_it_forgotten_is_forgotten() -> None:
    taken_back = TakenBack()
    taken_back.forget(ADA, 60)
    asked = ("59", "60", None)
    assert [taken_back.is_forgotten(ADA, one) for one in asked] == [True, False, False]
    assert not taken_back.is_forgotten(BOB, "59")
    taken_back.forget(ADA, 61)
    assert taken_back.is_forgotten(ADA, "60")


def test_the_newest_are_kept_and_no_more() -> None:
    taken_back = TakenBack()
    for n in range(MOST + 1):
        taken_back.delete(n)
        taken_back.forget(UserId(str(n)), 60)
    for n, is_kept in ((0, False), (1, True), (MOST, True)):
        assert taken_back.is_deleted(str(n)) is is_kept
        assert taken_back.is_forgotten(UserId(str(n)), "59") is is_kept
    # Who has theirs forgotten again is the newest.
    taken_back.forget(UserId("1"), 60)
    taken_back.forget(ADA, 60)
    assert taken_back.is_forgotten(UserId("1"), "59")
    assert not taken_back.is_forgotten(UserId("2"), "59")


def test_of_a_question_leave_the_words_and_files_of_messages_that_were_taken_back() -> None:
    taken_back = TakenBack()
    taken_back.delete(41)
    taken_back.forget(BOB, 60)
    here = Place(PlaceId("discord:1"))
    by = ((ADA, "41"), (BOB, "42"), (BOB, "60"), (ADA, "43"), (BOB, None))
    quotes = tuple(Quote("…", user, "", here, 1, message) for user, message in by)
    files = tuple(Attachment("a.txt", "text/plain", message_id=message) for _, message in by)
    request = TurnRequest(ADA, "", here, "and?", attachments=files, quotes=quotes)
    gone = taken_back.gone_from(request)
    assert gone == {"41", "42"}
    left = unquoted(request, gone)
    assert (left.quotes, left.attachments) == (quotes[2:], files[2:])
    assert taken_back.gone_from(left) == frozenset()
