"""Who sees, makes and edits personas made in chats, and what they may be called and hold."""

from dataclasses import replace
from typing import Any

import pytest

from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import PersonaName, PlaceId, UserId
from bot.domain.personas import Character, LoadSettings, Made, Persona, PersonaScope
from bot.policy.personas import (
    LONGEST_NAME,
    Editor,
    check_may_copy,
    check_may_edit,
    is_seen,
    merged,
    near_words,
    new_name,
    owner_for,
    trusted,
)

ADA, BOB = UserId("discord:1"), UserId("discord:2")
HERE, THERE = PlaceId("discord:9"), PlaceId("discord:8")
MUSE = Persona(PersonaName("muse#0123abcd"))
OWNERS: dict[PersonaScope, str] = {"me": ADA, "server": HERE, "all": ""}


def made(scope: PersonaScope, persona: Persona = MUSE) -> Made:
    return Made(persona, scope, OWNERS[scope], ADA, 1)


@pytest.mark.parametrize(
    ("scope", "user", "server", "seen"),
    [
        ("me", ADA, THERE, True),
        ("me", BOB, HERE, False),
        ("me", None, None, False),
        ("server", BOB, HERE, True),
        ("server", ADA, THERE, False),
        ("server", ADA, None, False),
        ("all", BOB, None, True),
        ("all", None, None, True),
    ],
)
def test_a_persona_is_seen_by_those_it_is_for(
    scope: PersonaScope, user: UserId | None, server: PlaceId | None, seen: bool
) -> None:
    assert is_seen(made(scope), user, server) is seen


MAY_MAKE: list[tuple[PersonaScope, Editor, str | None]] = [
    ("me", Editor(BOB), BOB),
    ("server", Editor(BOB, HERE), None),
    ("server", Editor(BOB, HERE, is_admin=True), HERE),
    ("server", Editor(BOB, HERE, is_owner=True), HERE),
    ("server", Editor(BOB, None, is_owner=True), None),
    ("all", Editor(BOB, HERE, is_admin=True), None),
    ("all", Editor(BOB, is_owner=True), ""),
]


@pytest.mark.parametrize(("scope", "editor", "owner"), MAY_MAKE)
def test_who_may_make_one_for_whom(scope: PersonaScope, editor: Editor, owner: str | None) -> None:
    if owner is not None:
        assert owner_for(scope, editor) == owner
        return
    with pytest.raises(NotPermitted):
        owner_for(scope, editor)


MAY_EDIT: list[tuple[PersonaScope, Editor, bool]] = [
    ("me", Editor(ADA), True),
    ("me", Editor(BOB, HERE, is_admin=True), False),
    ("me", Editor(BOB, is_owner=True), True),
    ("server", Editor(ADA, HERE), True),
    ("server", Editor(BOB, HERE), False),
    ("server", Editor(BOB, HERE, is_admin=True), True),
    ("server", Editor(BOB, THERE, is_admin=True), False),
    ("all", Editor(ADA), False),
    ("all", Editor(BOB, HERE, is_admin=True), False),
    ("all", Editor(BOB, is_owner=True), True),
]


@pytest.mark.parametrize(("scope", "editor", "may"), MAY_EDIT)
def test_who_may_change_it(scope: PersonaScope, editor: Editor, may: bool) -> None:
    if may:
        check_may_edit(made(scope), editor)
        return
    who = "the admins of this server" if scope == "server" else "the owner of this Lantern"
    words = rf"\*\*muse\*\* is not yours to change: its maker and {who} may\."
    with pytest.raises(NotPermitted, match=words):
        check_may_edit(made(scope), editor)


def test_texts_of_a_private_persona_are_its_makers_and_the_owners() -> None:
    private = replace(MUSE, local_only=True)
    stranger, owner = Editor(BOB, HERE, is_admin=True), Editor(BOB, is_owner=True)
    check_may_copy(MUSE, made("server"), stranger)
    check_may_copy(MUSE, None, stranger)
    check_may_copy(private, made("server", private), Editor(ADA))
    check_may_copy(private, None, owner)
    for kept in (made("server", private), None):
        with pytest.raises(NotPermitted, match=r"muse.* is local only"):
            check_may_copy(private, kept, stranger)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (" \n ", "needs a name"),
        ("a#b", "holds no `#`"),
        ("a`b", "holds no `#`"),
        ("@everyone", "does not begin with `@`"),
        ("x" * (LONGEST_NAME + 1), f"at most {LONGEST_NAME}"),
        ("SAGE", "There is a persona **sage** already. Take another name, or begin with its texts"),
        ("Muse", "There is a persona **muse** already. Take another name, or change that one by"),
        ("Zoe\u0308", "There is a persona **zo\u00eb** already"),
    ],
)
def test_names_that_are_none_or_taken_are_refused(typed: str, words: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        new_name(typed, ["sage", "muse#0123abcd", "zo\u00eb"])
    assert words in refused.value.user_message


def test_a_name_is_made_one_line() -> None:
    assert new_name("  Ada \n Lovelace\x07 ", ["ada"]) == "Ada Lovelace"
    assert new_name("x" * LONGEST_NAME, []) == "x" * LONGEST_NAME
    assert near_words("sagge", ["sage", "storyteller", "sagge#0123abcd"]) == (
        "Called nearly the same: **sage**."
    )
    assert near_words("muse", ["sage", "muse#0123abcd"]) == ""
    assert near_words("abcd", ["Abcde", "xbcd"]) == "Called nearly the same: **Abcde**."
    alike = near_words("abcde", ["abcdz", "abcdx", "abcdw", "abcdy"])
    assert alike == "Called nearly the same: **abcdw**, **abcdx**, **abcdy**."


def test_what_holds_other_peoples_memory_is_for_admins() -> None:
    greedy = replace(
        MUSE, keep_loaded=True, idle_ttl_s=9.0, load=LoadSettings(context_length=9), priority="high"
    )
    plain, notes = trusted(greedy, Editor(ADA))
    assert plain == MUSE
    assert len(notes) == 1
    for editor in (Editor(ADA, HERE, is_admin=True), Editor(ADA, is_owner=True)):
        assert trusted(greedy, editor) == (greedy, ())
    modest = replace(MUSE, priority="low", local_only=True)
    assert trusted(modest, Editor(ADA)) == (modest, ())


WAS = Persona(MUSE.name, greeting="Hm?", character=Character(scenario="Day."))


def wrote(greeting: str = "Hm?", scenario: str = "Day.", **more: Any) -> Persona:
    return replace(WAS, greeting=greeting, character=Character(scenario=scenario), **more)


@pytest.mark.parametrize(
    ("was", "mine", "theirs", "made", "both"),
    [
        (WAS, wrote("mine"), wrote(scenario="theirs"), wrote("mine", "theirs"), ()),
        (WAS, wrote(scenario="mine"), wrote("theirs"), wrote("theirs", "mine"), ()),
        (WAS, wrote("mine"), wrote("theirs"), wrote("mine"), ("greeting",)),
        (WAS, wrote("both"), wrote("both"), wrote("both"), ()),
        (WAS, wrote(), wrote("theirs"), wrote("theirs"), ()),
        (WAS, wrote("", "a"), wrote("b", "c"), wrote("", "a"), ("greeting", "character.scenario")),
        # Nobody knows which of both wrote what differs.
        (None, wrote(), wrote("theirs"), wrote(), ("greeting",)),
        (None, wrote("both"), wrote("both"), wrote("both"), ()),
        # Closed by somebody else it stays closed; opened by somebody else, the words that were
        # written while it was closed do not go along unasked.
        (WAS, wrote("mine"), wrote(local_only=True), wrote("mine", local_only=True), ()),
        (
            wrote(local_only=True),
            wrote("mine", local_only=True),
            wrote(),
            wrote("mine", local_only=True),
            ("local_only",),
        ),
        (wrote(cloud=()), wrote("mine", cloud=()), wrote(), wrote("mine", cloud=()), ("cloud",)),
        (
            wrote(local_only=True),
            wrote(),
            wrote("theirs", local_only=True),
            wrote("theirs"),
            ("local_only",),
        ),
        (WAS, wrote(local_only=True), wrote("theirs"), wrote("theirs", local_only=True), ()),
    ],
)
def test_of_two_changes_both_are_kept_and_what_both_wrote_is_named(
    was: Persona | None, mine: Persona, theirs: Persona, made: Persona, both: tuple[str, ...]
) -> None:
    theirs, made = replace(theirs, source="theirs"), replace(made, source="theirs")
    assert merged(was, mine, theirs) == (made, both)
