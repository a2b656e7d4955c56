"""The terminal chat over simulated hosts, typed by a script."""

import asyncio
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from databases import new_database
from house import GEMMA, PATIENT, QWEN, House, cloud, house, sim
from makers_cards import MAKERS
from rich.console import Console

from bot.app import Plan, lantern
from bot.chat.planning import ChatRules
from bot.documents.cards import read_file
from bot.documents.persona_files import parse_persona
from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName, PersonaName
from bot.sim.journal import LoadStarted, PredictionStarted
from bot.sim.models import SimModel
from bot.terminal.commands import CommandForm, complete
from bot.terminal.screen import Screen
from bot.terminal.script import Script
from bot.terminal.session import PLACE, USER, Session


async def type_in(
    home: House, script: str, extras: Mapping[str, CommandForm] | None = None
) -> tuple[str, int]:
    """What the screen shows, and how many commands failed."""
    out = io.StringIO()
    screen = Screen(Console(file=out, width=120, highlight=False))
    source = Script(io.StringIO(script))
    failures = await Session(home.lantern, screen, extras).run(source.lines(), echoes=True)
    return out.getvalue(), failures


async def test_a_chat_shows_the_load_the_answer_and_the_footer(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(home, "[[say All is well.]]\n")
    assert "📦 Loading qwen/qwen3-8b on studio" in shown
    assert "All is well." in shown
    assert "qwen/qwen3-8b · studio · " in shown
    assert failures == 0


async def test_a_host_lost_in_the_middle_is_told_between_the_words_of_two(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", QWEN)) as home:
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.host(HostName("studio")).probe()
        home.hosts["studio"].faults.drop_after_tokens(3)
        shown, failures = await type_in(home, "[[say one two three four five]]\n/why\n")
    lines = shown.splitlines()
    at = lines.index("one two three")
    assert lines[at + 1] == "↪ studio was lost; going on at laptop …"
    assert lines[at + 2].startswith("📦 Loading qwen/qwen3-8b on laptop")
    assert " four five" in lines
    assert any(line.startswith("qwen/qwen3-8b · studio → laptop · ~5 tokens") for line in lines)
    assert "Lost in the middle: studio" in shown
    assert failures == 0


async def test_model_switches_and_loads_at_once(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", GEMMA)) as home:
        shown, _ = await type_in(home, "/model gemma-3-4b\n[[say Hi.]]\n/model\n")
    assert "Model here: google/gemma-3-4b" in shown
    assert "Loading google/gemma-3-4b on laptop" in shown
    assert "google/gemma-3-4b · laptop" in shown
    assert "chosen by you" in shown


async def test_a_persona_can_be_said_for_one_turn(tmp_path: Path) -> None:
    personas = {"sage": "model: auto\nsystem_prompt: You are calm.\n"}
    async with house(tmp_path, sim("studio", QWEN), personas=personas) as home:
        await type_in(home, "/chat hello persona:sage\n")
        sent = home.hosts["studio"].journal.of(PredictionStarted)[0]
    assert "You are calm." in str(sent.messages[0])


@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("/personas\n", "default"),
        ("/persona\n", "Persona default"),
        ("/persona default\n", "default is chosen here."),
        ("/fleet\n", "studio"),
        ("/fleet models\n", "qwen/qwen3-8b"),
        ("/fleet load qwen3-8b host:studio\n", "is in memory on studio"),
        ("/fleet load qwen3-8b\n/fleet unload qwen/qwen3-8b\n", "Unloaded qwen/qwen3-8b on studio"),
        ("/why\n", "Nothing was asked here yet."),
        ("/settings\n", "Nothing is set; `lantern config show` tells what the file says."),
        ("[[say x]]\n/why\n", "Candidates, best first:"),
        ("[[say x]]\n/retry\n", "> /retry"),
        ("[[say x]]\n/continue\n", "> /continue"),
        ("/reset\n", "A fresh conversation."),
        ("/stop\n", "Nothing is running."),
        ("/help\n", "/model [NAME|PROVIDER|auto]"),
        ("[[say x]]\n/usage\n", "1 local answer,"),
        ("/usage\n", "The daily budget"),
        ("/usage last month\n", "no answers"),
        ("/private on\n", "stay on the LAN"),
        ("/private off\n", "may go to a provider"),
        ("/quit\n/nonsense\n", "> /quit"),
        ("/fleet load qwen3-8b\n/fleet unload qwen3-8b\n", "Unloaded qwen/qwen3-8b on studio"),
        ("/fleet load qwen3-8b\n/fleet pin qwen3-8b\n", "stays in memory on studio"),
        ("/fleet drain studio\n", "nothing new comes until /fleet resume studio"),
        ("/fleet drain studio 2h\n", "at the latest in 2 h 00 min"),
        ("/fleet drain studio\n/fleet resume studio\n", "takes new turns again"),
        ("/fleet status stu\n", "1 model on disk"),
        ("/model qwen3-8b channel\n/model\n", "chosen for this channel"),
    ],
)
async def test_every_command_shows_something_of_use(tmp_path: Path, script: str, part: str) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(home, script)
    assert part in shown
    assert failures == 0


@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("/nonsense\n", "no command `/nonsense`"),
        ("/model nothing-like-it\n", "There is no model"),
        ("/persona nobody\n", "There is no persona"),
        ("/model qwen3-8b scope:moon\n", "not `moon`"),
        ("/fleet load\n", "Say which model"),
        ("/fleet drain\n", "Say which host"),
        ("/fleet drain studio tomorrow\n", "not a duration"),
        ("/fleet pin qwen3-8b 2h\n", "`2h` is too much"),
        ("/fleet pin qwen3-8b\n", "There is no loaded model"),
        ("/fleet fly\n", "not `fly`"),
        ("/fleet stat\n", "Nearest: `/fleet status`"),
        ("/fleet load qwen3-8b host:attic\n", "There is no host"),
        ("/fleet unload qwen3-8b\n", "There is no loaded model"),
        ("/fleet status host:stodio\n", "Nearest: `studio`"),
        ("/fleet models zz\n", "Known here: `qwen/qwen3-8b`"),
        ("/fleet unload qwen3-8b foreign:maybe\n", "foreign:yes"),
        ("/reset foo\n", "too much"),
        ("[[say x]]\n/reset\n/continue\n", "nothing to continue yet"),
        ("[[say x]]\n/reset\n/retry\n", "nothing to retry yet"),
        ("/retry\n", "Nothing was asked here yet."),
        ("/chat\n", "empty"),
        ("/usage ever\n", "not `ever`"),
        ("/chat hello type:quik\n", "no request type `quik`"),
        ("/chat hello cache:never\n", "not `never`"),
        ("/private maybe\n", "not `maybe`"),
    ],
)
async def test_bad_input_gets_a_plain_error_and_counts_as_failed(
    tmp_path: Path, script: str, part: str
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(home, script)
    assert part in shown
    assert failures == 1


async def test_a_failed_turn_says_what_was_tried(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.hosts["studio"].stop()
        shown, failures = await type_in(home, "anyone there?\n")
    assert "❌ No machine can answer right now: studio is off. " in shown
    assert failures == 1


@pytest.mark.parametrize("command", ["/model qwen3-8b", "/persona sage"])
async def test_a_choice_that_nobody_can_load_is_kept_and_never_called_ready(
    tmp_path: Path, command: str
) -> None:
    personas = {"sage": "model: qwen/qwen3-8b\n"}
    async with house(tmp_path, sim("studio", QWEN), personas=personas) as home:
        await home.hosts["studio"].stop()
        await home.lantern.fleet.probe_all()
        shown, failures = await type_in(home, f"{command}\n/model\n")
    assert "Ready" not in shown
    assert "❌ Nobody can answer with qwen/qwen3-8b right now: studio is off." in shown
    assert "chosen by you" in shown
    assert failures == 1


async def test_a_choice_that_only_a_provider_can_answer_names_it(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await home.hosts["studio"].stop()
        await home.lantern.fleet.probe_all()
        shown, failures = await type_in(home, "/model qwen3-8b\n")
    assert "Until qwen/qwen3-8b can be loaded, ☁ zai answers here: studio is off." in shown
    assert "Ready" not in shown
    assert failures == 0


async def test_where_no_host_answers_no_name_is_called_wrong(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        pass
    plan_hosts = (HostConfig(HostName("studio"), home.hosts["studio"].address),)
    plan = Plan(
        hosts=plan_hosts,
        rules=ChatRules(default_persona=PersonaName("default")),
        fleet_rules=PATIENT,
        personas=tmp_path / "personas",
        database=new_database(tmp_path / "lantern.db"),
    )
    async with lantern(plan) as built:
        await built.fleet.settled(10)
        script = "/model qwen3-8b\n/chat hi model:qwen3-8b\n/fleet load qwen3-8b\n/fleet models\n"
        shown, failures = await type_in(House(built, {}, []), script)
    assert "There is no model" not in shown
    assert shown.count("No host answers now, so nothing is known") == 3
    assert "✗ studio: " in shown
    assert failures == 3


async def test_what_others_loaded_is_unloaded_when_told_so(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.hosts["studio"].preload(QWEN.key)
        await home.lantern.fleet.probe_all()
        shown, failures = await type_in(home, "/fleet unload qwen3-8b\n")
        assert "Add `foreign:yes`" in shown
        assert failures == 1
        shown, _ = await type_in(home, "/fleet unload qwen3-8b --foreign yes\n")
    assert "Unloaded qwen/qwen3-8b on studio" in shown


async def test_an_embedding_model_is_said_to_be_none_for_chats(tmp_path: Path) -> None:
    embed = SimModel("text-embedding-nomic", 10**8, kind="embedding")
    async with house(tmp_path, sim("studio", QWEN, embed)) as home:
        shown, failures = await type_in(home, "/model text-embedding-nomic\n")
    assert "embedding model: it cannot chat" in shown
    assert failures == 1


async def test_a_broken_persona_is_told_once_and_listed(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        (tmp_path / "personas" / "bad.yaml").write_text("name: bad\nmodle: x\n", "utf-8")
        await home.lantern.shelf.refresh()
        shown, _ = await type_in(home, "/help\n/personas\n")
    assert shown.count("⚠ Persona file bad.yaml") == 1
    assert shown.count("bad.yaml") == 2


async def test_a_chosen_persona_that_is_gone_is_told_at_the_turn(tmp_path: Path) -> None:
    personas = {"sage": "model: auto\n"}
    async with house(tmp_path, sim("studio", QWEN), personas=personas) as home:
        await type_in(home, "/persona sage\n")
        (tmp_path / "personas" / "sage.yaml").unlink()
        await home.lantern.shelf.refresh()
        shown, failures = await type_in(home, "[[say x]]\n")
    assert "ℹ The persona sage is gone, so default answers. `/persona` chooses anew." in shown
    assert failures == 0


async def test_an_extra_command_runs_and_is_in_the_help(tmp_path: Path) -> None:
    async def run(words: tuple[str, ...]) -> str:
        return f"did {words[0]}"

    extras = {"demo": CommandForm("demo", "/demo THING", "a thing", run=run)}
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, _ = await type_in(home, "/demo it\n/help\n", extras)
    assert "did it" in shown
    assert "/demo THING" in shown


async def test_completion_offers_commands_models_and_personas(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        options = partial(home.lantern.switch.options, PLACE, USER)

        async def completed(typed: str) -> list[str]:
            found = await complete(home.lantern.catalog, options, ("wait",), USER, typed)
            return [line for line, _ in found]

        assert await completed("/wa") == ["/wait"]
        assert "/model google/gemma-3-4b" in await completed("/model gem")
        assert "/persona default" in await completed("/persona d")
        assert "/fleet load qwen/qwen3-8b" in await completed("/fleet load qw")
        assert await completed("/fleet ") == [
            "/fleet status",
            "/fleet models",
            "/fleet load",
            "/fleet unload",
            "/fleet pin",
            "/fleet unpin",
            "/fleet drain",
            "/fleet resume",
        ]
        assert await completed("/why ") == []


async def test_ctrl_c_stops_waiting_for_a_load_and_not_the_chat(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        built = home.lantern
        home.hosts["studio"].faults.stall_load()
        out = io.StringIO()
        session = Session(built, Screen(Console(file=out, width=120)))
        typed = Script(io.StringIO("/model qwen3-8b\n/help\n"))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run(typed.lines(), echoes=True))
            await home.hosts["studio"].journal.wait_for(LoadStarted)
            assert session.interrupt()
            # Pressed again while it is ending: the deadline rang, and cannot be set anew.
            await asyncio.sleep(0)
            assert session.interrupt()
        assert running.result() == 0
        assert "Not waited for" in out.getvalue()
        assert "/model [NAME|PROVIDER|auto]" in out.getvalue()
        assert not session.interrupt()


async def test_personas_are_made_changed_tried_and_taken_away_in_a_terminal(
    tmp_path: Path,
) -> None:
    card = tmp_path / "marla.json"
    card.write_bytes(MAKERS["v1.json"])
    script = (
        '/personas create muse prompt:"Be brief." greeting:Hm? model:qwen/qwen3-8b\n'
        "/personas edit muse local_only:true\n/personas show muse\n/personas\n"
        "/persona mus\n/personas try muse\n"
        f"/personas import {card}\n/personas export Marla {tmp_path / 'out.png'}\n"
        f"/personas export muse {tmp_path / 'muse.yaml'}\n"
        "/personas create twin copy:muse\n/personas delete muse\n/persona\n"
    )
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(home, script)
    assert failures == 0, shown
    for part in (
        "muse is saved.", "muse is changed.", "Prompt: Be brief.", "🔒 Its words never leave",
        "muse is chosen here. Hm?", "Marla is saved.", "muse is deleted;", "chosen in 1 place",
        "muse is gone, so default answers",
    ):  # fmt: skip
        assert part in shown, shown
    assert read_file((tmp_path / "out.png").read_bytes(), "x").persona.name == "Marla"
    assert parse_persona((tmp_path / "muse.yaml").read_text(), "").local_only


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/personas shwo x", "Nearest: /personas show"),
        ("/personas show", "Say which: /personas show NAME"),
        ("/personas import", "Say which: /personas import FILE"),
        ("/personas import nowhere.png", "cannot be read"),
        ("/personas export default /dev/null/x.png", "cannot be written"),
        ("/personas export default x.txt", "ends in .png, .json or .yaml"),
        ("/personas create x scope:server", "there is no server in a terminal"),
        ("/personas edit default prompt:x", "only the machine's owner changes that"),
        ("/personas edit nobody prompt:x", "There is no persona nobody"),
        ("/personas create x model:y extra words here", "is too much"),
    ],
)
async def test_what_cannot_be_done_with_personas_is_said(
    tmp_path: Path, line: str, words: str
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(home, f"{line}\n")
    assert words in shown.replace("`", "")
    assert failures == 1


async def test_the_answers_to_a_question_are_looked_through_and_the_chosen_one_goes_on(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(home, "[[say one]] x\n/retry\n/answers\n/answers 1\nand?\n")
        sent = home.hosts["studio"].journal.of(PredictionStarted)[-1].messages
        assert [m.text for m in sent if m.role == "assistant"] == ["one"]
        line = await home.lantern.turns.store.newest_branch(
            PLACE.conversation, PersonaName("default"), USER
        )
    assert failures == 0
    assert "  1  one" in shown
    assert "● 2  one" in shown
    assert len(line) == 2


async def test_an_answer_that_is_not_there_cannot_be_chosen(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(home, "/answers\nhi\n/answers 2\n/answers 0\n/answers x\n")
    assert failures == 4
    assert "Nothing was asked here yet." in shown
    for word in ("2", "0", "x"):
        assert f"There is no answer `{word}`; `/answers` lists them." in shown


async def test_history_is_called_as_in_discord(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(
            home, "hello [[say hi]]\n/history show\n/history export\n/history rub\n"
        )
    assert failures == 1
    assert "→ hi" in shown
    assert "Written to lantern-history.json: 1 question." in shown
    assert "hello" in (tmp_path / "lantern-history.json").read_text(encoding="utf-8")


async def test_facts_and_history_are_in_ones_own_hands(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    script = (
        "/remember I like tea\n/memories\nhello [[say hi]]\n/history\n"
        f"/history export {file}\n/history forget\n/history forget yes\n/history\n/memories\n"
        "/memories forget 9\n/memories rub\n/remember x\n/memories forget 2\n"
        f"/history export {tmp_path}\n/remember y\n/history export {tmp_path}\n"
    )
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(home, script)
    assert failures == 4
    for part in (
        "1  I like tea",
        "→ hi",
        f"Written to {file}: 1 question.",
        "deletes all your words",
        "Forgotten: 1",
        "Nothing is remembered",
        "no fact",
        "does not know",
        "No question of yours is kept.",
        "I keep no question and no fact of yours.",
        "cannot be written",
    ):
        assert part in shown, shown
    assert '"I like tea"' in file.read_text()
    assert shown.count("→ hi") == 1


async def test_of_a_fact_said_in_private_a_terminal_tells_where_it_is_told(tmp_path: Path) -> None:
    script = "/remember I like tea\n/private on\n/remember I hide gold\n/memories\n"
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        shown, failures = await type_in(home, script)
        assert failures == 0
        # What was said before the mark counts as private while it stands.
        assert "1  🔒 I like tea" in shown
        assert shown.count("🔒 Told only in talks that stay on the LAN") == 2
        shown, _ = await type_in(home, "/memories forget 1\n/memories forget 2\n/private off\n")
        later = home.lantern.database.now_ms() + 61_000
        home.lantern.database.now_ms = lambda: later
        shown, _ = await type_in(home, "/remember I like tea\n/memories\n")
    assert "🔒" not in shown.partition("Remembered")[2]
    assert "I like tea" in shown
