"""A job served by a host, in virtual time: asked again or not, left or not, fitted, ended, noted.

The host is a stand-in that does as it is told; the lease and the draft are real.
"""

import asyncio
import math
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from stand_ins import checked, double
from virtual_time import play

from bot.chat import host_serving
from bot.chat.choices import Resolved
from bot.chat.draft import Draft
from bot.chat.host_serving import HostServing, Others, SilenceLimits
from bot.chat.planning import Asking, Job
from bot.chat.walk import HOST_AT_FAULT
from bot.domain.chat import (
    Attachment,
    Candidate,
    Endpoint,
    InferenceRequest,
    Message,
    Place,
    Receipt,
    Route,
    Seam,
    Timing,
    Told,
    Turn,
    TurnRequest,
    Usage,
)
from bot.domain.errors import BotError, FailureKind, Refused, Unavailable
from bot.domain.events import (
    Delta,
    Loading,
    Notice,
    Progress,
    Queued,
    Reading,
    ReasoningDelta,
    StreamEnd,
    TextDelta,
    TurnEvent,
)
from bot.domain.hosts import (
    FleetSnapshot,
    HostConfig,
    HostSnapshot,
    HostState,
    Instance,
    Model,
    Speed,
    SpeedRecord,
    Wish,
)
from bot.domain.ids import (
    HostName,
    InstanceId,
    ModelKey,
    PersonaName,
    PlaceId,
    ProviderName,
    TurnId,
    UserId,
)
from bot.domain.personas import Persona, Sampling
from bot.fleet.effects import Grant, Tell
from bot.fleet.fleet import Fleet
from bot.fleet.host import Host
from bot.fleet.lease import Elsewhere, Lease
from bot.fleet.queue import Ticket
from bot.fleet.reading import Doubts, HostReader
from bot.policy.context import CONTINUE_TEXT, message_tokens
from bot.policy.deadlines import (
    DOUBT_S,
    FASTEST_TOKENS_PER_S,
    LEAST_ALONE_S,
    LEAST_BESIDE_S,
    LEAST_DEAF_S,
    LEAST_GAP_S,
    LEAST_PAUSE_S,
    READ_FACTOR,
    SHARED_GAP_S,
    SLOWEST_ANSWER_PER_S,
    SLOWEST_TOKENS_PER_S,
    UNSAID_FACTOR,
    WORDLESS_S,
)
from bot.policy.privacy import Consent, LocalOnly
from bot.policy.speeds import speed_of_answer

QWEN = ModelKey("qwen")
STUDIO, LAPTOP = HostName("studio"), HostName("laptop")
HERE, THERE = Candidate(QWEN, STUDIO, burden_s=9.0), Candidate(QWEN, LAPTOP)
SAID = (
    Message("user", "old " * 99),
    Message("assistant", "yes"),
    Message("user", "Why?"),
)
SAMPLING = Sampling(temperature=0.5)
ANSWER_TOKENS = 100
PICTURE = Attachment("cat.png", "image/png", image=b"png")
END = StreamEnd("stop", Usage(10, 5), "qwen")
ANSWER = (TextDelta("So."), END)

Script = Sequence[Delta | Unavailable] | Unavailable
"""What comes of one request; a failure is raised."""


def fails(kind: FailureKind, words: str = "no") -> Unavailable:
    return Unavailable(words, kind)


async def stays(_: Sequence[Message]) -> Consent:
    return LocalOnly("nobody asks here")


def job_of(**more: Any) -> Job:
    resolved = Resolved(
        Persona(PersonaName("sage"), sampling=SAMPLING), "by default", QWEN, "by default", False
    )
    request = TurnRequest(UserId("ada"), "Ada", Place(PlaceId("hall")), "Why?")
    asking = Asking(resolved, (), request, LocalOnly("nobody asks here"), stays, UserId("ada"))
    job = Job(
        asking=asking,
        messages=SAID,
        abroad=double(Job),
        prompt_tokens=sum(map(message_tokens, SAID)),
        answer_tokens=ANSWER_TOKENS,
        dropped=0,
        route=Route((HERE, THERE)),
        wish=Wish(ModelKey("wanted"), user="ada"),
        max_wait_s=9.0,
    )
    return replace(job, **more)


def lease_of(wish: Wish, number: int = 1) -> Lease:
    """A lease that no scheduler hears of."""
    unheard = list[Lease]().append
    return Lease(Ticket(number), HostConfig(STUDIO, "s:1"), wish, unheard, unheard, lambda: None)


@dataclass
class Lab:
    """One host that does as it is told, and what was asked of it and of its fleet."""

    scripts: Sequence[Script] = (ANSWER,)
    """What comes of each request in turn."""
    steps: Sequence[tuple[float, Progress]] = ()
    """What is told while it waits, each after so many seconds; it is granted a second later."""
    is_granted: bool = True
    """At once, where nothing is told."""
    snapshots: dict[HostName, HostSnapshot] = field(default_factory=dict[HostName, HostSnapshot])
    context: int | None = 4096
    wishes: list[Wish] = field(default_factory=list[Wish])
    sent: list[tuple[Endpoint, InferenceRequest]] = field(
        default_factory=list[tuple[Endpoint, InferenceRequest]]
    )
    told: list[TurnEvent] = field(default_factory=list[TurnEvent])
    limits: list[tuple[float, Doubts]] = field(default_factory=list[tuple[float, Doubts]])
    """For the first word of each request."""
    heard: list[float] = field(default_factory=list[float])
    """When its host said anything."""
    is_watched: bool = False
    lead_s: float | None = 0.0
    better: Callable[[Lease], Candidate | None] | None = None

    def __post_init__(self) -> None:
        self.host, self.fleet = checked(Host), checked(Fleet)
        self.host.lease.side_effect = self._lease
        self.host.is_in_line.return_value = True
        self.host.stay_s.return_value = self.lead_s
        self.host.confirm.return_value = self.host.probe.return_value = None
        self.host.reader = checked(HostReader)
        self.host.reader.first_word_within.side_effect = self._first_word_within
        self.host.reader.count_tokens.return_value = None
        self.fleet.host.side_effect = {STUDIO: self.host}.__getitem__
        self.fleet.snapshot.side_effect = lambda: FleetSnapshot(self._hosts(), 0.0)
        self.fleet.binding = self
        self.serving = HostServing(self.fleet, self)
        self._left = list(self.scripts)

    def _hosts(self) -> dict[HostName, HostSnapshot]:
        return {STUDIO: HostSnapshot(STUDIO, "s:1", "up"), **self.snapshots}

    @contextmanager
    def watching(
        self, lease: Lease, better: Callable[[Lease], Candidate | None]
    ) -> Generator[None]:
        self.is_watched, self.better = True, better
        yield

    @asynccontextmanager
    async def _lease(self, wish: Wish) -> AsyncGenerator[Lease]:
        self.wishes.append(wish)
        lease = lease_of(wish, len(self.wishes))
        instance = Instance(InstanceId("qwen"), QWEN, context_length=self.context)
        grant = Grant(lease.ticket, instance, 2.0, 3.0)
        if self.is_granted and not self.steps:
            lease.heard(grant)
        loop, at = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        for after_s, step in self.steps:
            at += after_s
            loop.call_at(at, lease.heard, Tell(lease.ticket, step))
        if self.is_granted and self.steps:
            loop.call_at(at + 1.0, lease.heard, grant)
        yield lease

    @asynccontextmanager
    async def _first_word_within(
        self, seconds: float, lease: Lease, doubts: Doubts
    ) -> AsyncGenerator[Callable[[], None]]:
        self.limits.append((seconds, doubts))
        yield lambda: self.heard.append(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def open(
        self,
        endpoint: Endpoint,
        request: InferenceRequest,
        straight: Callable[[Sequence[TextDelta]], bool] | None = None,
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        self.sent.append((endpoint, request))
        script = self._left.pop(0)
        if isinstance(script, Unavailable):
            raise script
        yield self._deltas(script, straight)

    async def _deltas(
        self,
        script: Sequence[Delta | Unavailable],
        straight: Callable[[Sequence[TextDelta]], bool] | None,
    ) -> AsyncIterator[Delta]:
        for delta in script:
            await asyncio.sleep(1.0)
            if isinstance(delta, Unavailable):
                raise delta
            if straight is None or not isinstance(delta, TextDelta) or not straight([delta]):
                yield delta

    async def emit(self, event: TurnEvent) -> None:
        self.told.append(event)

    def draft(self, straight: Callable[[Sequence[TextDelta]], bool] | None = None) -> Draft:
        return Draft(PersonaName("sage"), "", self.emit, straight)

    async def serve(
        self,
        job: Job,
        draft: Draft | None = None,
        candidate: Candidate = HERE,
        *,
        is_last: bool = False,
    ) -> Draft:
        draft = draft or self.draft()
        await self.serving.serve(STUDIO, candidate, job, draft, max_wait_s=7.0, is_last=is_last)
        return draft

    def texts(self) -> list[list[str]]:
        return [[message.text for message in request.messages] for _, request in self.sent]

    def notices(self) -> list[str]:
        return [event.text for event in self.told if isinstance(event, Notice)]


def begun(text: str = "It was") -> Job:
    """An answer whose host was lost: this host is to go on with it."""
    return job_of(begun=text, messages=(*SAID, Message("assistant", text)))


# --- asked once, asked again ---------------------------------------------------------------------


def test_a_host_is_asked_as_wished_and_its_answer_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_serving, "QUIET_S", 7.0)
    lab = Lab()
    candidate = replace(HERE, since=4.0)
    draft = play(lab_serves(lab, job_of(), candidate))
    assert draft.text == "So."
    assert lab.wishes == [Wish(QWEN, user="ada", max_wait_s=7.0, since=4.0)]
    ((endpoint, request),) = lab.sent
    assert (request.messages, request.sampling) == (SAID, SAMPLING)
    assert (endpoint.quiet_s, endpoint.idle_s) == (7.0, SHARED_GAP_S)
    timing = draft.receipt().timing
    assert (timing.queue_s, timing.load_s, timing.first_token_s) == (2.0, 3.0, 1.0)
    assert (draft.receipt().host, draft.receipt().model) == (STUDIO, QWEN)
    # At each of its words, its end as well.
    assert lab.heard == [1.0, 2.0]


async def lab_serves(lab: Lab, job: Job, candidate: Candidate = HERE) -> Draft:
    return await lab.serve(job, candidate=candidate)


AGAIN = "`qwen` was not as we left it on studio, so it was asked again."
OLDEST_OUT = ["Why?"]
WHOLE = [message.text for message in SAID]
EMPTY = (END,)
STALE = (FailureKind.WRONG_MODEL, FailureKind.NOT_THERE)


@pytest.mark.parametrize(
    ("job", "first", "second"),
    [
        (job_of(), fails(FailureKind.WRONG_MODEL), WHOLE),
        (job_of(), fails(FailureKind.NOT_THERE), WHOLE),
        (job_of(), fails(FailureKind.TOO_LONG), OLDEST_OUT),
        (job_of(), EMPTY, WHOLE),
        (begun(), fails(FailureKind.BAD_REQUEST), [*WHOLE, "It was", CONTINUE_TEXT]),
        (begun(), fails(FailureKind.EMPTY), [*WHOLE, "It was", CONTINUE_TEXT]),
        (begun(), fails(FailureKind.NOT_THERE), [*WHOLE, "It was"]),
    ],
)
def test_what_may_be_mended_by_asking_once_more_is_asked_once_more(
    job: Job, first: Script, second: list[str]
) -> None:
    lab = Lab((first, ANSWER))
    draft = play(lab_serves(lab, job))
    assert lab.texts()[1] == second
    assert draft.text == "So."
    is_stale = isinstance(first, Unavailable) and first.kind in STALE
    assert lab.notices().count(AGAIN) == is_stale
    assert len(lab.host.probe.await_args_list) == is_stale
    ((attempt),) = draft.receipt().attempts
    kind = first.kind if isinstance(first, Unavailable) else FailureKind.EMPTY
    assert (attempt.where, attempt.kind) == (STUDIO, kind)


ALONE = job_of(messages=SAID[-1:], prompt_tokens=20)


@pytest.mark.parametrize(
    ("job", "scripts"),
    [
        *((job_of(), [fails(kind)]) for kind in (FailureKind.CONNECT, FailureKind.BAD_REQUEST)),
        (ALONE, [fails(FailureKind.TOO_LONG)]),
        (begun(), [fails(FailureKind.SERVER)]),
        # Something was said: the next goes on from it.
        (job_of(), [(TextDelta("So"), fails(FailureKind.NOT_THERE))]),
        (job_of(), [EMPTY, fails(FailureKind.SERVER)]),
        (begun(), [fails(FailureKind.EMPTY), fails(FailureKind.EMPTY)]),
    ],
)
def test_anything_else_is_left_to_others(job: Job, scripts: list[Script]) -> None:
    lab = Lab(scripts)
    with pytest.raises(Unavailable) as raised:
        play(lab_serves(lab, job))
    last = scripts[-1]
    assert raised.value is (last if isinstance(last, Unavailable) else last[-1])
    assert len(lab.sent) == len(scripts)


def test_a_host_that_twice_says_nothing_is_told_of_and_nobody_else_is_asked() -> None:
    lab = Lab((EMPTY, EMPTY))
    with pytest.raises(
        BotError, match=r"^studio ended its answer without a word\. It was asked twice"
    ):
        play(lab_serves(lab, job_of()))
    assert len(lab.sent) == 2


def test_what_is_too_long_is_cut_to_seven_tenths_by_our_own_estimate() -> None:
    said = tuple(Message("user", "a" * chars) for chars in (70, 86, 86))
    assert [message_tokens(message) for message in said] == [30, 35, 35]
    lab = Lab((fails(FailureKind.TOO_LONG), ANSWER))
    play(lab_serves(lab, job_of(messages=said)))
    assert [len(text) for text in lab.texts()[1]] == [86 + 2 + 86]


LEFT_OUT = "Kept the newest 1 of 3 messages."


def test_what_its_host_called_too_long_does_not_come_back_by_its_count() -> None:
    job = job_of(whole=SAID, sizes=tuple(map(message_tokens, SAID)), window=280)
    lab = Lab((fails(FailureKind.TOO_LONG), ANSWER))
    lab.host.reader.count_tokens.return_value = 10
    play(lab_serves(lab, job))
    assert lab.texts() == [WHOLE, OLDEST_OUT]
    assert LEFT_OUT in lab.notices()
    assert len(lab.host.reader.count_tokens.await_args_list) == 1
    reading = [event for event in lab.told if isinstance(event, Reading)]
    assert [event.prompt_tokens for event in reading] == [
        job.prompt_tokens,
        message_tokens(SAID[-1]),
    ]


# --- how an answer ends --------------------------------------------------------------------------

THOUGHT = ReasoningDelta("Hm.")
LENGTH, REFUSED = replace(END, finish="length"), replace(END, finish="refused")


@pytest.mark.parametrize(
    ("job", "script", "error", "words"),
    [
        (job_of(), (REFUSED,), Refused, "studio declined to answer this."),
        (job_of(), (THOUGHT, END), BotError, "spent the whole answer on reasoning"),
        (job_of(), (LENGTH,), BotError, "`qwen` on studio spent the whole answer on reasoning"),
        (job_of(), (TextDelta(" \n"), END), Unavailable, "without a word"),
        (begun(), (THOUGHT, END), Unavailable, "studio ended its answer without a word."),
        (begun(), (), None, ""),
        (begun(), (REFUSED,), None, ""),
        (job_of(), (TextDelta("So."), REFUSED), None, ""),
    ],
)
def test_what_an_answer_without_words_was(
    job: Job, script: Script, error: type[BotError] | None, words: str
) -> None:
    lab = Lab((script, script))
    if error is None:
        play(lab_serves(lab, job))
        assert len(lab.sent) == 1
        return
    with pytest.raises(error, match=words) as raised:
        play(lab_serves(lab, job))
    assert type(raised.value) is error
    if isinstance(raised.value, Unavailable):
        assert raised.value.kind is FailureKind.EMPTY


@pytest.mark.parametrize("takes", [True, False])
def test_words_that_go_straight_are_signs_of_life_as_well(takes: bool) -> None:
    lab = Lab(((TextDelta("a"), TextDelta("b"), TextDelta("c"), END),))

    async def served() -> str:
        draft = lab.draft(lambda words: takes)
        return (await lab.serve(job_of(), draft)).text

    assert play(served()) == "abc"
    assert lab.heard == [1.0, 2.0, 3.0, 4.0]
    assert len([e for e in lab.told if isinstance(e, TextDelta)]) == (1 if takes else 3)


def test_who_may_not_be_answered_any_more_is_not_when_its_turn_has_come() -> None:
    async def admit() -> None:
        raise BotError("No more.")

    job, lab = job_of(), Lab()
    with pytest.raises(BotError, match="No more"):
        play(lab_serves(lab, replace(job, asking=replace(job.asking, admit=admit))))
    assert (len(lab.wishes), lab.sent) == (1, [])


@pytest.mark.parametrize("prefill", [None, 20.0])
def test_how_long_reading_takes_is_told_where_it_was_measured(prefill: float | None) -> None:
    speeds = {QWEN: Speed(prefill_tokens_per_s=prefill)}
    lab = Lab(snapshots={STUDIO: HostSnapshot(STUDIO, "s:1", speeds=speeds)})
    play(lab_serves(lab, job_of(prompt_tokens=60)))
    (reading,) = [event for event in lab.told if isinstance(event, Reading)]
    expected_s = None if prefill is None else 3.0
    assert reading == Reading(
        HERE, 60, expected_s, DOUBT_S + (expected_s or 60 / FASTEST_TOKENS_PER_S)
    )


# --- the lease -----------------------------------------------------------------------------------


async def leased(
    lab: Lab,
    error: BaseException | None = None,
    candidate: Candidate = HERE,
    route: Route | None = None,
    **more: Any,
) -> Lease:
    async with lab.serving.lease(
        STUDIO, candidate, Wish(QWEN), route or Route((HERE, THERE)), lab.emit, **more
    ) as lease:
        if error is not None:
            raise error
        return lease
    raise AssertionError


@pytest.mark.parametrize("kind", FailureKind)
def test_what_fails_by_a_hosts_fault_takes_it_out_at_once(kind: FailureKind) -> None:
    lab, error = Lab(), Unavailable("It is gone.", kind)
    with pytest.raises(Unavailable) as raised:
        play(leased(lab, error, is_last=True))
    assert raised.value is error
    reports = [given.args for given in lab.host.report_failure.call_args_list]
    assert reports == ([("It is gone.",)] if kind in HOST_AT_FAULT else [])


def routed(*candidates: Candidate) -> Callable[[], Route]:
    return lambda: Route(candidates)


SOON, CLEAR = replace(THERE, burden_s=1.0), replace(THERE, burden_s=6.8)
"""Of the second that is so by little: 6.8 and the half second of a move are below 85 % of 9."""


@pytest.mark.parametrize(
    ("replan", "since", "is_in_line", "lead_s", "leaves"),
    [
        (routed(HERE, SOON), None, True, 0.0, True),
        (routed(HERE, CLEAR), None, True, 0.0, True),
        (routed(HERE, SOON), None, True, 9.0, False),
        (routed(HERE, SOON), None, True, None, False),
        (routed(HERE, SOON), None, False, 0.0, False),
        (routed(HERE, replace(THERE, burden_s=8.0)), None, True, 0.0, False),
        (None, None, True, 0.0, False),
        # Where it began to wait elsewhere, it does not go on at once.
        (routed(HERE, SOON), 0.0, True, 0.0, False),
    ],
)
def test_nobody_is_told_of_a_line_while_another_host_is_clearly_sooner(
    replan: Callable[[], Route] | None,
    since: float | None,
    is_in_line: bool,
    lead_s: float | None,
    leaves: bool,
) -> None:
    lab = Lab(steps=((5.0, Queued(STUDIO, QWEN, 1)),), lead_s=lead_s)
    lab.host.is_in_line.return_value = is_in_line
    candidate = replace(HERE, since=since)
    if leaves:
        with pytest.raises(Elsewhere) as raised:
            play(leased(lab, candidate=candidate, is_last=True, replan=replan))
        assert replan is not None
        assert raised.value.candidate == replace(replan().candidates[1], since=0.0)
        return
    lease = play(leased(lab, candidate=candidate, is_last=True, replan=replan))
    assert lease.granted.queue_s == 2.0
    assert lab.is_watched
    assert lab.told == [Queued(STUDIO, QWEN, 1)]
    # As long as it waits it is asked again.
    assert lab.better is not None
    asked_again = lab.better(lease)
    assert asked_again == (SOON if since is not None else None)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (Queued(STUDIO, QWEN, 1), "laptop is sooner by now."),
        (Loading(STUDIO, QWEN, 0.23, 4.0), "laptop is sooner by now."),
        (
            Loading(STUDIO, QWEN, 0.23, None, stands_s=8.0),
            "studio stands still at 23% of its load.",
        ),
    ],
)
def test_whoever_leaves_for_another_host_knows_what_hung_here(step: Progress, why: str) -> None:
    async def leaves() -> None:
        lease = lease_of(Wish(QWEN))
        lease.heard(Tell(lease.ticket, step))
        lease.leave_for(THERE)
        async for _ in lease:
            pass

    with pytest.raises(Elsewhere) as raised:
        play(leaves())
    assert raised.value.user_message == why


def test_a_question_in_a_line_is_left_for_whom_its_job_finds_sooner() -> None:
    lab = Lab(steps=((5.0, Queued(STUDIO, QWEN, 1)),))
    with pytest.raises(Elsewhere):
        play(lab_serves(lab, job_of(replan=routed(HERE, SOON))))


def test_what_a_place_in_a_line_is_worth_is_not_reckoned_where_all_would_stay() -> None:
    lab = Lab(steps=((5.0, Queued(STUDIO, QWEN, 1)),))
    play(leased(lab, is_last=True, replan=routed(HERE, replace(THERE, burden_s=8.0))))
    assert not lab.host.stay_s.called


def test_who_is_granted_at_once_is_watched_by_nobody() -> None:
    lab = Lab()
    lab.host.is_in_line.return_value = False
    assert play(leased(lab, is_last=True)).granted.load_s == 3.0
    assert not lab.is_watched


def test_a_client_waits_no_longer_than_it_does() -> None:
    async def waited() -> float:
        with pytest.raises(TimeoutError):
            await leased(Lab(is_granted=False), is_last=True, patient_until=12.0)
        return asyncio.get_running_loop().time()

    assert play(waited()) == 12.0


def loading(fraction: float, stands_s: float | None, elapsed_s: float = 60.0) -> Loading:
    return Loading(STUDIO, QWEN, fraction, None, elapsed_s, stands_s=stands_s)


UP, DOWN = HostSnapshot(LAPTOP, "l:1", "up"), HostSnapshot(LAPTOP, "l:1", "down")
CLOUD = Candidate(ModelKey("glm"), provider=ProviderName("zai"))
STANDS = LEAST_PAUSE_S


@pytest.mark.parametrize(
    ("steps", "other", "is_last", "is_left"),
    [
        ([(0.5, None), (0.5, STANDS)], UP, False, True),
        ([(0.5, None), (0.5, STANDS - 1)], UP, False, False),
        ([(0.5, STANDS - 1), (0.6, None)], UP, False, False),
        # Whoever comes late waits for it no longer than who was there all the time.
        ([(0.5, STANDS)], UP, False, True),
        ([(0.5, STANDS)], UP, True, False),
        ([(0.5, STANDS)], DOWN, False, False),
    ],
)
def test_a_load_that_stands_still_is_left_while_another_host_serves(
    steps: list[tuple[float, float | None]], other: HostSnapshot, is_last: bool, is_left: bool
) -> None:
    told = [Queued(STUDIO, QWEN, 1), *(loading(*step) for step in steps)]
    lab = Lab(steps=[(1.0, step) for step in told], snapshots={LAPTOP: other})
    if is_left:
        with pytest.raises(Unavailable, match="studio stands still at 50% of its load") as raised:
            play(leased(lab, is_last=is_last))
        assert raised.value.kind is FailureKind.BUSY
    else:
        play(leased(lab, is_last=is_last))
    assert lab.told == told


@pytest.mark.parametrize(
    ("load_s", "others", "is_left"),
    [
        (2 * STANDS, (THERE,), False),
        (None, (), False),
        (None, (replace(HERE, burden_s=1.0),), False),
        (None, (THERE,), True),
        (2 * STANDS, (CLOUD,), False),
        (None, (CLOUD,), True),
    ],
)
def test_how_long_it_may_stand_still_and_for_whom_it_is_left(
    load_s: float | None, others: tuple[Candidate, ...], is_left: bool
) -> None:
    speeds = {QWEN: Speed(load_s=load_s)}
    there = {LAPTOP: UP, STUDIO: HostSnapshot(STUDIO, "s:1", speeds=speeds)}
    lab = Lab(steps=[(1.0, loading(0.5, STANDS))], snapshots=there)
    waiting = leased(lab, is_last=False, route=Route((HERE, *others)))
    if is_left:
        with pytest.raises(Unavailable):
            play(waiting)
    else:
        play(waiting)


@pytest.mark.parametrize(
    ("step", "silent_since", "is_left"),
    [
        (loading(0.5, LEAST_DEAF_S), 0.0, True),
        (loading(0.5, LEAST_DEAF_S - 1), 0.0, False),
        (loading(0.5, LEAST_DEAF_S), 1.0, False),
        (loading(0.5, LEAST_DEAF_S), None, False),
        (loading(0.0, None, LEAST_DEAF_S), 0.0, True),
        (loading(0.0, None, WORDLESS_S), None, True),
        (loading(0.0, None, WORDLESS_S - 1), None, False),
    ],
)
def test_a_load_is_left_sooner_where_its_host_tells_nothing_of_itself_either(
    step: Loading, silent_since: float | None, is_left: bool
) -> None:
    here = HostSnapshot(STUDIO, "s:1", silent_since=silent_since)
    lab = Lab(steps=[(LEAST_DEAF_S, step)], snapshots={STUDIO: here})
    waiting = leased(lab, is_last=False, route=Route((HERE, CLOUD)))
    if is_left:
        with pytest.raises(Unavailable, match="stands still at"):
            play(waiting)
    else:
        play(waiting)


def test_a_load_that_another_lantern_holds_up_is_left_as_one_that_stands_and_not_called_stuck() -> (
    None
):
    held = replace(loading(0.0, None, LEAST_PAUSE_S), is_held=True)
    lab = Lab(steps=[(1.0, replace(held, elapsed_s=LEAST_PAUSE_S - 1))])
    play(leased(lab, is_last=False, route=Route((HERE, CLOUD))))
    lab = Lab(steps=[(1.0, held)])
    with pytest.raises(Unavailable, match="An earlier load on studio is not over") as raised:
        play(leased(lab, is_last=False, route=Route((HERE, CLOUD))))
    assert (raised.value.kind, raised.value.brief) == (FailureKind.BUSY, "")


# --- right before it is sent ---------------------------------------------------------------------


def copies(
    name: HostName, *leases: int, speed: Speed | None = None, state: HostState = "up"
) -> HostSnapshot:
    there = tuple(Instance(InstanceId(f"{n}"), QWEN, leases=n) for n in leases)
    other = Instance(InstanceId("other"), ModelKey("other"), leases=0)
    speeds = {QWEN: speed} if speed is not None else {}
    return HostSnapshot(name, "x:1", state, instances=(*there, other), speeds=speeds)


QUICK = Speed(prefill_tokens_per_s=100.0, tokens_per_s=40.0)
READ_S = 5.0


@pytest.mark.parametrize(
    ("here", "read_s", "gap_s"),
    [
        (copies(STUDIO, 1), 100 / SLOWEST_TOKENS_PER_S, SHARED_GAP_S),
        (copies(STUDIO, 1, speed=QUICK), READ_S, LEAST_GAP_S),
        (copies(STUDIO, speed=QUICK), READ_S, LEAST_GAP_S),
        (copies(STUDIO, 2, 1, speed=QUICK), 3 * READ_S, SHARED_GAP_S),
    ],
)
def test_how_long_a_host_may_be_silent_is_judged_by_all_that_runs_beside(
    here: HostSnapshot, read_s: float, gap_s: float
) -> None:
    async def confirmed(unsaid: int) -> SilenceLimits:
        lab = Lab(snapshots={STUDIO: here})
        async with lab.serving.lease(
            STUDIO, HERE, Wish(QWEN), Route((HERE,)), lab.emit, is_last=True
        ) as lease:
            found = await lab.serving.confirmed(STUDIO, HERE, lease, 100, unsaid, others=Route)
            lab.host.confirm.assert_awaited_once_with(lease)
        return found

    # One that was never measured is asked as if it were fast, which costs it little.
    once_s = read_s / READ_FACTOR if here.speeds else 100 / FASTEST_TOKENS_PER_S
    first_s = LEAST_ALONE_S + read_s
    beside = max(0, sum(i.leases for i in here.instances) - 1)
    rate = QUICK.tokens_per_s if here.speeds else SLOWEST_ANSWER_PER_S
    for unsaid, more_s in (0, 0.0), (80, UNSAID_FACTOR * 80 * (1 + beside) / (rate or 0.0)):
        found = play(confirmed(unsaid))
        assert (found.first_s, found.gap_s, found.seen) == (first_s + more_s, gap_s, here)
        assert found.doubts.after_s == DOUBT_S + once_s
        # Alone it has all its time; that of writing only while it tells of itself.
        limits_s = (found.doubts.limit_s(math.inf, is_deaf) for is_deaf in (False, True))
        assert [*limits_s] == [first_s + more_s, first_s]
        least_s = found.doubts.limit_s(0.1, False), found.doubts.limit_s(0.1, True)
        assert least_s == (
            first_s + more_s - LEAST_ALONE_S + LEAST_BESIDE_S,
            once_s + LEAST_DEAF_S,
        )


FAR, AWAY = HostName("far"), HostName("away")
MORE_HOSTS = {LAPTOP: 0.2, FAR: 15.0, AWAY: 0.1, STUDIO: 0.1}


@dataclass
class Rivals:
    """Hosts that could answer instead of the studio, which is in doubt."""

    told_at: dict[HostName, float] = field(default_factory=dict[HostName, float])
    deaf: set[HostName] = field(default_factory=set[HostName])
    knocks: list[HostName] = field(default_factory=list[HostName])
    seconds: dict[HostName, float | None] = field(default_factory=lambda: {**MORE_HOSTS})

    def __post_init__(self) -> None:
        fleet = checked(Fleet)
        fleet.host.side_effect = self._host
        states: dict[HostName, HostState] = {AWAY: "down"}
        fleet.snapshot.return_value = FleetSnapshot(
            {name: copies(name, state=states.get(name, "up")) for name in MORE_HOSTS}, 0.0
        )
        self.others = Others(fleet, STUDIO, self._route)

    def _route(self) -> Route:
        # Nor a provider, which costs money, is another host.
        provider = Candidate(QWEN, provider=ProviderName("zai"), seconds=0.1)
        hosts = (Candidate(QWEN, name, seconds=s) for name, s in self.seconds.items())
        return Route((provider, *hosts))

    def _host(self, name: HostName) -> Host:
        host = checked(Host)
        host.reader = checked(HostReader)
        host.reader.told_at = self.told_at.get(name, -math.inf)
        host.reader.is_deaf.return_value = name in self.deaf
        host.reader.knock = lambda: self.knocks.append(name)
        return host

    def soonest(self, since: float = 5.0) -> HostName | None:
        async def found() -> Candidate | None:
            return self.others.soonest(since)

        return None if (candidate := play(found())) is None else candidate.host


def test_a_host_in_doubt_is_left_for_the_soonest_that_has_told_of_itself_since() -> None:
    rivals = Rivals()
    # The soonest alone is asked to, and once in a silence.
    assert (rivals.soonest(), rivals.soonest(), rivals.knocks) == (None, None, [LAPTOP])
    # What it told before the doubt may be from before the network went.
    rivals.told_at = {LAPTOP: 4.9}
    assert rivals.soonest() is None
    rivals.told_at = {LAPTOP: 5.0}
    assert (rivals.soonest(), rivals.knocks) == (LAPTOP, [LAPTOP])
    # In the next silence anew.
    assert (rivals.soonest(9.0), rivals.knocks) == (None, [LAPTOP, LAPTOP])


def test_where_the_soonest_is_deaf_the_next_is_asked_whether_it_is_there() -> None:
    rivals = Rivals(deaf={LAPTOP})
    assert (rivals.soonest(), rivals.soonest(), rivals.knocks) == (None, None, [LAPTOP, FAR])
    rivals.told_at = {FAR: 6.0}
    assert rivals.soonest() == FAR


@pytest.mark.parametrize("seconds", [None, LEAST_ALONE_S])
def test_who_would_shorten_nothing_is_not_asked_whether_it_is_there(seconds: float | None) -> None:
    rivals = Rivals(told_at={LAPTOP: 9.0}, seconds={**MORE_HOSTS, LAPTOP: seconds, FAR: seconds})
    assert (rivals.soonest(), rivals.knocks) == (None, [])


@pytest.mark.parametrize("is_last", [False, True])
def test_who_could_answer_instead_is_asked_of_the_route_as_it_is_by_then(is_last: bool) -> None:
    now = Route((replace(HERE, seconds=0.1), replace(THERE, seconds=0.1)))
    # Where it is not made anew, as it was. Also for the last of its line: one may have come up.
    for job in (job_of(replan=lambda: now), job_of(route=now)):
        lab = Lab(snapshots={LAPTOP: copies(LAPTOP)})
        laptop = checked(Host)
        laptop.reader = checked(HostReader)
        laptop.reader.told_at = 7.0
        lab.fleet.host.side_effect = {STUDIO: lab.host, LAPTOP: laptop}.__getitem__

        async def asked(lab: Lab = lab, job: Job = job) -> Candidate | None:
            await lab.serve(job, is_last=is_last)
            ((_, doubts),) = lab.limits
            return doubts.sooner(6.0)

        assert play(asked()) == now.candidates[1]


def test_what_is_sent_has_these_limits_and_words_of_one_person_in_a_row_are_joined() -> None:
    lab = Lab(snapshots={STUDIO: copies(STUDIO, 1, speed=QUICK)})
    said = (Message("user", "Why?"), Message("user", "Now?"))
    play(lab_serves(lab, job_of(messages=said, prompt_tokens=100)))
    assert lab.limits[0][0] == LEAST_ALONE_S + READ_S
    ((endpoint, _),) = lab.sent
    assert endpoint.idle_s == LEAST_GAP_S
    assert lab.texts() == [["Why?\n\nNow?"]]


# --- what fits -----------------------------------------------------------------------------------

SIZES = tuple(map(message_tokens, SAID))
ALL = sum(SIZES)


@pytest.mark.parametrize(
    ("context", "dropped", "sent", "kept"),
    [
        (None, 0, WHOLE, None),
        (ALL + ANSWER_TOKENS, 0, WHOLE, None),
        (ALL + ANSWER_TOKENS - 1, 0, OLDEST_OUT, "Kept the newest 1 of 3 messages."),
        (ALL + ANSWER_TOKENS - 1, 4, OLDEST_OUT, "Kept the newest 1 of 7 messages."),
        (ALL + ANSWER_TOKENS, 4, WHOLE, "Kept the newest 3 of 7 messages."),
    ],
)
def test_the_transcript_is_fitted_to_what_was_really_loaded(
    context: int | None, dropped: int, sent: list[str], kept: str | None
) -> None:
    lab = Lab(context=context)
    play(lab_serves(lab, job_of(dropped=dropped)))
    assert lab.texts() == [sent]
    assert lab.notices() == [kept] * (kept is not None)


def test_that_there_are_earlier_words_than_were_read_is_told() -> None:
    job = job_of()
    earlier = Turn(
        TurnId("t"), TurnId("before"), UserId("ada"), "Ada", Place(PlaceId("hall")),
        PersonaName("sage"), "a", "b", "", "done", 0,
    )  # fmt: skip
    lab = Lab()
    play(lab_serves(lab, replace(job, asking=replace(job.asking, branch=(earlier,)))))
    assert lab.notices() == ["Kept the newest 3 of more than 3 messages."]


def test_what_cannot_be_read_at_all_is_left_to_a_larger_window() -> None:
    lab = Lab(context=ANSWER_TOKENS)
    with pytest.raises(Unavailable, match="reads at most 100") as raised:
        play(lab_serves(lab, ALONE))
    assert raised.value.kind is FailureKind.TOO_LONG
    assert lab.sent == []


@pytest.mark.parametrize(
    ("context", "window", "counted", "sent", "counts"),
    [
        # Where all surely fits nobody is asked to count.
        (4096, 4096, 10, WHOLE, 0),
        (ALL + ANSWER_TOKENS - 1, 4096, ALL // 2, WHOLE, 1),
        (4096, ALL + ANSWER_TOKENS - 1, ALL // 2, WHOLE, 1),
        (None, ALL + ANSWER_TOKENS - 1, ALL // 2, WHOLE, 1),
        (ALL + ANSWER_TOKENS - 1, None, ALL // 2, WHOLE, 1),
        (ALL + ANSWER_TOKENS, 4096, 2 * ALL, OLDEST_OUT, 1),
        (ALL + ANSWER_TOKENS - 1, 4096, None, OLDEST_OUT, 1),
        # What must stay does not fit by its count: by our own estimate it may still be tried.
        (ALL + ANSWER_TOKENS, 4096, 99_999, WHOLE, 1),
        (None, None, 10, WHOLE, 0),
    ],
)
def test_what_fits_is_counted_by_its_host_where_our_estimate_may_err(
    context: int | None, window: int | None, counted: int | None, sent: list[str], counts: int
) -> None:
    lab = Lab(context=context)
    lab.host.reader.count_tokens.return_value = counted
    play(lab_serves(lab, job_of(whole=SAID, sizes=SIZES, window=window)))
    assert lab.texts() == [sent]
    given = lab.host.reader.count_tokens.await_args_list
    assert len(given) == counts
    for one in given:
        assert one.args[0] == Instance(InstanceId("qwen"), QWEN, context_length=context)
        assert one.args[1].startswith("<|im_start|>user\nold old")


def test_of_a_long_talk_only_what_may_fit_at_the_best_is_counted() -> None:
    lab = Lab(context=ANSWER_TOKENS + 60)
    lab.host.reader.count_tokens.return_value = 5
    play(lab_serves(lab, job_of(whole=SAID, sizes=SIZES, window=4096, messages=SAID[-1:])))
    (given,) = lab.host.reader.count_tokens.await_args_list
    assert given.args[1] == "<|im_start|>user\nWhy?<|im_end|>\n"


# --- what it sees --------------------------------------------------------------------------------

SHOWN = (Message("user", "Look!", (PICTURE,)),)
EARLIER = (*SHOWN, Message("assistant", "A cat."), Message("user", "Sure?"))
OLD_WORDS = "`qwen` cannot see; earlier pictures were left out."
NEW_WORDS = (
    "`qwen` cannot see pictures, so your words alone were answered; `qwen` on laptop can see them."
)


@pytest.mark.parametrize(
    ("model", "messages", "told", "words", "is_shown"),
    [
        (Model(QWEN), SHOWN, Told(), NEW_WORDS, False),
        (Model(QWEN), EARLIER, Told(), OLD_WORDS, False),
        (Model(QWEN), EARLIER, Told(blind=QWEN), None, False),
        (Model(QWEN), EARLIER, Told(blind=ModelKey("other")), OLD_WORDS, False),
        (Model(QWEN), SAID, Told(), None, True),
        (Model(QWEN, vision=True), SHOWN, Told(), None, True),
        (Model(QWEN, "vlm"), EARLIER, Told(), None, True),
        (None, SHOWN, Told(), None, True),
    ],
)
def test_what_a_model_cannot_see_is_named_to_it_and_told_once(
    model: Model | None,
    messages: tuple[Message, ...],
    told: Told,
    words: str | None,
    is_shown: bool,
) -> None:
    models = {} if model is None else {QWEN: model}
    lab = Lab(snapshots={STUDIO: HostSnapshot(STUDIO, "s:1", models=models)})

    async def served() -> Draft:
        draft = lab.draft()
        draft.so_far = replace(draft.so_far, told=told, seer=HERE)
        return await lab.serve(job_of(messages=messages, seer=THERE), draft)

    receipt = play(served()).receipt()
    assert lab.notices() == [words] * (words is not None)
    ((_, request),) = lab.sent
    assert (request.messages == messages) is is_shown
    if not is_shown:
        assert not any(message.images for message in request.messages)
        assert "[not shown to this model: cat.png]" in request.messages[0].text
    assert receipt.seer == (THERE if words == NEW_WORDS else None)
    assert receipt.told.blind == (QWEN if words == OLD_WORDS else told.blind)


@pytest.mark.parametrize("vision", [True, False])
def test_of_a_rest_what_is_not_seen_is_told_no_more(vision: bool) -> None:
    there = HostSnapshot(STUDIO, "s:1", models={QWEN: Model(QWEN, vision=vision)})
    lab = Lab(snapshots={STUDIO: there})
    job = job_of(begun="It", messages=(*SHOWN, Message("assistant", "It")))
    play(lab_serves(lab, job))
    assert lab.notices() == []
    ((_, request),) = lab.sent
    assert bool(request.messages[0].images) is vision


# --- what it measured ----------------------------------------------------------------------------

RECEIPT = Receipt(
    PersonaName("sage"),
    QWEN,
    STUDIO,
    usage=Usage(1000, 101),
    timing=Timing(queue_s=1.0, load_s=2.0, first_token_s=3.0, generation_s=10.0),
    route=Route((replace(HERE, seconds=5.0),)),
)
FORETOLD = (5.0, 6.0)


@pytest.mark.parametrize(
    ("receipt", "is_first", "shared_at", "read", "written", "foretold"),
    [
        (RECEIPT, True, None, 1000, 101, FORETOLD),
        (RECEIPT, False, None, 0, 101, FORETOLD),
        (replace(RECEIPT, usage=Usage(1000, 101, 1)), False, None, 999, 101, FORETOLD),
        (replace(RECEIPT, usage=Usage(1000, 101, 400)), True, None, 600, 101, FORETOLD),
        (replace(RECEIPT, usage=Usage(10, 101, 400)), True, None, 0, 101, FORETOLD),
        (RECEIPT, True, 4.0, 1000, 0, FORETOLD),
        (RECEIPT, True, 3.0, 1000, 0, FORETOLD),
        (RECEIPT, True, 2.0, 0, 0, FORETOLD),
        (replace(RECEIPT, route=Route(())), True, None, 1000, 101, (None, None)),
        (replace(RECEIPT, seams=(Seam(STUDIO, "", 1),)), True, None, 1000, 101, (None, None)),
    ],
)
def test_an_answer_tells_what_was_read_and_written_alone_and_how_it_was_foretold(
    receipt: Receipt,
    is_first: bool,
    shared_at: float | None,
    read: int,
    written: int,
    foretold: tuple[float | None, float | None],
) -> None:
    async def noted() -> list[Any]:
        lab = Lab()
        lease = lease_of(Wish(QWEN, conversation="hall"))
        lease.spoke_at, lease.shares = 3.0, 2
        lease.shared_at = shared_at or lease.shared_at
        lab.serving.remember(HERE, receipt, lease, is_first=is_first)
        (given,) = lab.host.record_speed.call_args_list
        return [*given.args]

    usage = receipt.usage
    alone = max(0, usage.prompt_tokens - usage.cached_tokens)
    alone = alone if is_first or usage.cached_tokens else 0
    most = SpeedRecord(STUDIO, QWEN, alone, 101, 1.5, 5.0)
    assert play(noted()) == [
        SpeedRecord(STUDIO, QWEN, read, written, 3.0, 10.0, *foretold),
        speed_of_answer(most),
        "hall",
        usage.prompt_tokens + 101,
    ]


def test_a_whole_answer_tells_how_long_it_took_and_neither_what_was_read_nor_foretold() -> None:
    async def noted() -> Any:
        lab = Lab()
        lease = lease_of(Wish(QWEN))
        lease.shares = 2
        timing = Timing(load_s=2.0, whole_s=13.0)
        whole = replace(RECEIPT, usage=Usage(1000, 101, 400), timing=timing)
        lab.serving.remember(HERE, whole, lease, is_first=True)
        (given,) = lab.host.record_speed.call_args_list
        return given.args

    record, most, *_ = play(noted())
    assert record == SpeedRecord(STUDIO, QWEN, 0, 101, 13.0, 0.0)
    assert (speed_of_answer(record), most) == (Speed(turn_s=13.0), Speed(turn_s=6.5))


@pytest.mark.parametrize(
    ("candidate", "timing"), [(HERE, Timing()), (replace(HERE, host=None), RECEIPT.timing)]
)
def test_of_an_answer_without_a_first_word_or_a_host_nothing_is_noted(
    candidate: Candidate, timing: Timing
) -> None:
    lab = Lab()
    lab.serving.remember(candidate, replace(RECEIPT, timing=timing), double(Lease), is_first=True)
    lab.host.record_speed.assert_not_called()


@pytest.mark.parametrize("is_follow_up", [True, False])
def test_a_whole_answer_is_noted_and_a_follow_up_as_such(is_follow_up: bool) -> None:
    lab = Lab()
    play(lab_serves(lab, job_of(is_follow_up=is_follow_up)))
    (given,) = lab.host.record_speed.call_args_list
    assert given.args[0].prompt_tokens == (0 if is_follow_up else 10)
    failed = Lab((fails(FailureKind.SERVER),))
    with pytest.raises(Unavailable):
        play(lab_serves(failed, job_of()))
    failed.host.record_speed.assert_not_called()
