"""The line under the bot's name: the newest, one in twenty seconds, after reconnects too."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import discord
import pytest
from cogs_doubles import lantern_of
from stand_ins import double
from virtual_time import play

from bot.policy.presence import PRESENCE_EVERY_S, Presence
from cogs._presence import PresenceLine
from cogs.client import DiscordFace, DiscordRules

Change = tuple[float, str]


class Line:
    """A connection that writes down what it is told, and breaks when told to."""

    def __init__(self, faults: Sequence[BaseException | None] = ()) -> None:
        self.said: list[Change] = []
        self.client: Any = double(discord.Client)
        self.client.is_closed.return_value = False
        self.client.change_presence.side_effect = self._change
        self.faults = [*faults]

    async def _change(self, *, activity: discord.CustomActivity, status: discord.Status) -> None:
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        self.said.append((asyncio.get_running_loop().time(), activity.name or ""))
        assert (self.client.activity, self.client.status) == (activity, status)


def story(monkeypatch: pytest.MonkeyPatch, line: Line, *steps: float | str | None) -> list[Change]:
    """What was said of states (words), waits (seconds) and reconnects (None)."""
    state = SimpleNamespace(text="one")

    def now(*_: object) -> Presence:
        return Presence(state.text, "online")

    monkeypatch.setattr("cogs._presence.presence_of", now)

    async def run() -> None:
        shown = PresenceLine(lantern_of().catalog)
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(shown.keep())
            for step in steps:
                match step:
                    case str():
                        state.text = step
                    case None:
                        shown.renew(line.client)
                    case _:
                        await asyncio.sleep(step)
            keeping.cancel()

    play(run())
    return line.said


def test_it_is_said_as_soon_as_a_connection_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    assert story(monkeypatch, Line(), 3.0, None, 1.0) == [(3.0, "one")]


def test_of_many_changes_the_latest_is_said_once_in_twenty_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = story(monkeypatch, Line(), None, 1.0, "two", 1.0, "three", 17.0, "four", 200.0)
    assert said == [(0.0, "one"), (PRESENCE_EVERY_S, "four")]


def test_a_new_session_hears_it_again_and_one_that_flaps_no_oftener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calm = story(monkeypatch, Line(), None, 30.0, None, 1.0)
    assert calm == [(0.0, "one"), (30.0, "one")]
    flapping = story(monkeypatch, Line(), None, *[2.0, None] * 29, 1.0)
    assert [at for at, _ in flapping] == [0.0, 20.0, 40.0]


@pytest.mark.parametrize(
    "fault", [ConnectionResetError("Cannot write to closing transport"), ZeroDivisionError()]
)
def test_a_line_that_breaks_as_it_is_said_is_told_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    line = Line([fault])
    assert story(monkeypatch, line, None, 50.0) == [(PRESENCE_EVERY_S, "one")]


def test_a_connection_that_was_closed_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    line.client.is_closed.return_value = True
    assert story(monkeypatch, line, None, 100.0) == []


@pytest.mark.parametrize("is_on", [True, False])
def test_a_setting_switches_it_off(monkeypatch: pytest.MonkeyPatch, is_on: bool) -> None:
    face, line = DiscordFace(lantern_of(), DiscordRules(has_presence=is_on)), Line()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(face.keep_shown())
            face.presence.renew(line.client)
            await asyncio.sleep(5.0)
            showing.cancel()

    play(run())
    assert [words for _, words in line.said] == ["1 of 2 hosts · qwen3-30b-a3b-2507 ready"] * is_on
