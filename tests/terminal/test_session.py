"""The terminal chat over simulated hosts, typed by a script."""

import asyncio
import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from house import GEMMA, QWEN, House, house, sim
from rich.console import Console

from bot.sim.journal import LoadStarted, PredictionStarted
from bot.terminal.input import ScriptInput
from bot.terminal.screen import Screen
from bot.terminal.session import Doors, Extra, Session, complete


async def type_in(
    home: House, script: str, extras: Mapping[str, Extra] | None = None
) -> tuple[str, int]:
    """What the screen shows, and how many commands failed."""
    out = io.StringIO()
    built = home.lantern
    doors = Doors(
        built.turns,
        built.switch,
        built.board,
        built.acts,
        built.tally,
        built.privacy,
        extras or {},
    )
    screen = Screen(Console(file=out, width=120, highlight=False))
    failures = await Session(doors, screen, ScriptInput(io.StringIO(script))).run()
    return out.getvalue(), failures


async def test_a_chat_shows_the_load_the_answer_and_the_footer(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, failures = await type_in(home, "[[say All is well.]]\n")
    assert "📦 Loading qwen/qwen3-8b on studio" in shown
    assert "All is well." in shown
    assert "qwen/qwen3-8b · studio · " in shown
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
        ("/persona default\n", "default answers here."),
        ("/fleet\n", "studio"),
        ("/fleet models\n", "qwen/qwen3-8b"),
        ("/fleet load qwen3-8b host:studio\n", "Ready."),
        ("/fleet load qwen3-8b\n/fleet unload qwen/qwen3-8b\n", "Unloaded qwen/qwen3-8b on studio"),
        ("/why\n", "Nothing was asked here yet."),
        ("[[say x]]\n/why\n", "Candidates, best first:"),
        ("[[say x]]\n/retry\n", "> /retry"),
        ("[[say x]]\n/continue\n", "> /continue"),
        ("/reset\n", "A fresh conversation."),
        ("/stop\n", "Nothing is running."),
        ("/help\n", "/model [NAME|auto]"),
        ("[[say x]]\n/usage\n", "1 local answers"),
        ("/usage last month\n", "Budget today"),
        ("/private on\n", "stay on the LAN"),
        ("/private off\n", "may go to a provider"),
        ("/quit\n/nonsense\n", "> /quit"),
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
        ("/fleet fly\n", "not `fly`"),
        ("/fleet load qwen3-8b host:attic\n", "There is no host"),
        ("/fleet unload qwen3-8b\n", "There is no loaded model"),
        ("/retry\n", "Nothing was asked here yet."),
        ("/chat\n", "empty"),
        ("/usage ever\n", "not `ever`"),
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
    assert "Nobody could answer" in shown
    assert "studio" in shown
    assert failures == 1


async def test_an_extra_command_runs_and_is_in_the_help(tmp_path: Path) -> None:
    async def run(words: tuple[str, ...]) -> str:
        return f"did {words[0]}"

    extras = {"demo": Extra("/demo THING", "a thing", run)}
    async with house(tmp_path, sim("studio", QWEN)) as home:
        shown, _ = await type_in(home, "/demo it\n/help\n", extras)
    assert "did it" in shown
    assert "/demo THING" in shown


async def test_completion_offers_commands_models_and_personas(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        board = home.lantern.board
        assert list(complete(board, ("wait",), "/wa")) == ["/wait"]
        assert "/model google/gemma-3-4b" in list(complete(board, (), "/model gem"))
        assert "/persona default" in list(complete(board, (), "/persona d"))
        assert "/fleet load qwen/qwen3-8b" in list(complete(board, (), "/fleet load qw"))
        assert list(complete(board, (), "/fleet ")) == [
            "/fleet status",
            "/fleet models",
            "/fleet load",
            "/fleet unload",
        ]
        assert list(complete(board, (), "/why ")) == []


async def test_ctrl_c_stops_waiting_for_a_load_and_not_the_chat(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, time_scale=1.0)) as home:
        built = home.lantern
        doors = Doors(
            built.turns, built.switch, built.board, built.acts, built.tally, built.privacy
        )
        out = io.StringIO()
        screen = Screen(Console(file=out, width=120))
        session = Session(doors, screen, ScriptInput(io.StringIO("/model qwen3-8b\n/help\n")))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            await home.hosts["studio"].journal.wait_for(LoadStarted)
            assert session.interrupt()
        assert running.result() == 0
        assert "Not waited for" in out.getvalue()
        assert "/model [NAME|auto]" in out.getvalue()
        assert not session.interrupt()
