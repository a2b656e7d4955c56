"""Personas made, changed, brought and deleted in a chat, and who then answers."""

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from house import ADA, BOB, PLACE, QWEN, House, cloud, house, sim
from makers_cards import MAKERS

from bot.chat.personas import KEPT_BOTH, KEPT_HERE, SAMPLE, Sheet, persona_lines
from bot.documents.cards import read_file
from bot.documents.persona_files import changed, settings_text
from bot.domain.chat import TurnKind
from bot.domain.errors import NotPermitted, RequestRefused, UnknownName
from bot.domain.events import Failed, Finished, Notice, TextDelta
from bot.domain.ids import HostName, PersonaName
from bot.domain.personas import Made, Persona, PersonaScope
from bot.policy.access import EVERY_RIGHT
from bot.policy.choice import Scope
from bot.policy.context import GREET_TEXT
from bot.policy.names import shown_name
from bot.policy.personas import Editor
from bot.sim.journal import PredictionStarted
from bot.store.personas import KeptPersona, PersonaStore

T = TypeVar("T")
SAGE = {"sage": "model: auto\nsystem_prompt: Be calm.\ngreeting: Yes?\n"}
MINE = Editor(ADA, PLACE.server)
ADMIN = Editor(BOB, PLACE.server, is_admin=True)
OWNER = Editor(BOB, is_owner=True)


async def make(
    home: House, name: str, scope: PersonaScope = "me", editor: Editor = MINE, **changes: object
) -> Made:
    sheet = home.lantern.personas.blank(name, scope, editor, None)
    filled = replace(sheet, persona=replace(sheet.persona, **changes))
    made, _ = await home.lantern.personas.keep(filled, scope, editor, PLACE)
    return made


async def refusal(act: Awaitable[T]) -> str:
    with pytest.raises((RequestRefused, NotPermitted)) as refused:
        await act
    return refused.value.user_message


async def test_a_persona_is_made_changed_chosen_and_survives_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), personas=SAGE) as home:
        acts, shelf = home.lantern.personas, home.lantern.shelf
        sheet = acts.blank("Muse", "me", MINE, "sage")
        made, said = await acts.keep(sheet, "me", MINE, PLACE)
        assert (made.persona.system_prompt, made.maker, said) == ("Be calm.", ADA, "")
        assert shown_name(made.persona.name) == "Muse"
        opened = acts.opened("muse", MINE)
        edited = changed(opened.persona, {"greeting": "Hm?"}, "model: qwen/qwen3-8b\n")
        await acts.keep(replace(opened, persona=edited), "me", MINE, PLACE)
        assert shelf.find("MUSE", ADA).greeting == "Hm?"
        # Nobody else sees it, but where its maker chose it for all it answers all.
        with pytest.raises(UnknownName):
            shelf.find("muse", BOB, PLACE.server)
        await home.lantern.switch.set_persona(PLACE, ADA, "channel", "muse", rights=EVERY_RIGHT)
        said_to_bob = await home.ask("[[say Hi.]]", user=BOB)
        assert said_to_bob.receipt.persona == made.persona.name
        sent = home.hosts["studio"].journal.of(PredictionStarted)[-1].messages
        assert sent[0].text == "Be calm."
    async with house(tmp_path, sim("studio", QWEN), personas=SAGE) as home:
        assert home.lantern.shelf.find("muse", ADA).greeting == "Hm?"
        again = await home.ask("[[say Hi.]]", user=BOB)
        assert again.receipt.persona == made.persona.name


async def test_a_persona_is_kept_with_its_models_as_hosts_call_them(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        acts = home.lantern.personas
        blank = acts.blank("Muse", "me", MINE, None)
        wants = replace(blank.persona, model="qwen3-8b", alternatives=("AUTO", "qwen9"))
        made, said = await acts.keep(replace(blank, persona=wants), "me", MINE, PLACE)
        assert (made.persona.model, *made.persona.alternatives) == (QWEN.key, "auto", "qwen9")
        assert said.startswith("⚠ There is no model `qwen9`.")
        assert QWEN.key in said
        await home.hosts["studio"].stop()
        opened = acts.opened("muse", MINE)
        again = replace(opened, persona=replace(opened.persona, model="nobody/knows"))
        made, said = await acts.keep(again, "me", MINE, PLACE)
        assert made.persona.model == "nobody/knows"


async def test_a_file_is_not_changed_but_copied_and_keeps_its_name(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), personas=SAGE) as home:
        acts = home.lantern.personas
        with pytest.raises(RequestRefused, match=r"the file `sage.yaml`.*with `copy:`"):
            acts.opened("sage", OWNER)
        with pytest.raises(RequestRefused, match=r"There is a persona \*\*sage\*\* already"):
            acts.blank("SAGE", "me", MINE, None)
        # A file that comes later wins the name; the other is still chosen where it was.
        made = await make(home, "later")
        (tmp_path / "personas" / "later.yaml").write_text("name: later\n", "utf-8")
        await home.lantern.shelf.refresh()
        assert home.lantern.shelf.find("later", ADA).source == "later.yaml"
        assert home.lantern.shelf.find(made.persona.name, ADA) == made.persona


async def test_of_one_name_the_nearest_is_meant(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shelf = home.lantern.shelf
        whole = await make(home, "muse", "all", OWNER, description="all")
        server = await make(home, "muse", "server", ADMIN, description="server")
        mine = await make(home, "muse", description="mine")
        assert shelf.find("muse", ADA, PLACE.server) == mine.persona
        assert shelf.find("muse", BOB, PLACE.server) == server.persona
        assert shelf.find("muse", BOB) == whole.persona
        assert shelf.for_clients()["muse"] == whole.persona
        found = home.lantern.catalog.personas("mus", user=ADA, server=PLACE.server)
        assert [p.description for p in found] == ["mine", "server", "all"]
        assert home.lantern.catalog.personas("muze")[0] == whole.persona
        for name in ("Muse", "MUSE "):
            with pytest.raises(RequestRefused, match="already"):
                home.lantern.personas.blank(name, "server", ADMIN, None)


async def test_who_is_deleted_while_a_question_waits_begins_no_answer_to_it(tmp_path: Path) -> None:
    config = sim("studio", QWEN, parallel=1)
    async with house(tmp_path, config, personas=SAGE) as home:
        studio = home.hosts["studio"]
        made = await make(home, "Muse", "server", ADMIN)
        studio.faults.stall_after_tokens(20)
        async with asyncio.TaskGroup() as tasks:
            begun = tasks.create_task(home.ask("[[tokens 40]]", persona=made.persona.name))
            await studio.journal.wait_for(PredictionStarted)
            asked = home.ask("[[tokens 5]]", user=BOB, persona=made.persona.name)
            waits = tasks.create_task(asked)
            await home.lantern.fleet.host(HostName("studio")).until(lambda now: bool(now.waiting))
            await home.lantern.personas.delete("muse", ADMIN)
            studio.faults.clear("stall_after_tokens")
        # What has begun is never cut.
        assert isinstance(begun.result().last, Finished)
        refused = waits.result().last
        assert isinstance(refused, Failed)
        words = "Muse was deleted while this waited; Retry has another persona answer."
        assert refused.error.user_message == words
        assert len(studio.journal.of(PredictionStarted)) == 1
        request = home.request("", user=BOB, parent=waits.result().turn, kind="retry")
        again = await home.play(request)
        assert isinstance(again.last, Finished)
        assert again.receipt.persona == "default"


async def test_a_deleted_private_persona_never_opens_what_was_meant_for_it(tmp_path: Path) -> None:
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), personas={"default": ""}
    ) as home:
        acts = home.lantern.personas
        diary = await make(home, "diary", local_only=True)
        await home.lantern.switch.set_persona(PLACE, ADA, "channel", "diary", rights=EVERY_RIGHT)
        first = await home.ask("My secret.")
        said = await acts.delete("diary", MINE)
        assert "chosen in 1 place" in said
        # One of the same name that is open: nothing said to the other becomes this one's.
        await make(home, "diary", local_only=False)
        await home.hosts["studio"].stop()
        await home.lantern.fleet.probe_all()
        for parent in (None, first.turn):
            fallen = await home.ask("And now?", parent=parent)
            assert "diary is gone, so default answers" in fallen.notices
            assert isinstance(fallen.last, Failed)
        assert home.doubles["zai"].journal.chats() == ()
        with pytest.raises(UnknownName):
            home.lantern.shelf.find(diary.persona.name, ADA)


async def test_ones_own_is_nobodys_to_find_but_the_owners_by_its_whole_name(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        acts = home.lantern.personas
        pirate = (await make(home, "Pirate")).persona
        here = replace(OWNER, server=PLACE.server)
        assert pirate.name not in [persona.name for persona, _ in acts.seen(here)]
        for find in (acts.opened, acts.found):
            with pytest.raises(UnknownName, match="no persona"):
                find("Pirate", here)
        with pytest.raises(NotPermitted):
            acts.opened(pirate.name, ADMIN)
        assert acts.opened(pirate.name, here).persona == pirate
        await acts.delete(pirate.name, here)
        assert home.lantern.shelf.made(pirate.name) is None


async def test_who_stands_in_is_told_once_in_a_conversation(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), personas={"default": ""}) as home:
        store, said = home.lantern.turns.store, list[str]()
        scopes: dict[str, Scope] = {"muse": "channel", "sage": "me"}
        for name, scope in scopes.items():
            await make(home, name)
            await home.lantern.switch.set_persona(PLACE, ADA, scope, name, rights=EVERY_RIGHT)
            await home.lantern.personas.delete(name, MINE)
            greeted = await home.ask(GREET_TEXT)
            later = [await home.ask("Hi") for _ in range(2)]
            said += [each.notices for each in (greeted, *later)]
        # For Bob it is the first still: of both it was told here.
        said.append((await home.ask("Hi", user=BOB)).notices)
        await store.reset(PLACE.conversation)
        said += [(await home.ask("Hi")).notices for _ in range(2)]
    muse, sage = (
        f"The persona {name} is gone, so default answers. `/persona` chooses anew."
        for name in ("muse", "sage")
    )
    assert said == [muse, "", "", sage, "", "", "", sage, ""]


@pytest.mark.parametrize("kind", ["retry", "continue"])
async def test_an_answer_of_a_persona_that_is_gone_can_be_pressed(
    tmp_path: Path, kind: TurnKind
) -> None:
    texts = {"default": "", "sage": ""}
    async with house(tmp_path, sim("studio", QWEN), personas=texts) as home:
        await make(home, "muse")
        first = await home.ask("[[say Hi.]]", persona="muse")
        await home.lantern.personas.delete("muse", MINE)
        for chosen in ("default", "sage", "sage"):
            # Whoever answers here now, and each time it is said: the answer stands under its name.
            await home.lantern.switch.set_persona(PLACE, ADA, "me", chosen, rights=EVERY_RIGHT)
            pressed = await home.play(home.request("", parent=first.turn, kind=kind))
            told = f"The persona muse is gone, so {chosen} answers. `/persona` chooses anew."
            assert told in pressed.notices
            assert isinstance(pressed.last, Finished)
            # What is gone on with stays whose it was.
            speaker = chosen if kind == "retry" else first.receipt.persona
            assert pressed.receipt.persona == speaker
        asked = await home.ask("Hi", persona="muse")
        assert isinstance(asked.last, Failed)
        assert isinstance(asked.last.error, UnknownName)


async def test_a_persona_made_private_keeps_turns_under_way_at_home(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        made = await make(home, "muse")
        await home.hosts["studio"].stop()
        await home.lantern.fleet.probe_all()
        request = home.request("Hello", persona="muse")
        async with home.lantern.turns.open(request) as events:
            async for event in events:
                if isinstance(event, Notice | Finished | TextDelta):
                    break
                # Chosen while it was open; closed before anything was sent.
                opened = home.lantern.personas.opened("muse", MINE)
                if not opened.persona.local_only:
                    private = replace(opened, persona=replace(opened.persona, local_only=True))
                    await home.lantern.personas.keep(private, "me", MINE, PLACE)
        assert home.lantern.shelf.local_only[made.persona.name]
        assert home.doubles["zai"].journal.chats() == ()


async def test_two_edits_at_once_and_an_edit_of_what_is_gone_say_so(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        acts = home.lantern.personas
        await make(home, "muse")
        first, second = (acts.opened("muse", MINE) for _ in range(2))
        await acts.keep(
            replace(first, persona=replace(first.persona, greeting="1")), "me", MINE, PLACE
        )
        other = replace(second, persona=replace(second.persona, greeting="2"))
        assert "changed or deleted meanwhile" in await refusal(acts.keep(other, "me", MINE, PLACE))
        assert home.lantern.shelf.find("muse", ADA).greeting == "1"
        third = acts.opened("muse", MINE)
        await acts.delete("muse", MINE)
        assert "changed or deleted meanwhile" in await refusal(acts.keep(third, "me", MINE, PLACE))
        # Two new ones of one name in one moment.
        sheet = acts.blank("twin", "me", MINE, None)
        async with asyncio.TaskGroup() as group:
            both = [group.create_task(refused_or_kept(home, sheet)) for _ in range(2)]
        assert sorted(task.result() for task in both) == [False, True]


async def test_an_edit_of_what_was_imported_anew_meanwhile_keeps_all_of_that_card(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        acts = home.lantern.personas
        await make(home, "muse")
        sheet = acts.opened("muse", MINE)
        card = {"data": {"name": "muse", "personality": "shy", "extensions": {"theirs": [1]}}}
        content = json.dumps(card).encode()
        brought = await acts.brought("muse.json", content, MINE, replaces="muse")
        await acts.keep(brought, "me", MINE, PLACE)
        mine = replace(sheet, persona=replace(sheet.persona, description="Mine."))
        rebased, both = await acts.rebased(mine)
        made, said = await acts.keep(rebased, "me", MINE, PLACE)
        assert (both, said) == ((), KEPT_BOTH)
        assert (made.persona.description, made.persona.character.personality) == ("Mine.", "shy")
        _, exported = await acts.export("muse", "json", MINE)
        assert json.loads(exported)["data"]["extensions"]["theirs"] == [1]


async def refused_or_kept(home: House, sheet: Sheet) -> bool:
    try:
        await home.lantern.personas.keep(sheet, "me", MINE, PLACE)
    except RequestRefused:
        return False
    return True


async def test_rights_are_looked_at_again_when_a_form_comes_back(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        acts = home.lantern.personas
        sheet = acts.blank("ours", "server", ADMIN, None)
        no_more = replace(ADMIN, is_admin=False)
        assert "Only admins" in await refusal(acts.keep(sheet, "server", no_more, PLACE))
        await acts.keep(sheet, "server", ADMIN, PLACE)
        opened = acts.opened("ours", replace(ADMIN, user=ADA))
        words = await refusal(acts.keep(opened, "server", Editor(ADA, PLACE.server), PLACE))
        assert "not yours to change" in words
        with pytest.raises(NotPermitted):
            acts.opened("ours", Editor(ADA, PLACE.server))


@pytest.mark.parametrize("name", ["sillytavern.png", "v1.json", "agnai.json"])
async def test_a_card_is_brought_changed_and_taken_away(tmp_path: Path, name: str) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        acts = home.lantern.personas
        sheet = await acts.brought(name, MAKERS[name], MINE, name="Other")
        made, _ = await acts.keep(sheet, "me", MINE, PLACE)
        assert (tmp_path / "lantern.db").exists()
        opened = acts.opened("other", MINE)
        edited = changed(opened.persona, {"character.scenario": "A new one."})
        await acts.keep(replace(opened, persona=edited), "me", MINE, PLACE)
        file, content = await acts.export("other", "png", MINE)
        assert file == "Other.png"
        back = read_file(content, file)
        came = read_file(MAKERS[name], name)
        expected = replace(
            came.persona, character=replace(came.persona.character, scenario="A new one.")
        )
        assert back.persona == expected
        if came.picture is not None:
            assert b"Software\0paint" in content
        # Again in its place: it stays the one that was chosen.
        again = await acts.brought(name, MAKERS[name], MINE, replaces="other")
        replaced, _ = await acts.keep(again, "me", MINE, PLACE)
        assert replaced.persona.name == made.persona.name
        assert replaced.persona.character.scenario == came.persona.character.scenario


async def test_a_broken_file_leaves_nothing_and_a_stranger_s_is_not_read(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        acts = home.lantern.personas
        assert "not imported" in await refusal(acts.brought("x.png", b"\x89PNG\r\n\x1a\n", MINE))
        words = await refusal(acts.brought("x.json", MAKERS["v1.json"], MINE, scope="server"))
        assert "Only admins" in words
        assert acts.seen(MINE)[1:] == []
        named = json.dumps({"data": {"name": "@every#one`", "first_mes": "x"}}).encode()
        made, _ = await acts.keep(await acts.brought("x.json", named, MINE), "me", MINE, PLACE)
        assert shown_name(made.persona.name) == "everyone"


async def test_what_a_stranger_may_not_ask_of_the_hosts_is_left_out(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        acts = home.lantern.personas
        sheet = acts.blank("greedy", "me", MINE, None)
        greedy = changed(sheet.persona, {}, "keep_loaded: true\nload: {context_length: 9999}\n")
        made, said = await acts.keep(replace(sheet, persona=greedy), "me", MINE, PLACE)
        assert (made.persona.keep_loaded, made.persona.load.context_length) == (False, None)
        assert "for admins to set" in said


async def test_a_preview_is_told_and_not_stored(tmp_path: Path) -> None:
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), personas=SAGE
    ) as home:
        sheet = home.lantern.personas.blank("muse", "me", MINE, "sage")
        async with home.lantern.personas.preview(sheet.persona, PLACE, MINE) as events:
            told = [event async for event in events]
        assert isinstance(told[-1], Finished)
        assert any(isinstance(event, TextDelta) for event in told)
        sent = home.hosts["studio"].journal.of(PredictionStarted)[-1]
        assert [m.text for m in sent.messages] == ["Be calm.", SAMPLE]
        assert await home.lantern.turns.store.last_in(PLACE.conversation) is None
        # Nobody at home: it says so, and no provider is paid for a trial.
        await home.hosts["studio"].stop()
        await home.lantern.fleet.probe_all()
        with pytest.raises(Exception, match="preview is made by your own hosts"):
            async with home.lantern.personas.preview(sheet.persona, PLACE, MINE) as events:
                _ = [event async for event in events]
        assert home.doubles["zai"].journal.chats() == ()


async def test_another_lantern_on_the_database_is_seen_and_a_broken_card_left_out(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        store = PersonaStore(home.lantern.database)
        card = '{"data": {"name": "x", "first_mes": "hi"}}'
        kept = KeptPersona(PersonaName("x#00000001"), "me", ADA, ADA, 1, card)
        await store.add(kept, None)
        await store.add(replace(kept, name=PersonaName("y#00000002"), card='{"data": 3}'), None)
        broken = '{"data": {"name": "z", "extensions": {"lantern": {"model": 3.5, "cloud": {}}}}}'
        await store.add(replace(kept, name=PersonaName("z#00000003"), card=broken), None)
        await home.lantern.personas.refresh()
        names = [persona.name for persona, _ in home.lantern.personas.seen(MINE)]
        assert "x#00000001" in names
        assert "z#00000003" not in names


def test_a_persona_is_told_line_by_line() -> None:
    persona = changed(Persona(PersonaName("muse#0123abcd"), "a poet"), {"greeting": "g" * 700})
    lines = persona_lines(replace(persona, local_only=True), is_whole=True)
    assert lines[0] == "**muse** a poet"
    assert "🔒 Its words never leave the LAN." in lines
    assert lines[-1].endswith(" …")
    torn = replace(persona, character=replace(persona.character, name="A\nB\u200bC"))
    assert "Plays: A B C" in persona_lines(torn, is_whole=True)
    assert persona_lines(persona, is_whole=False)[-1].startswith("Its texts are its maker's")
    assert settings_text(persona) == "model: auto\nlocal_only: false\n"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("modle: x", "modle is not known; nearest: model"),
        ("name: other", "name is not known"),
        ("model: [", "broken YAML"),
        ("sampling: {temperature: 9}", "expected at most 2"),
    ],
)
def test_settings_that_cannot_be_taken_are_named(settings: str, words: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        changed(Persona(PersonaName("x")), {}, settings)
    assert words in refused.value.user_message


@pytest.mark.parametrize("kind", ["place", "user"])
async def test_what_was_written_where_words_stay_is_local_only_for_good(
    tmp_path: Path, kind: str
) -> None:
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        acts, privacy = home.lantern.personas, home.lantern.privacy
        marked = ("place", str(PLACE.channel)) if kind == "place" else ("user", str(ADA))
        await privacy.mark(*marked)
        sheet = acts.blank("secretive", "me", MINE, None)
        texts = replace(sheet.persona, system_prompt="The word is swordfish.")
        sheet = await acts.written(sheet, texts, ADA, PLACE)
        # Shown with a first answer; saved when all is open again, and written once more by then.
        await privacy.mark(*marked, local_only=False)
        sheet = await acts.written(sheet, sheet.persona, ADA, PLACE)
        made, said = await acts.keep(sheet, "me", MINE, PLACE)
        assert made.persona.local_only
        assert said == KEPT_HERE
        await home.ask("hello", persona=made.persona.name)
        assert home.doubles["zai"].journal.chats() == ()
        kept = acts.opened("secretive", MINE)
        opened = replace(kept, persona=replace(kept.persona, local_only=False))
        assert not (await acts.keep(opened, "me", MINE, PLACE))[0].persona.local_only


async def test_texts_of_somebody_whose_words_stay_leave_by_nobodys_question(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        made = await make(home, "muse", "server", replace(ADMIN, user=ADA), system_prompt="Rhyme.")
        await home.lantern.privacy.mark("user", ADA)
        kept = await home.ask("hello", user=BOB, persona=made.persona.name)
        assert isinstance(kept.last, Failed)
        words = "the author of the persona's prompt keeps their words here; choose another"
        assert words in kept.last.error.user_message
        assert home.doubles["zai"].journal.chats() == ()
        await home.lantern.privacy.mark("user", ADA, local_only=False)
        await home.lantern.turns.store.reset(PLACE.conversation)
        again = await home.ask("hello", user=BOB, persona=made.persona.name)
        assert again.receipt.provider == "zai"
