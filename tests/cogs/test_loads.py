"""Loads in a command's reply: the bar, how it ends, and Cancel."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from cogs_doubles import HOST, MODEL, MemoryNotes, interaction_of, lantern_of, said_to
from stand_ins import checked
from virtual_time import play

from bot.chat.acts import FleetActs
from bot.chat.walk import Readiness
from bot.domain.chat import Candidate, Rejection
from bot.domain.errors import FailureKind, NotPermitted, Unavailable
from bot.domain.events import Loading, Progress, Queued
from bot.domain.ids import HostName, ModelKey, ProviderName
from bot.policy.access import EVERY_RIGHT, Rights
from bot.policy.pacing import Pacers
from cogs._load_view import CUT_LINE
from cogs._loads import LEAVING, NOTE, Loads
from cogs._transport import InteractionTransport

BAR = tuple(Loading(HOST, MODEL, step / 10, 10.0 - step) for step in range(10))


@asynccontextmanager
async def steps_of(
    steps: tuple[Progress, ...], end: Exception | Readiness | None = None
) -> AsyncGenerator[AsyncIterator[Progress | Readiness]]:
    async def steps_() -> AsyncIterator[Progress | Readiness]:
        for step in steps:
            yield step
            await asyncio.sleep(1.0)
        if isinstance(end, Exception):
            raise end
        yield end or Readiness(MODEL, Candidate(MODEL, HOST), float(len(steps)) if steps else None)

    yield steps_()


def loads_of(notes: MemoryNotes, cancel: Callable[[HostName, ModelKey], Awaitable[bool]]) -> Loads:
    acts = checked(FleetActs)
    acts.cancel_load = cancel
    return Loads(replace(lantern_of(), notes=notes, acts=acts))


class Shown:
    """One load played to the end, with a press of Cancel on the way when asked for."""

    def __init__(
        self,
        steps: tuple[Progress, ...],
        error: Exception | Readiness | None = None,
        *,
        press_at: float | None = None,
        presser: int = 1,
        is_cancelled: bool = True,
        is_admin: bool = False,
        stays: str = "",
    ) -> None:
        self.stays = stays
        self.interaction, self.press = interaction_of(), interaction_of(presser)
        self.notes = MemoryNotes()
        self.cancelled: list[tuple[HostName, ModelKey]] = []
        self.noted: Any = None
        play(self._story(steps, error, press_at, is_cancelled, is_admin))

    async def _story(
        self,
        steps: tuple[Progress, ...],
        error: Exception | Readiness | None,
        press_at: float | None,
        is_cancelled: bool,
        is_admin: bool,
    ) -> None:
        async def cancel(host: HostName, model: ModelKey) -> bool:
            self.cancelled.append((host, model))
            return is_cancelled

        loads = loads_of(self.notes, cancel)
        transport = InteractionTransport(self.interaction, Pacers())
        async with asyncio.TaskGroup() as group:
            group.create_task(
                loads.show(
                    self.interaction, transport, "🔀 Switched.", steps_of(steps, error), self.stays
                )
            )
            if press_at is not None:
                await asyncio.sleep(press_at)
                self.noted = json.loads(self.notes.notes[NOTE])
                await loads.halt(
                    self.press, str(self.interaction.id), EVERY_RIGHT if is_admin else Rights()
                )

    @property
    def texts(self) -> list[str]:
        calls = self.interaction.edit_original_response.await_args_list
        return [call.kwargs["content"] for call in calls]

    @property
    def last_view(self) -> Any:
        return self.interaction.edit_original_response.await_args.kwargs["view"]


def test_a_load_shows_its_bar_then_where_the_model_is() -> None:
    shown = Shown(BAR)
    assert "0%" in shown.texts[0]
    assert shown.texts[0].startswith("🔀 Switched.\n")
    ready = f"✅ Ready: `{MODEL}` is in memory on {HOST} after 10 s."
    assert shown.texts[-1] == f"🔀 Switched.\n{ready}"
    assert shown.last_view is None


def test_nothing_to_load_is_said_at_once() -> None:
    assert Shown(()).texts == [f"🔀 Switched.\n✅ Ready: `{MODEL}` is in memory on {HOST}."]


def test_a_failed_load_gives_the_hosts_own_reason() -> None:
    shown = Shown(BAR[:2], Unavailable("studio-1: not enough memory", FailureKind.LOAD_FAILED))
    assert shown.texts[-1] == "🔀 Switched.\n❌ studio-1: not enough memory"


def test_a_choice_that_nobody_can_load_is_never_called_ready() -> None:
    away = Rejection(HOST, MODEL, "away: 10.0.0.2:1234 refuses connections", brief="off")
    (text,) = Shown((), Readiness(MODEL, None, failed=(away,))).texts
    assert text.endswith(f"❌ Nobody can answer with `{MODEL}` right now: {HOST} is off.")


def test_cancel_ends_the_load_and_says_so() -> None:
    shown = Shown(BAR, press_at=3.5)
    assert shown.cancelled == [(HOST, MODEL)]
    assert shown.texts[-1] == "🔀 Switched.\n⏹ Cancelled."
    assert shown.press.response.defer.await_count == 1


def test_a_load_others_wait_for_goes_on_without_us() -> None:
    shown = Shown(BAR, press_at=3.5, is_cancelled=False)
    assert shown.texts[-1].endswith("Others wait for this load, so it goes on.")


STAYS = "`gemma` stays chosen."


def buttons(view: Any) -> list[str]:
    return [] if view is None else [child.item.custom_id for child in view.children]


def test_a_cancelled_choice_says_that_it_stays_and_can_be_undone() -> None:
    shown = Shown(BAR, press_at=3.5, stays=STAYS)
    assert shown.texts[-1] == f"🔀 Switched.\n⏹ Cancelled. {STAYS}"
    assert buttons(shown.last_view) == [f"lantern:undo:{shown.interaction.id}"]


NOBODY = Readiness(MODEL, None)
GEMMA_INSTEAD = Readiness(MODEL, Candidate(ModelKey("gemma"), HOST))
ZAI_INSTEAD = Readiness(MODEL, Candidate(ModelKey("glm"), provider=ProviderName("zai")))
AS_CHOSEN = replace(ZAI_INSTEAD, provider=ProviderName("zai"))
HOST_FOR_ZAI = replace(NOBODY, by=Candidate(MODEL, HOST), provider=ProviderName("zai"))


@pytest.mark.parametrize(
    ("end", "can_undo"),
    [
        (None, False),
        (AS_CHOSEN, False),
        (NOBODY, True),
        (replace(NOBODY, provider=ProviderName("zai")), True),
        (GEMMA_INSTEAD, True),
        (ZAI_INSTEAD, True),
        (HOST_FOR_ZAI, True),
        (Unavailable("studio-1: not enough memory", FailureKind.LOAD_FAILED), True),
    ],
)
def test_a_choice_in_vain_can_be_undone_and_a_load_by_hand_has_nothing_to_undo(
    end: Exception | Readiness | None, can_undo: bool
) -> None:
    chosen = Shown(BAR[:2], end, stays=STAYS)
    assert buttons(chosen.last_view) == [f"lantern:undo:{chosen.interaction.id}"] * can_undo
    assert buttons(Shown(BAR[:2], end).last_view) == []


class Pressed:
    """Undo, pressed on a message that reads so."""

    def __init__(self, said: str | Exception, shown: str, *, is_admin: bool = False) -> None:
        lantern = lantern_of()
        self.switch: Any = lantern.switch
        self.switch.undo.side_effect = [said]
        self.press = interaction_of(2)
        self.press.message.content = shown
        play(Loads(lantern).undo(self.press, "900", EVERY_RIGHT if is_admin else Rights()))


def test_undo_takes_the_choice_back_and_its_message_says_what_is_chosen_now() -> None:
    pressed = Pressed(
        "↩ Undone: `qwen` is chosen.", "🔀 Chosen.\n> Hi.\n⏹ Cancelled.", is_admin=True
    )
    assert pressed.switch.undo.await_args.args[1:] == ("discord:2", "900")
    assert pressed.switch.undo.await_args.kwargs == {"rights": EVERY_RIGHT}
    shown = pressed.press.edit_original_response.await_args.kwargs
    assert shown == {
        "content": "🔀 Chosen.\n> Hi.\n↩ Undone: `qwen` is chosen.",
        "view": None,
    }


def test_what_cannot_be_undone_leaves_its_message_as_it_is() -> None:
    with pytest.raises(NotPermitted):
        Pressed(NotPermitted("no"), "🔀 Chosen.\n⏹ Cancelled.")


def test_cancel_on_a_message_that_a_crash_left_shows_what_closing_would() -> None:
    async def story() -> Any:
        notes, press = MemoryNotes(), interaction_of()
        notes.notes[NOTE] = json.dumps([[7, 301, "🔀 Chosen.", STAYS, "900"]])
        loads = Loads(replace(lantern_of(), notes=notes))
        await loads.left_open()
        press.message.id, press.message.content = 301, "🔀 Chosen.\n📦 Loading"
        await loads.halt(press, "900", Rights())
        known = press.response.edit_message.await_args.kwargs
        press.message.id = 302
        await loads.halt(press, "901", Rights())
        return known, press.response.edit_message.await_args.kwargs

    known, unknown = play(story())
    assert known["content"] == f"🔀 Chosen.\n{CUT_LINE} {STAYS}"
    assert buttons(known["view"]) == ["lantern:undo:900"]
    text = "🔀 Chosen.\n-# This load is not running any more."
    assert unknown == {"content": text, "view": None}


def test_leaving_a_queue_cancels_no_load() -> None:
    shown = Shown((Queued(HOST, MODEL, 2),) * 9, press_at=3.5)
    assert shown.cancelled == []
    assert shown.texts[-1] == "🔀 Switched.\n⏹ Cancelled."


def test_somebody_else_may_not_cancel() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        Shown(BAR, press_at=3.5, presser=2)
    assert isinstance(caught.value.exceptions[0], NotPermitted)


def test_an_admin_may_cancel_anybodys_load() -> None:
    shown = Shown(BAR, press_at=3.5, presser=2, is_admin=True)
    assert shown.cancelled == [(HOST, MODEL)]
    assert said_to(shown.press) == []


def test_the_message_of_a_load_is_noted_while_it_runs_for_the_start_after_a_crash() -> None:
    shown = Shown(BAR, press_at=3.5)
    assert shown.noted == [[7, 200, "🔀 Switched.", "", str(shown.interaction.id), "", ""]]
    assert json.loads(shown.notes.notes[NOTE]) == []


class Left:
    """A load that Lantern leaves in the middle."""

    def __init__(self, *, answer_s: float = 0.0, limit_s: float = 5.0) -> None:
        self.interaction, self.notes = interaction_of(), MemoryNotes()
        self.answer_s = answer_s
        self.has_ended = play(self._story(limit_s))

    async def _story(self, limit_s: float) -> bool:
        async def cancel(host: HostName, model: ModelKey) -> bool:
            return True

        loads = loads_of(self.notes, cancel)
        transport = InteractionTransport(self.interaction, Pacers())
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(
                loads.show(self.interaction, transport, "🔀 Switched.", steps_of(BAR))
            )
            await asyncio.sleep(3.5)
            self.interaction.edit_original_response.side_effect = self._answer
            has_ended = await loads.leave(limit_s)
            showing.cancel()
        return has_ended

    async def _answer(self, **_: object) -> None:
        await asyncio.sleep(self.answer_s)

    @property
    def noted(self) -> Any:
        return json.loads(self.notes.notes[NOTE])


def test_leaving_ends_the_message_of_a_load_honestly() -> None:
    left = Left()
    assert left.has_ended
    shown = left.interaction.edit_original_response.await_args.kwargs
    assert shown == {"content": f"🔀 Switched.\n{LEAVING}", "view": None}
    assert left.noted == []


def test_a_load_whose_end_was_not_shown_stays_noted_for_the_next_start() -> None:
    left = Left(answer_s=60.0)
    assert not left.has_ended
    assert left.noted == [[7, 200, "🔀 Switched.", "", str(left.interaction.id), "", ""]]


def test_a_load_begun_while_leaving_ends_at_once() -> None:
    async def story() -> Any:
        async def cancel(host: HostName, model: ModelKey) -> bool:
            return True

        loads, interaction = (
            loads_of(MemoryNotes(), cancel),
            interaction_of(),
        )
        assert await loads.leave(1.0)
        transport = InteractionTransport(interaction, Pacers())
        await loads.show(interaction, transport, "🔀 Switched.", steps_of(BAR))
        return interaction.edit_original_response.await_args.kwargs["content"]

    assert play(story()).endswith(LEAVING)
