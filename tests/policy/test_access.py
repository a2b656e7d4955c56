import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Asker, Place
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import (
    MAX_ATTACHMENTS,
    MAX_FILE_CHARS,
    MAX_IMAGE_BYTES,
    MAX_TEXT_CHARS,
    MAX_TEXT_FILE_BYTES,
    AccessRules,
    Circle,
    Dms,
    PlaceRules,
    Rights,
    Upload,
    check_attachments,
    check_file_text,
    check_may_ask,
    check_may_manage,
    check_may_set,
    check_may_switch,
    check_text,
    decode_text,
    rights_of,
)
from bot.policy.choice import Scope

HOME, AWAY = PlaceId("discord:1"), PlaceId("discord:2")
ROOM, OTHER = PlaceId("discord:3"), PlaceId("discord:4")
PRIVATE = Place(ROOM, is_private=True)
ADA, BOB = UserId("discord:8"), UserId("discord:9")


KEEPERS = Circle(people={BOB}, roles={"31"})
OPEN, CLOSED = PlaceRules(), PlaceRules(own_choice=False)


@pytest.mark.parametrize("scope", ["channel", "server"])
@pytest.mark.parametrize(
    ("asker", "may"),
    [
        (Asker(ADA), False),
        (Asker(ADA, is_admin=True), True),
        (Asker(ADA, is_owner=True), True),
        (Asker(BOB), True),
        (Asker(ADA, roles={"31"}), True),
        (Asker(ADA, roles={"32"}), False),
    ],
)
def test_admins_and_those_they_name_choose_for_everybody(
    scope: Scope, asker: Asker, may: bool
) -> None:
    rights = rights_of(asker, PlaceRules(switch=KEEPERS))
    check_may_switch(scope, rights, is_private=True)
    if may:
        check_may_switch(scope, rights)
    else:
        with pytest.raises(NotPermitted, match=f"Only admins may choose for the whole {scope}"):
            check_may_switch(scope, rights)


@pytest.mark.parametrize("scope", ["me", "thread"])
def test_anybody_chooses_for_themselves_and_their_thread(scope: Scope) -> None:
    check_may_switch(scope, rights_of(Asker(ADA), OPEN))
    with pytest.raises(NotPermitted, match="nobody chooses for themselves"):
        check_may_switch(scope, rights_of(Asker(ADA), CLOSED))
    check_may_switch(scope, rights_of(Asker(ADA), CLOSED), is_private=True)


def test_where_nobody_has_a_choice_of_their_own_admins_have_none_either() -> None:
    admin = rights_of(Asker(ADA, is_admin=True), CLOSED)
    check_may_switch("thread", admin)
    with pytest.raises(NotPermitted, match="`/settings`"):
        check_may_switch("me", admin)


@pytest.mark.parametrize(
    ("rules", "load", "manage"),
    [
        (PlaceRules(), False, False),
        (PlaceRules(load=KEEPERS), True, False),
        (PlaceRules(manage=KEEPERS), True, True),
        (PlaceRules(switch=KEEPERS), False, False),
    ],
)
def test_who_manages_also_loads_and_not_the_other_way(
    rules: PlaceRules, load: bool, manage: bool
) -> None:
    rights = rights_of(Asker(BOB), rules)
    assert (rights.may_load, rights.may_manage, rights.is_admin) == (load, manage, False)
    admin = rights_of(Asker(ADA, is_admin=True), rules)
    assert (admin.may_load, admin.may_manage) == (True, True)


def test_who_may_not_is_told_who_may_and_who_can_change_it() -> None:
    check_may_manage("load models", is_allowed=True)
    with pytest.raises(NotPermitted, match=r"Only admins may load models .*`/settings`"):
        check_may_manage("load models", is_allowed=False)
    check_may_set(Rights(is_admin=True))
    with pytest.raises(NotPermitted, match="Manage Server"):
        check_may_set(Rights(may_switch=True, may_manage=True))


def may_ask(
    place: Place,
    doors: AccessRules,
    asker: Asker | None = None,
    here: PlaceRules | None = None,
) -> str:
    """Empty, or the refusal."""
    try:
        check_may_ask(doors, asker or Asker(ADA), place, here)
    except NotPermitted as refusal:
        return refusal.user_message
    return ""


@pytest.mark.parametrize("doors", [AccessRules(servers={HOME}), AccessRules()])
def test_allowed_servers_and_private_messages_are_answered(doors: AccessRules) -> None:
    assert may_ask(Place(ROOM, server=HOME), doors) == ""
    assert may_ask(PRIVATE, doors) == ""


def test_other_servers_are_not_answered() -> None:
    assert "this server" in may_ask(Place(ROOM, server=AWAY), AccessRules(servers={HOME}))


def test_other_channels_are_not_answered_and_a_threads_channel_counts() -> None:
    doors = AccessRules(channels={ROOM})
    assert may_ask(Place(ROOM, server=HOME), doors) == ""
    assert may_ask(Place(ROOM, thread=OTHER, server=HOME), doors) == ""
    assert may_ask(Place(OTHER, thread=ROOM, server=HOME), doors) == ""
    assert "this channel" in may_ask(Place(OTHER, server=HOME), doors)
    assert may_ask(PRIVATE, doors) == ""


@pytest.mark.parametrize("place", [Place(ROOM, server=HOME), Place(ROOM, is_private=True)])
@pytest.mark.parametrize(
    ("doors", "asker", "is_answered"),
    [
        (AccessRules(people={ADA}), Asker(ADA), True),
        (AccessRules(people={ADA}), Asker(BOB), False),
        (AccessRules(people={ADA}), Asker(BOB, is_owner=True), True),
        (AccessRules(roles={"friends"}), Asker(BOB, roles={"9", "friends"}), True),
        (AccessRules(roles={"friends"}), Asker(BOB, roles={"9"}), False),
        (AccessRules(people={ADA}, roles={"friends"}), Asker(ADA), True),
        (AccessRules(people={ADA}, roles={"friends"}), Asker(BOB, roles={"friends"}), True),
        (AccessRules(people={ADA}, roles={"friends"}), Asker(BOB), False),
    ],
)
def test_where_people_or_roles_are_listed_one_of_them_must_be_met(
    place: Place, doors: AccessRules, asker: Asker, is_answered: bool
) -> None:
    assert ("certain people" in may_ask(place, doors, asker)) is not is_answered


@pytest.mark.parametrize("place", [Place(ROOM, server=HOME), Place(ROOM, is_private=True)])
@pytest.mark.parametrize(
    ("asker", "is_answered"),
    [
        (Asker(ADA), False),
        (Asker(ADA, is_admin=True), False),
        (Asker(ADA, is_owner=True), True),
        (Asker(BOB), True),
        (Asker(BOB, roles={"9", "loud"}), False),
        (Asker(BOB, roles={"9", "loud"}, is_owner=True), True),
    ],
)
def test_whom_the_owner_leaves_out_is_not_answered_whatever_lets_them_in(
    place: Place, asker: Asker, is_answered: bool
) -> None:
    doors = AccessRules(people={ADA, BOB}, blocked=Circle({ADA}, {"loud"}), dms="everyone")
    here = PlaceRules(answered=Circle({ADA, BOB}))
    assert ("left you out" in may_ask(place, doors, asker, here)) is not is_answered
    # Their words are theirs all the same.
    check_may_ask(doors, asker, place, here, aim="own")


def test_channels_that_the_owner_leaves_out_are_not_answered_nor_their_threads() -> None:
    for doors in (
        AccessRules(blocked_channels={ROOM}),
        AccessRules({HOME}, {ROOM}, blocked_channels={ROOM}),
    ):
        assert "left it out" in may_ask(Place(ROOM, server=HOME), doors)
        assert "left it out" in may_ask(Place(ROOM, thread=OTHER, server=HOME), doors)
    # One thread alone can be left out as well.
    doors = AccessRules(blocked_channels={OTHER})
    assert "left it out" in may_ask(Place(ROOM, thread=OTHER, server=HOME), doors)
    assert may_ask(Place(ROOM, server=HOME), doors) == ""
    assert may_ask(PRIVATE, AccessRules(blocked_channels={ROOM})) == ""


@pytest.mark.parametrize(
    ("here", "asker", "refusal"),
    [
        (PlaceRules(channels={ROOM}), Asker(ADA), ""),
        (PlaceRules(channels={OTHER}), Asker(ADA), "an admin of this server"),
        (PlaceRules(channels={OTHER}), Asker(ADA, is_admin=True), "in this channel"),
        (PlaceRules(answered=KEEPERS), Asker(BOB), ""),
        (PlaceRules(answered=KEEPERS), Asker(ADA), "an admin of this server"),
        (PlaceRules(answered=KEEPERS), Asker(ADA, is_admin=True), ""),
        (PlaceRules(answered=KEEPERS), Asker(ADA, is_owner=True), ""),
    ],
)
def test_what_admins_set_narrows_who_is_answered(
    here: PlaceRules, asker: Asker, refusal: str
) -> None:
    said = may_ask(Place(ROOM, server=HOME), AccessRules(), asker, here)
    assert refusal in said if refusal else said == ""


@pytest.mark.parametrize(
    ("doors", "place", "refusal"),
    [
        (AccessRules(people={BOB}), Place(ROOM, server=HOME), ""),
        (AccessRules(channels={OTHER}), Place(ROOM, server=HOME), ""),
        (AccessRules(dms="off"), PRIVATE, ""),
        (AccessRules(servers={AWAY}), PRIVATE, ""),
        (AccessRules(servers={AWAY}), Place(ROOM, server=HOME), "does not answer in this server"),
    ],
)
def test_who_is_left_out_has_their_own_words_in_every_server_that_the_owner_allows(
    doors: AccessRules, place: Place, refusal: str
) -> None:
    here = PlaceRules(channels={OTHER}, answered=Circle(people={BOB}))
    assert not doors.needs_member(Asker(ADA), place, aim="own")
    if not refusal:
        check_may_ask(doors, Asker(ADA), place, here, aim="own")
        return
    with pytest.raises(NotPermitted, match=refusal):
        check_may_ask(doors, Asker(ADA), place, here, aim="own")


def test_a_thread_counts_as_its_channel_for_what_admins_set_too() -> None:
    place = Place(OTHER, thread=ROOM, server=HOME)
    assert may_ask(place, AccessRules(), here=PlaceRules(channels={OTHER})) == ""
    assert may_ask(place, AccessRules(), here=PlaceRules(channels={ROOM})) == ""
    assert may_ask(place, AccessRules(), here=PlaceRules(channels={HOME}))


def test_what_admins_set_never_lets_in_whom_the_owner_keeps_out() -> None:
    doors = AccessRules(people={ADA}, channels={OTHER})
    here = PlaceRules(channels={ROOM}, answered=Circle(people={BOB}))
    assert "its owner" in may_ask(Place(ROOM, server=HOME), doors, Asker(ADA), here)
    doors = AccessRules(people={ADA})
    assert "its owner" in may_ask(Place(ROOM, server=HOME), doors, Asker(BOB), here)


@pytest.mark.parametrize(("rule", "words"), [("off", "no direct"), ("owners", "Only its owner")])
def test_what_the_owner_set_for_direct_messages_goes_before_the_file(rule: Dms, words: str) -> None:
    assert words in may_ask(PRIVATE, AccessRules(dms="everyone"), here=PlaceRules(dms=rule))
    opened = PlaceRules(dms="everyone")
    assert may_ask(PRIVATE, AccessRules(dms=rule), here=opened) == ""


OWNER, MEMBER, STRANGER = Asker(ADA, is_owner=True), Asker(BOB), Asker(BOB, is_member=False)


@pytest.mark.parametrize(
    ("dms", "answered"),
    [
        ("off", []),
        ("owners", [OWNER]),
        ("members", [OWNER, MEMBER]),
        ("everyone", [OWNER, MEMBER, STRANGER]),
    ],
)
def test_who_may_write_directly(dms: Dms, answered: list[Asker]) -> None:
    doors = AccessRules(dms=dms)
    people = (OWNER, MEMBER, STRANGER)
    assert [asker for asker in people if not may_ask(PRIVATE, doors, asker)] == answered
    # It says nothing about servers.
    assert not any(may_ask(Place(ROOM, server=HOME), doors, asker) for asker in people)


@pytest.mark.parametrize("dms", ["members", "owners", "everyone"])
def test_a_listed_person_may_write_directly_whatever_their_servers(dms: Dms) -> None:
    assert may_ask(PRIVATE, AccessRules(people={BOB}, dms=dms), STRANGER) == ""
    assert may_ask(PRIVATE, AccessRules(people={BOB}, dms="off"), STRANGER) != ""


@pytest.mark.parametrize(
    ("doors", "asker", "place", "is_needed"),
    [
        (AccessRules(), MEMBER, PRIVATE, True),
        (AccessRules(), MEMBER, Place(ROOM, server=HOME), False),
        (AccessRules(dms="everyone"), MEMBER, PRIVATE, False),
        (AccessRules(servers={HOME}), MEMBER, PRIVATE, True),
        (AccessRules(servers={HOME}), MEMBER, Place(ROOM, server=HOME), False),
        (AccessRules(servers={HOME}), OWNER, PRIVATE, False),
        (AccessRules(servers={HOME}, people={BOB}), MEMBER, PRIVATE, False),
        (AccessRules(people={BOB}, blocked=Circle(roles={"loud"})), MEMBER, PRIVATE, True),
        (AccessRules(blocked=Circle(roles={"loud"})), OWNER, PRIVATE, False),
        (AccessRules(dms="everyone", blocked=Circle({ADA})), MEMBER, PRIVATE, False),
        (AccessRules(servers={HOME}, dms="everyone"), MEMBER, PRIVATE, False),
        (AccessRules(servers={HOME}, dms="owners"), MEMBER, PRIVATE, False),
        (AccessRules(roles={"friends"}), MEMBER, PRIVATE, True),
        (AccessRules(roles={"friends"}), MEMBER, Place(ROOM, server=HOME), True),
    ],
)
def test_membership_is_looked_up_only_where_it_decides(
    doors: AccessRules, asker: Asker, place: Place, is_needed: bool
) -> None:
    assert doors.needs_member(asker, place) is is_needed


@pytest.mark.parametrize(
    ("dms", "asker", "is_answered", "is_looked_up"),
    [
        ("members", MEMBER, True, True),
        ("members", STRANGER, False, True),
        ("everyone", STRANGER, True, False),
        ("owners", MEMBER, False, False),
        ("owners", OWNER, True, False),
        ("off", MEMBER, False, True),
    ],
)
def test_where_the_bot_is_only_somebodys_guest_the_rules_of_direct_messages_hold(
    dms: Dms, asker: Asker, is_answered: bool, is_looked_up: bool
) -> None:
    doors, elsewhere = AccessRules(dms=dms), Place(ROOM, server=HOME)
    if dms != "off":
        assert doors.needs_member(asker, elsewhere, is_guest=True) is is_looked_up
    try:
        check_may_ask(doors, asker, elsewhere, is_guest=True)
    except NotPermitted:
        assert not is_answered
    else:
        assert is_answered


@pytest.mark.parametrize(
    "text", ["hello", "x" * MAX_TEXT_CHARS, "tabs\tand\nlines", "\x1b[1mx", "\x01" + "x" * 19]
)
def test_text_is_taken(text: str) -> None:
    check_text(text)


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_an_empty_message_is_refused_unless_it_brings_a_file(text: str) -> None:
    with pytest.raises(RequestRefused, match="empty"):
        check_text(text)
    check_text(text, has_attachments=True)


def test_an_over_long_message_is_told_the_limit() -> None:
    with pytest.raises(RequestRefused, match=r"32,001 characters; at most 32,000"):
        check_text("x" * (MAX_TEXT_CHARS + 1))
    with pytest.raises(RequestRefused, match="at most 5 "):
        check_text("123456", limit=5)


@pytest.mark.parametrize("text", ["a\0b", "\x01\x02\x03 abc", "\x01" + "x" * 18])
def test_a_binary_message_is_refused(text: str) -> None:
    with pytest.raises(RequestRefused, match="binary"):
        check_text(text)


def test_files_are_told_apart_by_their_type() -> None:
    offered = [
        Upload("notes.txt", "text/plain; charset=utf-8; format=flowed", 10),
        Upload("data.json", "application/json ; charset=utf-8; q=1", 10),
        Upload("Makefile", "", 10),
        Upload("core.rs", "application/octet-stream", 10),
        Upload("paper.pdf", "application/pdf", 10),
        Upload("cat.png", "IMAGE/PNG", 10),
    ]
    kinds = check_attachments(offered)
    assert kinds == ("text", "text", "text", "text", "pdf", "image")


def test_too_many_files_are_told_the_limit() -> None:
    with pytest.raises(RequestRefused, match=f"at most {MAX_ATTACHMENTS} are taken"):
        check_attachments([Upload("a", "text/plain", 1)] * (MAX_ATTACHMENTS + 1))


@pytest.mark.parametrize(
    ("offered", "words"),
    [
        (Upload("a.txt", "text/plain", MAX_TEXT_FILE_BYTES + 1), "text files up to 512 kB"),
        (Upload("a.png", "image/png", MAX_IMAGE_BYTES + 1), "image files up to 10.0 MB"),
        (Upload("a.mp4", "video/mp4", 1), "cannot be read"),
    ],
)
def test_a_file_too_large_or_of_a_wrong_kind_is_told_what_is_taken(
    offered: Upload, words: str
) -> None:
    with pytest.raises(RequestRefused, match=words):
        check_attachments([offered])


def test_what_meets_a_limit_exactly_is_taken() -> None:
    files = [Upload("a.txt", "text/plain", MAX_TEXT_FILE_BYTES)] * (MAX_ATTACHMENTS - 1)
    image = Upload("a.png", "image/png", MAX_IMAGE_BYTES)
    assert check_attachments([*files, image]) == ("text",) * (MAX_ATTACHMENTS - 1) + ("image",)
    assert check_file_text("long.txt", "x" * MAX_FILE_CHARS) == "x" * MAX_FILE_CHARS
    check_text("12345", limit=5)


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [
        (600 * 1024, "600 kB"),
        (1024 * 1024 - 1024, "1023 kB"),
        (1024 * 1024, "1.0 MB"),
        (99 * 1024 * 1024, "99.0 MB"),
    ],
)
def test_a_size_is_told_in_the_unit_people_use(size_bytes: int, told: str) -> None:
    with pytest.raises(RequestRefused, match=f"`a.txt` is {told};"):
        check_attachments([Upload("a.txt", "text/plain", size_bytes)])


def test_a_text_file_is_decoded_whole() -> None:
    assert decode_text("a.txt", "\ufeffgrün".encode()) == "grün"


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_a_text_file_in_utf_16_is_read_by_its_mark(order: str) -> None:
    content = "\ufeffgrün".encode(order)
    assert decode_text("a.txt", content) == "grün"
    # Its second half alone has none.
    with pytest.raises(RequestRefused, match="save it as UTF-8"):
        decode_text("a.txt", content[2:])


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"MZ\x00\x00rest of it", "grün".encode("latin-1")]
)
def test_what_is_no_text_in_utf_8_is_refused_by_name_and_told_the_way_out(content: bytes) -> None:
    with pytest.raises(RequestRefused, match=r"`a\.txt` is no text in UTF-8; save it as UTF-8"):
        decode_text("a.txt", content)


def test_a_file_without_text_or_with_too_much_is_refused() -> None:
    with pytest.raises(RequestRefused, match="has no text"):
        check_file_text("scan.pdf", " \n ")
    with pytest.raises(RequestRefused, match=r"200,001 characters; at most 200,000"):
        check_file_text("long.pdf", "x" * (MAX_FILE_CHARS + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_refused(content: bytes) -> None:
    try:
        said = decode_text("f", content)
    except RequestRefused as refused:
        said = refused.user_message
    assert said.strip()
    assert "\0" not in said
