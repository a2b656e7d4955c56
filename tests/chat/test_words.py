"""What people read."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.chat.walk import Readiness
from bot.chat.words import (
    aside_line,
    bar,
    cost_text,
    error_text,
    footer,
    host_lines,
    host_title,
    progress_line,
    readiness_text,
    reading_line,
    resuming_line,
    seconds_text,
    serving_text,
    state_text,
    stopped_text,
    unready_lines,
    why_text,
)
from bot.domain.chat import (
    Candidate,
    Place,
    Receipt,
    Rejection,
    Route,
    Seam,
    Timing,
    Turn,
    Usage,
)
from bot.domain.errors import FailureKind, NoCandidates
from bot.domain.events import Evicting, Loading, Queued, Reading, Resuming, Silence, Stopped
from bot.domain.hosts import HostSnapshot, HostState, Instance, LoadInFlight, LoadLimits, Model
from bot.domain.ids import (
    AUTO,
    HostName,
    InstanceId,
    ModelKey,
    PersonaName,
    PlaceId,
    ProviderName,
    TurnId,
    UserId,
)
from bot.policy.conversation import continued

STUDIO, LAPTOP = HostName("studio"), HostName("laptop")
QWEN, GEMMA = ModelKey("qwen/qwen3-8b"), ModelKey("google/gemma-3-4b")
SAGE = PersonaName("sage")


def test_who_could_not_load_is_told_and_named_once() -> None:
    drains = Rejection(STUDIO, QWEN, "studio is draining and takes no new turns.")
    other = Rejection(STUDIO, GEMMA, "away")
    ready = Readiness(QWEN, None, None, (drains, drains, AWAY, other))
    assert unready_lines(ready) == (
        "• studio is draining and takes no new turns.\n"
        "• studio: away: 10.0.0.2:1234 refuses connections\n"
        f"• studio (`{GEMMA}`): away"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (0.44, "0.4 s"), (12.4, "12 s"), (119.4, "119 s"), (185, "3 min 05 s")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


AWAY = Rejection(STUDIO, QWEN, "away: 10.0.0.2:1234 refuses connections", brief="off")
ZAI = ProviderName("zai")
GLM = Candidate(ModelKey("glm"), provider=ZAI)
READINESS = [
    (Readiness(QWEN, Candidate(QWEN, STUDIO)), f"✅ Ready: `{QWEN}` is in memory on studio."),
    (
        Readiness(QWEN, Candidate(QWEN, STUDIO), 10.2),
        f"✅ Ready: `{QWEN}` is in memory on studio after 10 s.",
    ),
    (
        Readiness(AUTO, Candidate(GEMMA, STUDIO), 3.0, (AWAY,)),
        f"✅ Ready: `{GEMMA}` is in memory on studio after 3.0 s.",
    ),
    (
        Readiness(
            QWEN,
            Candidate(GEMMA, LAPTOP),
            3.0,
            (AWAY, Rejection(LAPTOP, GEMMA, "full", brief="busy")),
        ),
        f"⚠ Until `{QWEN}` can be loaded, `{GEMMA}` on laptop answers here: "
        "studio is off, laptop is busy.",
    ),
    (
        Readiness(QWEN, GLM, None, (AWAY,)),
        f"⚠ Until `{QWEN}` can be loaded, ☁ zai answers here: studio is off.",
    ),
    (
        Readiness(AUTO, GLM, None, (replace(AWAY, model=AUTO),)),
        "⚠ Until a host can answer, ☁ zai answers here: studio is off.",
    ),
    (
        Readiness(QWEN, Candidate(QWEN, provider=ZAI)),
        f"⚠ ☁ zai goes before `{QWEN}` here and answers first.",
    ),
    (
        Readiness(QWEN, None, failed=(AWAY, Rejection(ZAI, GEMMA, "local only", is_cloud=True))),
        f"❌ Nobody can answer with `{QWEN}` right now: studio is off.",
    ),
    (Readiness(QWEN, None), f"❌ Nobody can answer with `{QWEN}` right now."),
    (Readiness(QWEN, GLM, provider=ZAI), "✅ ☁ zai answers from now on."),
    (
        Readiness(
            QWEN,
            Candidate(QWEN, STUDIO),
            failed=(
                Rejection(ZAI, GEMMA, "HTTP 402: top up", brief="not available", is_cloud=True),
            ),
            provider=ZAI,
        ),
        f"⚠ Until ☁ zai can be asked, `{QWEN}` on studio answers here: zai is not available.",
    ),
    (
        Readiness(
            QWEN,
            None,
            failed=(Rejection(STUDIO, QWEN, "It needs 20 GB.", brief="too full for it"),),
        ),
        f"❌ Nobody can answer with `{QWEN}` right now: studio is too full for it. It needs 20 GB.",
    ),
]


@pytest.mark.parametrize(("ready", "text"), READINESS)
def test_only_what_is_in_memory_is_called_so_and_who_stands_in_is_named(
    ready: Readiness, text: str
) -> None:
    assert readiness_text(ready) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_bar_is_always_as_wide_as_asked(fraction: float) -> None:
    assert len(bar(fraction, 10)) == 10


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        (Queued(STUDIO, QWEN, 2, 7.0), ["place 2", "studio", "7.0 s"]),
        (Queued(STUDIO, QWEN, 1), ["place 1"]),
        (
            Queued(STUDIO, QWEN, 1, 4.0, QWEN),
            ["You're next", "studio is finishing an answer", "4.0 s"],
        ),
        (
            Evicting(STUDIO, QWEN, (GEMMA,)),
            ["📤 Making room for `qwen/qwen3-8b` on studio: unloading `google/gemma-3-4b`"],
        ),
        # Its own smaller copy leaves.
        (
            Evicting(STUDIO, QWEN, (QWEN,)),
            ["🔁 Reloading `qwen/qwen3-8b` on studio with room for a longer text"],
        ),
        (
            Evicting(STUDIO, QWEN, (QWEN, GEMMA)),
            ["on studio: unloading `qwen/qwen3-8b`, `google/gemma-3-4b`"],
        ),
        (Loading(STUDIO, QWEN, 0.5, 6.0), ["50%", "6.0 s left", "████████░░░░░░░░"]),
        (Loading(STUDIO, QWEN, 0.5, None), ["50%"]),
        (
            Loading(STUDIO, QWEN, 0.58, 54.0, 75.0, usual_s=15.0),
            ["58% · 54 s left · longer than usual (~15 s)"],
        ),
        (Loading(STUDIO, QWEN, 0.0, None, 75.0, usual_s=15.0), ["0% · longer than usual (~15 s)"]),
        (
            Loading(STUDIO, QWEN, 0.0, None, 9.0, is_held=True),
            ["0% · an earlier load ends first (9.0 s)"],
        ),
        (
            Loading(STUDIO, QWEN, 0.0, None, 9.0, is_held=True, stands_s=6.0),
            ["0% · another Lantern stands still in its load (9.0 s)"],
        ),
        (Loading(STUDIO, QWEN, 0.4, None, 75.0, stands_s=5.0), ["40% · stands still for 5.0 s"]),
    ],
)
def test_a_wait_says_host_model_and_what_is_left(
    step: Queued | Evicting | Loading, parts: list[str]
) -> None:
    line = progress_line(step)
    assert all(part in line for part in [*parts, "studio", "qwen/qwen3-8b"])
    if isinstance(step, Loading) and step.seconds_left is None:
        assert "left" not in line


def test_reading_never_claims_to_be_done() -> None:
    step = Reading(Candidate(QWEN, host=STUDIO), 48_000, 10.0)
    assert "48,000" in reading_line(step, 5.0)
    assert "50%" in reading_line(step, 5.0)
    assert "99%" in reading_line(step, 500.0)


def test_reading_without_a_measured_speed_shows_no_percent() -> None:
    assert "%" not in reading_line(Reading(Candidate(QWEN, host=STUDIO), 10, None), 5.0)


def test_who_is_silent_for_longer_than_reading_takes_is_not_called_reading() -> None:
    step = Reading(Candidate(QWEN, host=STUDIO), 30, 0.1, doubt_s=5.1)
    assert "reading" in reading_line(step, 5.0)
    told = "⏳ studio has not begun its answer after 9 s; it may still come"
    assert reading_line(step, 9.0) == told
    assert reading_line(replace(step, expected_s=None), 9.0) == told


def test_a_footer_names_model_host_tokens_speed_and_wait() -> None:
    receipt = Receipt(
        SAGE,
        model=QWEN,
        host=STUDIO,
        usage=Usage(prompt_tokens=10, completion_tokens=1200),
        timing=Timing(queue_s=1, load_s=2, first_token_s=0.5, generation_s=20),
    )
    assert footer(receipt) == (
        "qwen/qwen3-8b · studio · 1,200 tokens · 60 tok/s · 3.5 s to first token"
    )


def test_an_answer_by_two_hosts_names_both_and_why_tells_where_they_meet() -> None:
    seam = Seam(STUDIO, "studio broke off its answer.", 1, 2.5)
    receipt = Receipt(SAGE, model=QWEN, host=HostName("laptop"), seams=(seam,))
    assert footer(receipt) == "qwen/qwen3-8b · studio → laptop"
    lost = "Lost in the middle: studio, after about 1 token: studio broke off its answer."
    assert f"{lost} The next went on 2.5 s later." in why_text(_turn(receipt)).splitlines()
    # Nobody went on: the first is the only one that spoke.
    alone = replace(receipt, host=STUDIO, seams=(replace(seam, pause_s=None),))
    assert footer(alone) == "qwen/qwen3-8b · studio"
    assert lost in why_text(_turn(alone)).splitlines()


def test_an_answer_gone_on_with_names_every_model_and_host_that_gave_its_words() -> None:
    laptop, gemma, seam = HostName("laptop"), ModelKey("gemma"), Seam(STUDIO, pause_s=2.5)
    first = Receipt(SAGE, model=gemma, host=laptop, seams=(seam,), usage=Usage(1, 109))
    more = Receipt(SAGE, model=QWEN, host=HostName("mini"), usage=Usage(1, 120))
    both = continued(first, more)
    assert footer(both) == "gemma → qwen/qwen3-8b · studio → laptop → mini · 229 tokens"
    assert f"Answered by: {footer(both)}" in why_text(_turn(both)).splitlines()
    # Whoever gave the last words stands last, and once.
    again = continued(both, replace(first, seams=()))
    assert footer(again).startswith("qwen/qwen3-8b → gemma · studio → mini → laptop · ")
    same = continued(replace(first, seams=()), replace(more, host=laptop))
    assert footer(same) == "gemma → qwen/qwen3-8b · laptop · 229 tokens"
    glm = Receipt(SAGE, model=ModelKey("glm"), provider=ProviderName("zai"))
    away, back = continued(more, glm), continued(glm, more)
    assert footer(away) == "☁ zai · qwen/qwen3-8b → glm · mini · 120 tokens"
    assert footer(back) == "☁ zai · glm → qwen/qwen3-8b · mini · 120 tokens"


def test_who_goes_on_and_how_far_that_is_is_one_line() -> None:
    step = Resuming(STUDIO, Candidate(QWEN, host=HostName("laptop")))
    begun = "↪ studio was lost; going on at laptop"
    assert aside_line(step) == f"{begun} …"
    waiting = Queued(HostName("laptop"), QWEN, 3)
    assert resuming_line(step, waiting) == f"{begun}: place 3 in its queue"
    loading = Loading(HostName("laptop"), QWEN, 1.0, 0.05)
    assert resuming_line(step, loading) == f"{begun}: loading 100%"
    assert resuming_line(step, replace(loading, seconds_left=0.1)).endswith("100% · 0.1 s left")
    assert aside_line(Silence(10.0)) == "⏳ no word for 10 s; it may still go on"


def test_thinking_is_told_as_such() -> None:
    timing = Timing(first_token_s=0.1, thinking_s=30.0, generation_s=32.0)
    receipt = Receipt(SAGE, model=QWEN, host=STUDIO, timing=timing)
    assert footer(receipt).endswith("0.1 s to first token · thought for 30 s")
    assert "thinking 30 s · generation 2.0 s" in why_text(_turn(receipt))
    shorter = replace(receipt, timing=replace(timing, thinking_s=0.9))
    assert "thought" not in footer(shorter)


def test_a_cloud_footer_is_marked_and_priced() -> None:
    receipt = Receipt(
        SAGE, model=ModelKey("glm-4.6"), provider=ProviderName("zai"), cost_micro_usd=4000
    )
    assert footer(receipt) == "☁ zai · 0.4 ¢ · glm-4.6"


@pytest.mark.parametrize(
    ("micro", "text"), [(1, "0.0001 ¢"), (4000, "0.4 ¢"), (1_250_000, "$1.25")]
)
def test_costs_read_as_cents_and_dollars(micro: int, text: str) -> None:
    assert cost_text(micro) == text


def test_estimated_tokens_are_marked() -> None:
    receipt = Receipt(SAGE, model=QWEN, usage=Usage(completion_tokens=5, estimated=True))
    assert "~5 tokens" in footer(receipt)


def test_a_stop_by_its_asker_is_no_fault() -> None:
    turn = TurnId("t")
    assert stopped_text(Stopped(turn, Receipt(SAGE), "", by_asker=True)) == "⏹ Stopped."
    gone = Stopped(turn, Receipt(SAGE), "It is gone.", by_asker=True)
    assert stopped_text(gone) == "⏹ Stopped. It is gone."
    cut = stopped_text(Stopped(turn, Receipt(SAGE), "studio cut the line.", by_asker=False))
    assert "studio cut the line." in cut
    assert "kept" in cut


def test_a_failure_shows_its_whole_message() -> None:
    assert error_text(NoCandidates("Nobody.\nTried:")) == "❌ Nobody.\nTried:"


def _turn(receipt: Receipt | None) -> Turn:
    return Turn(
        id=TurnId("t"),
        parent=None,
        user=UserId("u"),
        user_name="ada",
        place=Place(PlaceId("c")),
        persona=SAGE,
        user_text="hi",
        reply_text="ho",
        reasoning_text="",
        status="done",
        created_at_ms=0,
        receipt=receipt,
    )


def test_why_shows_route_rejections_attempts_and_the_split_of_the_wait() -> None:
    route = Route(
        candidates=(Candidate(QWEN, host=STUDIO, seconds=0.4, reason="in memory and idle"),),
        rejected=(Rejection("laptop", QWEN, "not on disk"),),
        reason="soonest first",
    )
    receipt = Receipt(
        SAGE,
        model=QWEN,
        host=STUDIO,
        timing=Timing(queue_s=1, load_s=2, first_token_s=3, generation_s=4),
        route=route,
        attempts=(Rejection("attic", QWEN, "refused", FailureKind.CONNECT),),
        choice_reason="chosen for this channel",
        notices=("trimmed",),
    )
    text = why_text(_turn(receipt))
    for part in (
        "chosen for this channel",
        "soonest first",
        "studio (`qwen/qwen3-8b`) ~0.4 s: in memory and idle",
        "laptop (`qwen/qwen3-8b`): not on disk",
        "attic (`qwen/qwen3-8b`): refused",
        "queue 1.0 s · load 2.0 s · prefill 3.0 s · generation 4.0 s",
        "First word: 0.4 s predicted, 6.0 s in fact",
        "Note: trimmed",
    ):
        assert part in text


def test_why_tells_what_was_pressed_and_that_an_answer_ended_at_its_length() -> None:
    plain = Receipt(SAGE, model=QWEN, host=STUDIO, finish="stop")
    pressed = replace(plain, presses=("Wait after 4 s", "Stop after 9 s"), finish="length")
    more = [
        "Pressed: Wait after 4 s",
        "Pressed: Stop after 9 s",
        "Ended at its length limit (finish reason `length`); Continue goes on.",
    ]
    said = why_text(_turn(pressed)).splitlines()
    assert [line for line in said if line in more] == more
    before = why_text(_turn(plain)).splitlines()
    assert not [line for line in before if line.startswith(("Pressed", "Ended"))]


def test_why_tells_what_was_lost_at_a_host_that_hung_and_the_small_print_the_whole_wait() -> None:
    lazy = Rejection("attic", QWEN, "attic stands still at 23% of its load.", spent_s=8.1)
    hung = Rejection("laptop", QWEN, "laptop said nothing for 20 s: it hangs.", spent_s=22.0)
    soon = Rejection("cellar", QWEN, "cellar is off.", spent_s=0.01)
    receipt = Receipt(
        SAGE,
        model=QWEN,
        host=STUDIO,
        timing=Timing(load_s=6, first_token_s=0.4, generation_s=1, until_asked_s=30.1),
        route=Route((Candidate(QWEN, host=STUDIO, seconds=5.0),)),
        left=(lazy,),
        attempts=(hung, soon),
    )
    text = why_text(_turn(receipt))
    assert "· 36 s to first token" in text
    assert text.splitlines()[-7:] == [
        "Left for one that was sooner:",
        "• attic (`qwen/qwen3-8b`) after 8.1 s: attic stands still at 23% of its load.",
        "Tried and failed:",
        "• laptop (`qwen/qwen3-8b`) after 22 s: laptop said nothing for 20 s: it hangs.",
        "• cellar (`qwen/qwen3-8b`): cellar is off.",
        "Time: until asked 30 s · load 6.0 s · prefill 0.4 s · generation 1.0 s",
        "First word once asked: 5.0 s predicted, 6.4 s in fact",
    ]
    own = replace(receipt, timing=replace(receipt.timing, until_asked_s=0.4))
    assert why_text(_turn(own)).splitlines()[-2:] == [
        "Time: load 6.0 s · prefill 0.4 s · generation 1.0 s",
        "First word: 5.0 s predicted, 6.4 s in fact",
    ]


def test_why_tells_who_answered_from_who_was_only_asked_and_what_was_paid_for_nothing() -> None:
    off = Route(rejected=(Rejection("studio", QWEN, "away", FailureKind.CONNECT, "off"),))
    zai = ProviderName("zai")
    away = Receipt(SAGE, model=QWEN, provider=zai, route=off, cost_micro_usd=84)
    said = why_text(_turn(away)).splitlines()
    assert said[1:3] == [
        "☁ studio is off; zai answered.",
        "Answered by: ☁ zai · 0.0084 ¢ · qwen/qwen3-8b",
    ]
    # Refused before anybody was asked: nobody declined.
    assert footer(Receipt(SAGE, finish="refused")) == ""
    declined = replace(_turn(replace(away, finish="refused", cost_micro_usd=0)), reply_text="")
    assert why_text(declined).splitlines()[1] == (
        "Asked: ☁ zai · qwen/qwen3-8b · declined to go on"
    )
    nobody = replace(_turn(replace(away, model=None, provider=None)), reply_text="")
    assert "Nobody answered; what was tried cost 0.0084 ¢." in why_text(nobody).splitlines()
    free = replace(nobody, receipt=Receipt(SAGE, route=off))
    # Of what a crash cut short nothing is known of who was chosen, or why.
    assert why_text(free).splitlines()[0] == "**sage**"
    assert "Nobody answered." in why_text(free).splitlines()


def test_why_of_a_running_turn_says_so() -> None:
    assert "still being made" in why_text(_turn(None))


def test_a_host_shows_memory_residents_load_and_queue() -> None:
    host = HostSnapshot(
        STUDIO,
        "10.0.0.2:1234",
        state="up",
        models={QWEN: Model(QWEN)},
        instances=(
            Instance(InstanceId(QWEN), QWEN, size_bytes=5 * 10**9, own=True, idle_since=90.0),
            Instance(InstanceId(GEMMA), GEMMA, leases=2, pinned=True, context_length=4096),
        ),
        load=LoadInFlight(GEMMA, 0.25, 0.0, None),
        waiting={QWEN: 2},
        memory_bytes=24 * 10**9,
    )
    text = "\n".join(host_lines(host, 100.0))
    for part in (
        "2 loaded, 5.0 GB of 24.0 GB",
        "own, idle 10 s",
        "foreign, pinned, 2 answering, context 4,096",
        "loading 25%",
        "2 waiting",
    ):
        assert part in text


def test_a_host_at_work_that_tells_nothing_is_said_to_be_silent_and_since_when() -> None:
    host = HostSnapshot(
        STUDIO, "10.0.0.2:1234", state="up", reason="no answer", silent_since=40.0, failures=3
    )
    assert state_text(host, 100.0) == "up · silent for 60 s: no answer"
    assert host_lines(host, 100.0)[0].startswith("🟡")
    assert serving_text([host, replace(host, silent_since=None)]) == "serving; 1 of 2 hosts up"


def test_a_host_says_what_it_failed_to_load_and_when_it_is_tried_again() -> None:
    reason = "Engine exited\nwith code 7." + "x" * 500
    limits = {
        QWEN: LoadLimits(failure=reason, failed_until=112.0),
        GEMMA: LoadLimits(failure="over", failed_until=100.0),
    }
    host = HostSnapshot(STUDIO, "10.0.0.2:1234", state="up", limits=limits)
    (told,) = host_lines(host, 100.0)[1:]
    assert told.startswith(f"└ ⚠️ `{QWEN}` did not load, tried again in 12 s: Engine exited with")
    assert len(told) < 250


def test_a_lost_host_says_why_and_when_it_is_looked_at_again() -> None:
    host = HostSnapshot(LAPTOP, "10.0.0.3:1234", state="down", reason="refused")
    line = "🔴 **laptop** 10.0.0.3:1234 · down: refused"
    assert host_lines(host, 0.0) == (line,)
    again = replace(host, next_probe_at=30.0)
    assert host_lines(again, 12.0) == (f"{line} · looked at again in 18 s",)
    assert host_lines(again, 30.0) == (line,)


@pytest.mark.parametrize(
    ("state", "until", "said"),
    [
        ("draining", math.inf, "🟡 **laptop** · draining until it is resumed · "),
        ("draining", 7260.0, "🟡 **laptop** · draining 2 h 01 min more · "),
        ("down", 60.0, "🔴 **laptop** · down: refused (draining 60 s more)"),
    ],
)
def test_a_drain_is_shown_with_its_end(state: HostState, until: float, said: str) -> None:
    host = HostSnapshot(
        LAPTOP, LAPTOP, state, "refused" if state == "down" else "", drained_until=until
    )
    assert host_lines(host, 0.0)[0].startswith(said)


def test_of_a_lost_host_nothing_is_said_to_be_in_memory() -> None:
    instance = Instance(InstanceId(QWEN), QWEN, own=True, idle_since=1.0)
    host = HostSnapshot(
        LAPTOP, "10.0.0.3:1234", state="down", reason="refused", instances=(instance,)
    )
    assert len(host_lines(host, 0.0)) == 1


def test_an_address_that_is_the_name_stands_once() -> None:
    host = HostSnapshot(HostName("10.0.0.3:1234"), "10.0.0.3:1234", models={QWEN: Model(QWEN)})
    up = replace(host, state="up")
    assert host_title(host) == "10.0.0.3:1234"
    assert host_title(replace(host, name=LAPTOP)) == "laptop (10.0.0.3:1234)"
    assert host_lines(up, 0.0)[0].count("10.0.0.3") == 1
    assert "1 model on disk" in host_lines(up, 0.0)[0]
