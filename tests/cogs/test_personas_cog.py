"""``/personas`` in Discord: forms, first answers, files; over a real Lantern."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import discord
import pytest
from cogs_doubles import OWNER, give, http_error, interaction_of, said_to
from discord import ui
from hostile import MASKS, live_links
from house import QWEN, House, house, sim
from makers_cards import MAKERS
from stand_ins import double

from bot.chat.personas import KEPT_BOTH
from bot.documents.cards import MAX_FILE_BYTES, read_file
from bot.documents.persona_files import changed
from bot.domain.chat import Asker
from bot.domain.errors import BotError, NotPermitted, RequestRefused, UnknownName
from bot.domain.ids import PersonaName, UserId
from bot.domain.personas import Persona
from bot.policy.access import EVERY_RIGHT
from bot.policy.names import shown_name
from bot.policy.ratelimit import RateRule
from cogs._access import Access
from cogs._forms import LONGEST, FormButton, FormKey, clash_words, form_texts
from cogs._places import DiscordRules, place_of, user_id
from cogs._questions import Questions
from cogs.personas import GONE, MOST_FORMS, PersonasCog

SLOW = sim("studio", QWEN, time_scale=0.02)


def cog_of(home: House, access: Access) -> PersonasCog:
    return PersonasCog(home.lantern, access, Questions(home.lantern.questions))


@dataclass
class Room:
    """The cog over a Lantern."""

    home: House
    cog: PersonasCog

    async def form(self, command: Any, *options: object, user: int = 1, **more: Any) -> ui.Modal:
        """The form that a command opens."""
        interaction = interaction_of(user, **more)
        await give(command, self.cog, interaction, *options)
        (call,) = interaction.response.send_modal.await_args_list
        return call.args[0]

    async def create(self, name: str, user: int = 1, **texts: str) -> Any:
        """A form written and sent; the interaction that shows it."""
        form = await self.form(self.cog.create, name, "me", None, user=user)
        return await self.sent(form, user, **texts)

    async def sent(self, form: ui.Modal, user: int = 1, **texts: str) -> Any:
        """A form sent; its interaction."""
        interaction = sending(form, user, **texts)
        await self.cog.on_interaction(interaction)
        return interaction

    def restart(self) -> None:
        """Another process comes, which knows nothing of forms."""
        self.cog = cog_of(self.home, Access(DiscordRules()))

    async def press(self, shown: Any, act: str, user: int = 1, **more: Any) -> Any:
        """A button pressed under what was shown."""
        pressed = interaction_of(user, **more)
        ticket = last(shown)["view"].children[0].item.custom_id.split(":")[-1]
        await self.cog.on_form_button(pressed, act, ticket)
        return pressed

    def persona(self, name: str, user: int = 1) -> Persona:
        return self.home.lantern.shelf.find(name, UserId(f"discord:{user}"))


def sending(form: ui.Modal, user: int = 1, **texts: str) -> Any:
    """The interaction that sends a form, as Discord fills it in."""
    interaction = interaction_of(user)
    interaction.type, interaction.message = discord.InteractionType.modal_submit, None
    typed = written_in(form) | {key.replace("__", "."): text for key, text in texts.items()}
    fields = [{"component": {"custom_id": key, "value": text}} for key, text in typed.items()]
    interaction.data = {"custom_id": form.custom_id, "components": fields}
    return interaction


def written_in(form: ui.Modal) -> dict[str, str]:
    """What stands in a form's fields, by key."""
    labels = [label for label in form.children if isinstance(label, ui.Label)]
    fields = [label.component for label in labels if isinstance(label.component, ui.TextInput)]
    return {field.custom_id: field.default or "" for field in fields}


def last(interaction: Any) -> dict[str, Any]:
    """What the message shows now."""
    return interaction.edit_original_response.await_args.kwargs


def acts_of(interaction: Any) -> list[str]:
    return [button.item.label for button in last(interaction)["view"].children]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncGenerator[Room]:
    async with opened(tmp_path) as made:
        yield made


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Room]:
    texts = {"sage": "model: qwen/qwen3-8b\nsystem_prompt: Be calm.\ngreeting: Yes?\n"}
    async with house(folder, SLOW, personas=texts) as home:
        yield Room(home, cog_of(home, Access(DiscordRules())))


async def test_a_form_shows_the_first_answer_and_saves_on_a_press(room: Room) -> None:
    shown = await room.create("Muse", system_prompt="[[say I rhyme.]]", settings="model: auto")
    text = last(shown)["content"]
    assert text.startswith("**Muse** is not saved yet.")
    assert "> " in text.splitlines()[1]
    assert acts_of(shown) == ["Save", "Change", "Discard"]
    with pytest.raises(UnknownName):
        room.persona("muse")
    saved = await room.press(shown, "save")
    assert last(saved)["content"].startswith("💾 **Muse** is saved.")
    assert last(saved)["view"] is None
    assert room.persona("muse").system_prompt == "[[say I rhyme.]]"
    # A later press finds nothing to do, and takes back nothing that was said.
    again = await room.press(shown, "discard")
    again.response.defer.assert_awaited_once_with()
    again.edit_original_response.assert_not_awaited()


@pytest.mark.parametrize("act", ["save", "discard"])
async def test_a_name_that_looks_like_a_link_is_none_in_what_a_form_says(
    room: Room, act: str
) -> None:
    shown = await room.create(MASKS[0], system_prompt="[[say I rhyme.]]", settings="model: auto")
    for interaction in (shown, await room.press(shown, act)):
        assert "bank.example" in last(interaction)["content"]
        assert live_links(last(interaction)["content"]) == []


async def test_of_two_presses_at_once_one_saves_and_the_other_says_nothing(room: Room) -> None:
    shown = await room.create("Muse")
    async with asyncio.TaskGroup() as tasks:
        pressed = [tasks.create_task(room.press(shown, act)) for act in ("save", "save", "discard")]
    one, *others = [task.result() for task in pressed]
    assert last(one)["content"].startswith("💾 **Muse** is saved.")
    for other in others:
        assert said_to(other) == []
        other.edit_original_response.assert_not_awaited()


async def test_a_form_of_before_a_restart_says_that_nothing_was_saved(room: Room) -> None:
    shown = await room.create("Muse")
    room.restart()
    again = await room.press(shown, "save")
    again.response.edit_message.assert_awaited_once_with(content=GONE, view=None)


async def test_a_form_opened_before_a_restart_is_gone_on_with(room: Room) -> None:
    await room.press(await room.create("Muse", greeting="Hm?"), "save")
    new = await room.form(room.cog.create, "A: b", "me", None)
    edit = await room.form(room.cog.edit, "muse", "character")
    room.restart()
    for shown in (
        await room.sent(new, greeting="Typed."),
        await room.sent(edit, character__scenario="Night."),
    ):
        assert acts_of(shown) == ["Save", "Change", "Discard"]
        await room.press(shown, "save")
        # Delivered again, as a gateway does that resumes, it changes nothing.
        await room.cog.on_interaction(shown)
    assert room.persona("A: b").greeting == "Typed."
    muse = room.persona("muse")
    assert (muse.greeting, muse.character.scenario) == ("Hm?", "Night.")


async def test_what_was_typed_into_a_form_nobody_can_go_on_with_is_given_back(room: Room) -> None:
    await room.press(await room.create("Muse"), "save")
    copy = await room.form(room.cog.create, "Bard", "me", "muse")
    edit = await room.form(room.cog.edit, "muse", "persona")
    await give(room.cog.delete, room.cog, interaction_of(), "muse")
    room.restart()
    for form, why in ((copy, GONE), (edit, "no persona")):
        shown = await room.sent(form, greeting="Typed.", system_prompt="Hours of work.")
        assert why in said_to(shown)[0]
        file = shown.followup.send.await_args.kwargs["file"]
        assert "Greeting:\nTyped.\n" in (text := file.fp.read().decode())
        assert "Hours of work." in text


def test_a_forms_id_holds_all_that_it_is_about_or_no_name_at_all() -> None:
    for key in (
        FormKey("1234abcd", "character", "server", "edit", "n" * 64),
        FormKey("1234abcd", "persona", "me", "edit", "n.7:#", 12),
        FormKey("1234abcd", "persona", "me", "copy", ""),
    ):
        assert FormKey.read(key.form("x", {}).custom_id) == key
    long = FormKey("1234abcd", "character", "server", "edit", "n" * 65)
    assert FormKey.read(long.form("x", {}).custom_id) == FormKey(
        "1234abcd", "character", "server", "copy", ""
    )
    for other in ("set:1:2:limits", "form:a:b:c:d:e", "form", ""):
        assert FormKey.read(other) is None


@pytest.mark.parametrize("restarts", [False, True])
async def test_of_two_who_edit_one_persona_the_second_is_told_what_the_first_wrote(
    room: Room, restarts: bool
) -> None:
    await room.press(await room.create("Muse", greeting="Hm?", system_prompt="Be kind."), "save")
    first, second = [await room.form(room.cog.edit, "muse", "persona") for _ in range(2)]
    await room.press(await room.sent(first, greeting="First.", description="a poet"), "save")
    if restarts:
        room.restart()
    shown = await room.sent(second, greeting="Second.", system_prompt="Rhyme.")
    refused = await room.press(shown, "save")
    (said,) = said_to(refused)
    assert "was changed elsewhere while you wrote, so nothing is saved yet" in said
    assert "• Greeting: First." in said
    # What only one of both wrote is no matter, where it is known who wrote it.
    assert ("In one line, for lists: a poet" in said) is restarts
    assert "Rhyme" not in said
    assert room.persona("muse").greeting == "First."
    form = (await room.press(shown, "change")).response.send_modal.await_args.args[0]
    kept = written_in(form)
    assert (kept["greeting"], kept["system_prompt"]) == ("Second.", "Rhyme.")
    # Sent again, it takes nothing back that the first wrote alone.
    assert kept["description"] == ("" if restarts else "a poet")
    saved = await room.press(shown, "save")
    assert last(saved)["content"].startswith("💾 **Muse** is changed.")
    muse = room.persona("muse")
    assert (muse.greeting, muse.system_prompt) == ("Second.", "Rhyme.")
    assert muse.description == ("" if restarts else "a poet")


async def test_of_two_saves_in_one_instant_the_second_is_told_or_adds_to_it(room: Room) -> None:
    await room.press(await room.create("Muse", greeting="Hm?"), "save")
    one, two = [await room.form(room.cog.edit, "muse", "persona") for _ in range(2)]
    other = await room.form(room.cog.edit, "muse", "character")
    shown = [await room.sent(one, greeting="One."), await room.sent(two, greeting="Two.")]
    shown.append(await room.sent(other, character__scenario="Night."))
    async with asyncio.TaskGroup() as tasks:
        pressed = [tasks.create_task(room.press(each, "save")) for each in shown]
    said = [said_to(task.result()) for task in pressed]
    (told,) = [words for found in said for words in found]
    assert "was changed elsewhere while you wrote, so nothing is saved yet" in told
    muse = room.persona("muse")
    assert muse.character.scenario == "Night."
    assert f"• Greeting: {muse.greeting}" in told
    assert muse.greeting == ("Two." if said[0] else "One.")


def test_what_stands_against_ones_own_words_is_told_in_short_lines() -> None:
    long = changed(Persona(PersonaName("x#0123abcd")), {"greeting": f"g\n{'h' * 199}"})
    head, *lines, _ = clash_words(long, ("greeting", "description", "model")).splitlines()
    assert head.startswith("**x** was changed elsewhere")
    assert lines == [
        f"• Greeting: g {'h' * 198}…",
        "• In one line, for lists: nothing",
        "• `model`: auto",
    ]
    short = changed(long, {"greeting": "h" * 200})
    assert f"• Greeting: {'h' * 200}\n" in clash_words(short, ("greeting",))


async def test_what_two_wrote_in_other_parts_of_one_persona_is_kept_of_both(room: Room) -> None:
    await room.press(await room.create("Muse", greeting="Hm?"), "save")
    one = await room.form(room.cog.edit, "muse", "persona")
    other = await room.form(room.cog.edit, "muse", "character")
    await room.press(await room.sent(one, greeting="Yes?"), "save")
    saved = await room.press(await room.sent(other, character__scenario="Night."), "save")
    assert KEPT_BOTH in last(saved)["content"]
    muse = room.persona("muse")
    assert (muse.greeting, muse.character.scenario) == ("Yes?", "Night.")
    # And the form that was saved first changes what stands there now.
    again = await room.press(await room.sent(one, greeting="Yes!"), "save")
    assert last(again)["content"].startswith("💾 **Muse** is changed.")
    assert room.persona("muse").character.scenario == "Night."


async def test_what_was_typed_for_a_persona_that_was_deleted_can_still_be_read(room: Room) -> None:
    await room.press(await room.create("Muse"), "save")
    form = await room.form(room.cog.edit, "muse", "persona")
    shown = await room.sent(form, greeting="Typed.")
    await give(room.cog.delete, room.cog, interaction_of(), "muse")
    assert "was deleted meanwhile" in said_to(await room.press(shown, "save"))[0]
    form = (await room.press(shown, "change")).response.send_modal.await_args.args[0]
    assert written_in(form)["greeting"] == "Typed."


async def test_discard_saves_nothing_and_change_keeps_what_was_typed(room: Room) -> None:
    shown = await room.create("Muse", settings="modle: x", greeting="Typed.")
    assert "modle is not known; nearest: model" in last(shown)["content"]
    assert acts_of(shown) == ["Change", "Discard"]
    pressed = await room.press(shown, "change")
    form = pressed.response.send_modal.await_args.args[0]
    kept = written_in(form)
    assert (kept["settings"], kept["greeting"]) == ("modle: x", "Typed.")
    mended = await room.sent(form, settings="local_only: true", greeting="Typed.")
    assert last(mended)["content"].startswith("**Muse** is not saved yet.")
    gone = await room.press(mended, "discard")
    assert last(gone)["content"] == "Discarded; nothing of **Muse** was saved."
    with pytest.raises(UnknownName):
        room.persona("muse")


async def test_a_model_nobody_has_is_named_before_it_is_saved_and_not_once_it_is_mended(
    room: Room,
) -> None:
    shown = await room.create("Muse", settings="model: qven3-8b", greeting="Typed.")
    note = "\n-# ⚠ There is no model `qven3-8b`. Nearest: `qwen/qwen3-8b`."
    assert last(shown)["content"].endswith(note)
    assert acts_of(shown) == ["Save", "Change", "Discard"]
    form = (await room.press(shown, "change")).response.send_modal.await_args.args[0]
    kept = written_in(form)
    assert (kept["settings"], kept["greeting"]) == ("model: qven3-8b", "Typed.")
    mended = await room.sent(form, settings="model: qwen3-8b")
    assert "There is no model" not in last(mended)["content"]
    saved = await room.press(mended, "save")
    assert "There is no model" not in last(saved)["content"]


async def test_what_was_written_in_private_stays_so_when_it_is_saved_after_the_opening(
    room: Room,
) -> None:
    me, privacy = UserId("discord:1"), room.home.lantern.privacy
    await privacy.mark("user", me)
    shown = await room.create("Muse", system_prompt="[[say I rhyme.]]", settings="model: auto")
    await privacy.mark("user", me, local_only=False)
    saved = await room.press(shown, "save")
    assert "so it is local only" in last(saved)["content"]
    assert room.persona("muse").local_only


async def test_only_its_author_presses(room: Room) -> None:
    shown = await room.create("Muse")
    other = await room.press(shown, "save", user=2)
    assert "Only the person who wrote this" in said_to(other)[0]
    with pytest.raises(UnknownName):
        room.persona("muse")


async def test_a_press_ends_the_first_answer_and_nothing_is_written_over_it(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.stall_load()
        room = Room(home, cog_of(home, Access(DiscordRules())))
        form = await room.form(room.cog.create, "Muse", "me", None)
        async with asyncio.TaskGroup() as group:
            interaction = sending(form)
            is_shown = asyncio.Event()

            async def show(**_: object) -> None:
                is_shown.set()

            interaction.edit_original_response.side_effect = show
            writing = group.create_task(room.cog.on_interaction(interaction))
            await is_shown.wait()
            assert not writing.done()
            gone = await room.press(interaction, "discard")
            edits = len(interaction.edit_original_response.await_args_list)
            assert last(gone)["content"].startswith("Discarded")
        assert len(interaction.edit_original_response.await_args_list) == edits


@pytest.mark.parametrize("held", ["limits", "last edit"])
async def test_a_press_while_limits_or_the_last_edit_are_waited_for_has_the_last_word(
    room: Room, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    form = await room.form(room.cog.create, "Muse", "me", None)
    sent, pressed = sending(form), asyncio.Event()
    is_held, may_go, shown = asyncio.Event(), asyncio.Event(), list[str]()

    async def wait(*_: object) -> None:
        is_held.set()
        await may_go.wait()

    async def show(*, content: str, **_: object) -> None:
        if held == "last edit" and "> …" not in content:
            await wait()
        shown.append(content)

    if held == "limits":
        monkeypatch.setattr(room.home.lantern.place_settings, "admit", wait)
    sent.edit_original_response.side_effect = show
    press = interaction_of()
    press.edit_original_response.side_effect = show

    async def defer() -> None:
        pressed.set()

    press.response.defer.side_effect = defer
    async with asyncio.TaskGroup() as group:
        group.create_task(room.cog.on_interaction(sent))
        await is_held.wait()
        ticket = form.custom_id.split(":")[1]
        group.create_task(room.cog.on_form_button(press, "save", ticket))
        await pressed.wait()
        if held == "last edit":
            may_go.set()
    assert [text.split(".")[0] for text in shown[-1:]] == ["💾 **Muse** is saved"]
    assert len(shown) <= 3


async def test_a_name_taken_meanwhile_keeps_the_form_open(room: Room) -> None:
    first, second = [await room.create("Muse") for _ in range(2)]
    await room.press(first, "save")
    refused = await room.press(second, "save")
    assert "There is a persona **Muse** already" in said_to(refused)[0]
    assert last(await room.press(second, "discard"))["content"].startswith("Discarded")


async def test_a_form_sent_after_its_first_texts_were_saved_is_answered_like_any(
    room: Room,
) -> None:
    shown = await room.create("Muse")
    form = (await room.press(shown, "change")).response.send_modal.await_args.args[0]
    await room.press(shown, "save")
    more = await room.sent(form, greeting="Typed.")
    assert acts_of(more) == ["Save", "Change", "Discard"]
    assert last(await room.press(more, "save"))["content"].startswith("💾 **Muse** is changed.")
    assert room.persona("muse").greeting == "Typed."


async def test_without_a_host_the_form_is_saved_all_the_same(room: Room) -> None:
    await room.home.hosts["studio"].stop()
    await room.home.lantern.fleet.probe_all()
    shown = await room.create("Muse")
    assert "No first answer: No machine can answer" in last(shown)["content"]
    await room.press(shown, "save")
    assert room.persona("muse").name


async def test_edits_that_discord_does_not_take_lose_nothing(room: Room) -> None:
    form = await room.form(room.cog.create, "Muse", "me", None)
    interaction = sending(form)
    interaction.edit_original_response.side_effect = http_error(401, 50027)
    await room.cog.on_interaction(interaction)
    assert last(interaction)["view"] is not None


async def test_an_edit_changes_its_part_alone(room: Room) -> None:
    await room.press(await room.create("Muse", greeting="Hm?"), "save")
    form = await room.form(room.cog.edit, "muse", "character")
    assert form.title == "Muse"
    shown = await room.sent(form, character__scenario="Night.")
    saved = await room.press(shown, "save")
    # Nobody else changed it, so nothing is told of others.
    assert last(saved)["content"] == "💾 **Muse** is changed. `/persona Muse` lets it answer here."
    muse = room.persona("muse")
    assert (muse.character.scenario, muse.greeting) == ("Night.", "Hm?")
    # Where it answers already nobody need choose it.
    pressed = interaction_of()
    place, user = place_of(pressed), user_id(pressed.user)
    await room.home.lantern.switch.set_persona(place, user, "me", "Muse", rights=EVERY_RIGHT)
    shown = await room.sent(form, character__scenario="Noon.")
    saved = await room.press(shown, "save")
    assert last(saved)["content"] == "💾 **Muse** is changed. It answers here already."
    with pytest.raises(RequestRefused, match="only the machine's owner changes that"):
        await room.form(room.cog.edit, "sage", "persona")


async def test_a_file_that_comes_in_is_no_question(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = double(discord.Attachment)
    file.filename, file.size = "sera.png", len(MAKERS["sillytavern.png"])
    file.read.return_value = MAKERS["sillytavern.png"]

    def refuse(*_: object) -> None:
        raise RequestRefused("Slow down")

    monkeypatch.setattr(Access, "take", refuse)
    came = interaction_of(1)
    await give(room.cog.import_, room.cog, came, file, None, "me", None)
    assert said_to(came)[0].startswith("💾 **Sera** is saved.")


async def test_files_come_in_and_go_out(room: Room) -> None:
    file = double(discord.Attachment)
    file.filename, file.size = "sera.png", len(MAKERS["sillytavern.png"])
    file.read.return_value = MAKERS["sillytavern.png"]
    came = interaction_of(2, manages=True)
    await give(room.cog.import_, room.cog, came, file, None, "server", None)
    assert said_to(came)[0].startswith("💾 **Sera** is saved.")
    went = interaction_of(1)
    await give(room.cog.export, room.cog, went, "sera", "png")
    upload = went.followup.send.await_args.kwargs["file"]
    assert upload.filename == "Sera.png"
    assert shown_name(read_file(upload.fp.read(), "x").persona.name) == "Sera"
    stranger = interaction_of(1)
    with pytest.raises(NotPermitted):
        await give(room.cog.delete, room.cog, stranger, "sera")
    gone = interaction_of(2, manages=True)
    await give(room.cog.delete, room.cog, gone, "sera")
    assert gone.followup.send.await_args.kwargs["file"].filename == "Sera.png"


@pytest.mark.parametrize(
    ("size", "fault", "words"),
    [
        (MAX_FILE_BYTES + 1, None, "files up to 8.0 MB are taken"),
        (9, http_error(404), "could not be fetched"),
        (MAX_FILE_BYTES, None, "no PNG card, no JSON"),
    ],
)
async def test_a_file_that_cannot_be_taken_is_said(
    room: Room, size: int, fault: Exception | None, words: str
) -> None:
    file = double(discord.Attachment)
    file.filename, file.size = "x.png", size
    file.read.side_effect, file.read.return_value = fault, b"\0\xff"
    with pytest.raises(BotError) as refused:
        await give(room.cog.import_, room.cog, interaction_of(), file, None, "me", None)
    assert words in refused.value.user_message


async def test_lists_and_texts_are_told_to_who_may_see_them(room: Room) -> None:
    await room.press(await room.create("Muse", settings="local_only: true"), "save")
    for user, sees in ((1, True), (2, False), (OWNER, False)):
        listed = interaction_of(user)
        await give(room.cog.list, room.cog, listed)
        assert ("**Muse** · `auto` · yours" in said_to(listed)[0]) is sees
    shown = interaction_of(1)
    await give(room.cog.show, room.cog, shown, "sage")
    assert "Prompt: Be calm." in said_to(shown)[0]


async def test_only_what_may_be_changed_is_offered_for_it(room: Room) -> None:
    await room.press(await room.create("Muse"), "save")
    complete: Any = room.cog._own  # pyright: ignore[reportPrivateUsage]  # as the library does
    assert [c.name for c in await complete(interaction_of(1), "")] == ["Muse"]
    assert await complete(interaction_of(2), "") == []
    every: Any = room.cog._all  # pyright: ignore[reportPrivateUsage]
    assert [c.value for c in await every(interaction_of(2), "")] == ["default", "sage"]


async def test_forms_are_bounded_and_a_text_too_long_is_left_as_it_is(room: Room) -> None:
    first = await room.create("first")
    for number in range(MOST_FORMS):
        await room.form(room.cog.create, f"n{number}", "me", None, user=number + 10)
    old = await room.press(first, "save")
    old.response.edit_message.assert_awaited_once_with(content=GONE, view=None)
    texts = {"system_prompt": "x" * LONGEST, "greeting": "g" * (LONGEST + 1)}
    long = changed(Persona(PersonaName("x")), texts)
    shown, too_long = form_texts(long, "persona")
    assert (len(shown["system_prompt"]), too_long) == (LONGEST, ["Greeting"])
    assert "greeting" not in shown
    key = FormKey("1234abcd", "persona", "me", "edit", "x")
    form = key.form("t" * 46, {"description": "", "greeting": ""})
    styles = [row["component"]["style"] for row in form.to_dict()["components"]]
    # One line for what is one line.
    assert styles == [discord.TextStyle.short.value, discord.TextStyle.paragraph.value]
    assert form.title == "t" * 45
    # What was too long for a field was never in it, and cannot be given back.
    assert key.given_back({"greeting": "Typed."}).fp.read() == b"Greeting:\nTyped.\n"


async def test_a_button_of_before_a_restart_is_told() -> None:
    match = FormButton.__discord_ui_compiled_template__.fullmatch("lantern-form:save:abc")
    assert match is not None
    interaction = interaction_of()
    button = await FormButton.from_custom_id(interaction, double(discord.ui.Button), match)
    await button.callback(interaction)
    interaction.client.dispatch.assert_called_once_with("form_button", interaction, "save", "abc")


async def test_a_first_answer_counts_and_is_refused_like_any_question(room: Room) -> None:
    lantern = room.home.lantern
    before = await lantern.usage.report("today", "me", UserId("discord:1"), None)
    await room.create("Muse", system_prompt="[[say I rhyme.]]")
    after = await lantern.usage.report("today", "me", UserId("discord:1"), None)
    assert after.total.local_turns == before.total.local_turns + 1
    assert after.total.completion_tokens > 0

    place = place_of(interaction_of(1))
    admin = Asker(UserId("discord:9"), is_admin=True)
    await lantern.place_settings.change(place, "server", {"tokens_per_day": ["1"]}, admin)
    shown = await room.create("Bard", system_prompt="[[say I sing.]]")
    assert "No first answer: You have used your tokens for today" in last(shown)["content"]
    # What was written can be saved all the same.
    assert acts_of(shown) == ["Save", "Change", "Discard"]


async def test_trying_again_and_again_is_as_fast_as_asking(tmp_path: Path) -> None:
    async with opened(tmp_path) as room:
        access = Access(DiscordRules(rate=RateRule(1, 60.0)))
        room.cog = cog_of(room.home, access)
        shown = await room.create("Muse", system_prompt="[[say I rhyme.]]")
        assert "No first answer" not in last(shown)["content"]
        changed_form = (await room.press(shown, "change")).response.send_modal.await_args.args[0]
        again = await room.sent(changed_form)
        assert "No first answer: Slow down" in last(again)["content"]
