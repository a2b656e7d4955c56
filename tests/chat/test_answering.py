"""Who is asked with what, and what is said when nobody could."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import NoReturn

import pytest
from structlog.testing import capture_logs
from virtual_time import play

from bot.chat.answering import Answering
from bot.chat.choices import Resolved
from bot.chat.cloud_serving import CloudServing
from bot.chat.draft import Draft
from bot.chat.host_serving import HostServing
from bot.chat.override import Override
from bot.chat.planning import REST_TOKENS, WINDOW_TOKENS, Asking, ChatRules, Job, Planner
from bot.chat.walk import Newcomers
from bot.cloud.serve import ProviderTries
from bot.domain.chat import Candidate, Message, Place, Rejection, Route, TurnRequest, Usage
from bot.domain.cloud import ProviderSnapshot
from bot.domain.errors import (
    Bug,
    FailureKind,
    Interrupted,
    NoCandidates,
    RequestRefused,
    Unavailable,
)
from bot.domain.events import FellBack, Offered, Resuming, StreamEnd, TextDelta, TurnEvent, Way
from bot.domain.hosts import FleetSnapshot, HostSnapshot, Model, Wish
from bot.domain.ids import (
    AUTO,
    HostName,
    ModelKey,
    PersonaName,
    PlaceId,
    ProviderName,
    TurnId,
    UserId,
)
from bot.domain.personas import Persona, Sampling
from bot.fleet.lease import Elsewhere
from bot.policy.context import Fitted
from bot.policy.privacy import Consent, LocalOnly

QWEN, GLM, GPT = ModelKey("qwen"), ModelKey("glm"), ModelKey("gpt")
STUDIO, LAPTOP = Candidate(QWEN, HostName("studio")), Candidate(QWEN, HostName("laptop"))
ZAI = Candidate(GLM, provider=ProviderName("zai"))
OPENAI = Candidate(GPT, provider=ProviderName("openai"))
ADA = UserId("discord:ada")
MAX_WAIT_S = 9.0


async def stays(_: Sequence[Message]) -> Consent:
    return LocalOnly("nobody asks here")


def job_of(*candidates: Candidate, rejected: tuple[Rejection, ...] = ()) -> Job:
    asking = Asking(
        resolved=Resolved(Persona(PersonaName("sage")), "by default", QWEN, "by default", False),
        branch=(),
        request=TurnRequest(ADA, "Ada", Place(PlaceId("discord:1")), "Why?"),
        consent=LocalOnly("nobody asks here"),
        judge=stays,
        payer=ADA,
    )
    return Job(
        asking=asking,
        messages=(),
        abroad=lambda: Fitted((), 0, 0),
        prompt_tokens=10,
        answer_tokens=10,
        dropped=0,
        route=Route(candidates, rejected),
        wish=Wish(QWEN),
        max_wait_s=MAX_WAIT_S,
    )


Act = Callable[[Draft, Override], Awaitable[None]]


async def answers(draft: Draft, _: Override) -> None:
    await draft.hear(TextDelta("Because."))


def failing(kind: FailureKind, first: str = "") -> Act:
    async def act(draft: Draft, _: Override) -> None:
        if first:
            await draft.hear(TextDelta(first))
        raise Unavailable(f"It was {kind}.", kind)

    return act


class Scene:
    """One question walked over candidates that do as told; who is not told to answers."""

    def __init__(self, **acts: Act) -> None:
        self.acts = acts
        self.asked: list[tuple[object, ...]] = []
        self.told: list[TurnEvent] = []
        self.questions: list[ProviderTries] = []
        self.repeats: list[ProviderName] = []
        self.jobs: list[Job] = []
        """As hosts were given them."""
        self.others: tuple[Candidate, ...] = ()
        """Who has the model of an answer whose host is lost."""
        self.fleet = FleetSnapshot({}, 0.0)
        self.rests: list[tuple[ModelKey, str, int, Collection[HostName]]] = []
        self.override = Override()
        self.draft = Draft(PersonaName("sage"), "", self.tell)

    async def tell(self, event: TurnEvent) -> None:
        self.told.append(event)

    async def act(self, candidate: Candidate) -> None:
        self.draft.granted(candidate)
        await self.acts.get(candidate.where, answers)(self.draft, self.override)

    def rest_of(
        self, job: Job, model: ModelKey, begun: str, said_tokens: int, lost: Collection[HostName]
    ) -> Job:
        self.rests.append((model, begun, said_tokens, lost))
        left = tuple(other for other in self.others if other.host not in lost)
        return replace(job, route=Route(left), begun=begun)

    async def play(self, job: Job, newcomers: Newcomers | None = None) -> None:
        answering = Answering(Hosts(self), Cloud(self), self.rest_of, lambda: self.fleet)
        await answering.answer(job, self.draft, self.override, newcomers)


class Hosts(HostServing):
    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def serve(
        self,
        host: HostName,
        candidate: Candidate,
        job: Job,
        draft: Draft,
        *,
        max_wait_s: float | None,
        is_last: bool,
    ) -> None:
        self._scene.asked.append((host, max_wait_s, is_last))
        self._scene.jobs.append(job)
        await self._scene.act(candidate)


class Cloud(CloudServing):
    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def may_repeat(self, name: ProviderName, question: ProviderTries) -> bool:
        self._scene.questions.append(question)
        return name in self._scene.repeats

    async def serve(
        self,
        name: ProviderName,
        candidate: Candidate,
        job: Job,
        draft: Draft,
        *,
        question: ProviderTries,
        is_last: bool,
        is_hurried: bool,
    ) -> None:
        self._scene.questions.append(question)
        self._scene.asked.append((name, is_hurried, is_last))
        await self._scene.act(candidate)


async def test_each_is_asked_with_what_it_needs_to_know_and_one_question_counts_for_all() -> None:
    failed = failing(FailureKind.SERVER)
    scene = Scene(studio=failed, laptop=failed, zai=failed, openai=failed)
    scene.repeats.append(ProviderName("zai"))
    with pytest.raises(NoCandidates):
        await scene.play(job_of(STUDIO, ZAI, LAPTOP, OPENAI))
    assert scene.asked == [
        ("studio", MAX_WAIT_S, False),
        ("zai", True, False),
        ("laptop", MAX_WAIT_S, False),
        ("openai", False, True),
        ("zai", False, True),
    ]
    assert len(set(map(id, scene.questions))) == 1


async def test_each_failure_is_told_logged_and_written_down() -> None:
    scene = Scene(studio=failing(FailureKind.LOAD_FAILED))
    with capture_logs() as logs:
        await scene.play(job_of(STUDIO, ZAI))
    assert scene.told == [FellBack(STUDIO, "It was load failed."), TextDelta("Because.")]
    (attempt,) = scene.draft.so_far.attempts
    assert (attempt.where, attempt.model, attempt.reason, attempt.kind) == (
        "studio",
        QWEN,
        "It was load failed.",
        FailureKind.LOAD_FAILED,
    )
    assert logs == [
        {
            "event": "candidate failed",
            "log_level": "info",
            "where": "studio",
            "model": QWEN,
            "kind": "load failed",
            "reason": "It was load failed.",
        }
    ]


async def test_a_host_left_for_one_that_is_sooner_is_written_down_and_is_no_failure() -> None:
    async def hangs(_: Draft, __: Override) -> None:
        raise Elsewhere(LAPTOP, "studio stands still.")

    scene = Scene(studio=hangs)
    await scene.play(job_of(STUDIO, LAPTOP))
    (left,) = scene.draft.so_far.left
    assert (left.where, left.reason) == ("studio", "studio stands still.")
    assert scene.draft.so_far.attempts == ()
    assert scene.told == [TextDelta("Because.")]


async def test_without_another_host_an_answer_ends_where_its_host_was_lost() -> None:
    scene = Scene(studio=failing(FailureKind.CUT, first="Bec"))
    with pytest.raises(Interrupted) as caught:
        await scene.play(job_of(STUDIO, ZAI))
    assert (caught.value.user_message, caught.value.kind) == ("studio broke off.", FailureKind.CUT)
    assert scene.draft.so_far.cause == "It was cut."
    assert (scene.draft.text, len(scene.asked)) == ("Bec", 1)
    assert scene.draft.so_far.attempts == ()
    assert scene.rests == [(QWEN, "Bec", 1, {"studio"})]


CUT = FailureKind.CUT
MINI = Candidate(QWEN, HostName("mini"))


@pytest.mark.parametrize(
    ("acts", "asked", "text", "cut"),
    [
        pytest.param({}, "studio laptop", "BecBecause.", "", id="the next one goes on"),
        pytest.param(
            {"laptop": failing(CUT)}, "studio laptop mini", "BecBecause.", "", id="the third"
        ),
        pytest.param(
            {"laptop": failing(CUT, first="au")},
            "studio laptop mini",
            "BecauBecause.",
            "",
            id="lost twice",
        ),
        pytest.param(
            {"laptop": failing(CUT, first="au"), "mini": failing(CUT, first="se")},
            "studio laptop mini",
            "Because",
            "mini broke off.",
            id="lost everywhere",
        ),
        pytest.param(
            {"laptop": failing(CUT), "mini": failing(FailureKind.LOAD_FAILED)},
            "studio laptop mini",
            "Bec",
            "studio broke off. No other machine could go on with it.",
            id="nobody can",
        ),
        pytest.param(
            {"studio": failing(FailureKind.STALL, first="Bec"), "laptop": failing(CUT, first="au"),
             "mini": failing(FailureKind.BUSY)},
            "studio laptop mini mini",
            "Becau",
            "laptop broke off. No other machine could go on with it.",
            id="who was lost last is told",
        ),
    ],
)  # fmt: skip
async def test_an_answer_whose_host_is_lost_goes_on_at_another(
    acts: dict[str, Act], asked: str, text: str, cut: str
) -> None:
    scene = Scene(**{"studio": failing(CUT, first="Bec"), **acts})
    # As they stand now, the lost one among them, as if it had come back; ZAI is never asked.
    scene.others = (STUDIO, LAPTOP, MINI)
    said = ""
    try:
        await scene.play(job_of(STUDIO, ZAI))
    except Interrupted as broke:
        said = broke.user_message
    assert " ".join(str(where) for where, *_ in scene.asked) == asked
    assert (scene.draft.text, said) == (text, cut)
    resumed = [event.candidate.where for event in scene.told if isinstance(event, Resuming)]
    assert ["studio", *resumed] == asked.split()
    assert bool(scene.draft.so_far.cause) == bool(cut)


async def test_who_goes_on_is_told_before_and_a_failure_in_between_is_an_attempt() -> None:
    scene = Scene(studio=failing(CUT, first="Bec"), laptop=failing(CUT))
    scene.others = (LAPTOP, MINI)
    await scene.play(job_of(STUDIO))
    assert scene.told == [
        TextDelta("Bec"),
        Resuming(HostName("studio"), LAPTOP),
        FellBack(LAPTOP, "It was cut."),
        Resuming(HostName("studio"), MINI),
        TextDelta("Because."),
    ]
    assert [attempt.where for attempt in scene.draft.so_far.attempts] == ["laptop"]
    assert [seam.host for seam in scene.draft.so_far.seams] == ["studio"]


async def test_an_answer_lost_after_its_last_word_is_whole_where_the_next_has_no_more_to_say() -> (
    None
):
    async def has_no_more_to_say(draft: Draft, _: Override) -> None:
        await draft.hear(StreamEnd("stop", Usage(), QWEN))

    scene = Scene(studio=failing(CUT, first="Because."), laptop=has_no_more_to_say)
    scene.others = (LAPTOP,)
    await scene.play(job_of(STUDIO))
    assert (scene.draft.text, scene.draft.so_far.cause) == ("Because.", "")


async def test_hosts_seen_meanwhile_are_asked_before_a_provider_is_paid() -> None:
    late = [LAPTOP]

    async def newcomers() -> list[Candidate]:
        return [late.pop()] if late else []

    scene = Scene(studio=failing(CUT))
    await scene.play(job_of(STUDIO, ZAI), newcomers)
    assert [where for where, *_ in scene.asked] == ["studio", "laptop"]


async def test_what_a_provider_began_nobody_goes_on_with() -> None:
    scene = Scene(zai=failing(CUT, first="Bec"))
    scene.others = (LAPTOP,)
    with pytest.raises(Interrupted, match="zai broke off"):
        await scene.play(job_of(ZAI, STUDIO))
    assert (scene.rests, scene.draft.so_far.cause) == ([], "It was cut.")


async def test_a_rest_that_is_refused_ends_the_turn_as_any_refusal_does() -> None:
    async def refuses(draft: Draft, override: Override) -> None:
        raise RequestRefused("No.")

    scene = Scene(studio=failing(CUT, first="Bec"), laptop=refuses)
    scene.others = (LAPTOP,)
    with pytest.raises(RequestRefused):
        await scene.play(job_of(STUDIO))


async def test_a_first_word_in_the_moment_of_choosing_another_way_stands() -> None:
    async def begins_as_another_is_chosen(draft: Draft, override: Override) -> None:
        await draft.hear(TextDelta("Bec"))
        assert override.choose("cloud")
        await asyncio.Event().wait()

    scene = Scene(studio=begins_as_another_is_chosen)
    scene.override.offer = Offered(TurnId("t"), here=STUDIO, warm=None, cloud=ZAI)
    with pytest.raises(Interrupted, match="just as the answer began") as caught:
        await scene.play(job_of(STUDIO, ZAI))
    assert caught.value.kind is FailureKind.CANCELLED
    assert [where for where, *_ in scene.asked] == ["studio"]
    assert scene.draft.text == "Bec"


async def test_to_choose_whoever_is_being_asked_changes_nothing() -> None:
    async def is_chosen(draft: Draft, override: Override) -> None:
        assert override.choose("warm")
        assert not override.choose("warm")
        await asyncio.sleep(0)
        await answers(draft, override)

    scene = Scene(studio=is_chosen)
    scene.override.offer = Offered(TurnId("t"), here=STUDIO, warm=STUDIO, cloud=ZAI)
    await scene.play(job_of(STUDIO, LAPTOP))
    assert scene.asked == [("studio", MAX_WAIT_S, False)]
    assert scene.override.take() is None


@pytest.mark.parametrize("is_replanned", [False, True])
async def test_whoever_is_asked_after_a_broken_host_leaves_no_wait_for_it(
    is_replanned: bool,
) -> None:
    scene = Scene(studio=failing(CUT))
    job = job_of(STUDIO, LAPTOP)
    again = replace(job, replan=lambda: Route((STUDIO, MINI))) if is_replanned else job
    await scene.play(again)
    before, after = scene.jobs
    assert before is again
    assert after.route.candidates == (LAPTOP,)
    planned = None if after.replan is None else after.replan().candidates
    assert planned == ((MINI,) if is_replanned else None)


@pytest.mark.parametrize(
    ("choice", "is_taken", "is_open"),
    [("wait", True, False), ("warm", False, True), ("cloud", True, False)],
)
def test_a_way_is_taken_once_and_only_where_it_is_open(
    choice: Way, is_taken: bool, is_open: bool
) -> None:
    override = Override()
    assert not override.choose(choice), "before anything was offered"
    override.offer = Offered(TurnId("t"), here=STUDIO, warm=None, cloud=ZAI)
    assert override.choose(choice) is is_taken
    assert (override.offer is not None) is is_open
    assert override.take() == (ZAI if choice == "cloud" else None)


@pytest.mark.parametrize("is_chosen", [False, True])
async def test_a_deadline_from_inside_is_no_choice_though_one_is_made_in_that_moment(
    is_chosen: bool,
) -> None:
    override = Override()
    override.offer = Offered(TurnId("t"), here=STUDIO, warm=None, cloud=ZAI)

    async def attempted() -> None:
        async with override.attempt(STUDIO):
            if is_chosen:
                assert override.choose("cloud")
            raise TimeoutError("from inside")

    with pytest.raises(TimeoutError, match="from inside"):
        await attempted()


async def test_a_candidate_that_is_nobody_is_a_fault_of_ours() -> None:
    with pytest.raises(Bug):
        await Scene().play(job_of(Candidate(QWEN)))


async def test_nobody_could_is_one_calm_line_and_the_log_has_each_ones_words() -> None:
    rejected = (Rejection("laptop", QWEN, "10.0.0.2:1234 is away.", brief="off"),)
    scene = Scene(studio=failing(FailureKind.BUSY))
    with pytest.raises(NoCandidates) as caught:
        await scene.play(job_of(STUDIO, rejected=rejected))
    assert caught.value.user_message == (
        "No machine can answer right now: laptop is off, studio is busy. (`/why`)"
    )
    assert caught.value.kinds == (FailureKind.BUSY, FailureKind.BUSY)
    assert caught.value.details.split("; ") == [
        "studio (qwen): It was busy.",
        "studio (qwen): It was busy.",
        "laptop (qwen): 10.0.0.2:1234 is away.",
    ]


async def test_where_all_are_out_it_is_said_when_they_are_looked_at_again() -> None:
    scene = Scene(studio=failing(FailureKind.CONNECT))
    out = HostSnapshot(STUDIO.host or HostName(""), "10.0.0.2:1234", "down", away_since=100.0)
    scene.fleet = FleetSnapshot({out.name: out}, 100.0)
    with pytest.raises(NoCandidates) as caught:
        await scene.play(job_of(STUDIO))
    again = "Lantern looks again within a few seconds, and with each question."
    assert again in caught.value.user_message


def test_a_host_that_cancels_by_itself_is_left_for_the_next_at_once() -> None:
    async def asked() -> tuple[list[object], float]:
        scene, loop = Scene(studio=failing(FailureKind.CANCELLED)), asyncio.get_running_loop()
        began = loop.time()
        await scene.play(job_of(STUDIO, LAPTOP))
        return [who for who, *_ in scene.asked], loop.time() - began

    assert play(asked()) == (["studio", "laptop"], 0.0)


@pytest.mark.parametrize(("rejected", "is_said"), [((), False), (("laptop",), False),
    (("laptop", "zai"), True)])  # fmt: skip
async def test_that_words_stay_here_is_said_where_a_provider_could_have_answered(
    rejected: tuple[str, ...], is_said: bool
) -> None:
    left = tuple(Rejection(r, QWEN, "no", is_cloud=r == "zai") for r in rejected)
    with pytest.raises(NoCandidates) as caught:
        await Scene(studio=failing(FailureKind.BUSY)).play(job_of(STUDIO, rejected=left))
    words = "These words stay on the LAN (nobody asks here)."
    assert (words in caught.value.user_message) is is_said


async def nothing() -> None:
    """Prices are not asked for."""


def rest_of(job: Job, begun: str, said: int, *lost: HostName) -> Job:
    """What a planner makes of it over a fleet where studio, laptop and mini are up."""
    models = {key: Model(key, max_context_length=32_768) for key in (QWEN, GLM)}
    hosts = {
        name: HostSnapshot(name, f"{name}:1", "up", models=models)
        for name in map(HostName, ("studio", "laptop", "mini"))
    }
    hosts[HostName("empty")] = HostSnapshot(HostName("empty"), "empty:1", "up")
    zai = ProviderSnapshot(ProviderName("zai"), GLM, is_serving=True)
    planner = Planner(
        lambda: FleetSnapshot(hosts, 0.0),
        ChatRules(PersonaName("sage"), cloud=(zai.name,), providers=frozenset({zai.name})),
        lambda prompt, answer, now, room: [zai],
        nothing,
    )
    return planner.rest_of(job, QWEN, begun, said, lost)


class Disk(dict[ModelKey, Model]):
    """Of a thousand models, of which only those asked for are looked up."""

    def values(self) -> NoReturn:
        raise AssertionError("all were looked through")


@pytest.mark.parametrize("wanted", [(QWEN,), (GLM, QWEN), (AUTO, GLM)])
def test_the_widest_window_of_those_wanted_is_found_by_their_names(
    wanted: tuple[ModelKey, ...],
) -> None:
    windows = {QWEN: 9000, GLM: 4000, ModelKey("untold"): None, ModelKey("other"): 20_000}
    known = {key: Model(key, max_context_length=most) for key, most in windows.items()}
    models = known if AUTO in wanted else Disk(known)
    names = (HostName("studio"), HostName("empty"))
    hosts = {
        name: HostSnapshot(name, "a:1", "up", models=disk)
        for name, disk in zip(names, (models, {}), strict=True)
    }
    fleet = FleetSnapshot(hosts, 0.0)
    rules = ChatRules(PersonaName("sage"))
    planner = Planner(lambda: fleet, rules, lambda prompt, answer, now, room: (), nothing)
    first, *others = wanted
    persona = Persona(PersonaName("sage"), alternatives=tuple(others))
    resolved = replace(job_of(STUDIO).asking.resolved, persona=persona, model=first)
    assert planner.window(resolved) == (20_000 if AUTO in wanted else 9000)
    nobody = replace(resolved, model=ModelKey("untold"), persona=replace(persona, alternatives=()))
    assert planner.window(nobody) == WINDOW_TOKENS


def test_whoever_orders_an_answer_takes_the_turn_in_a_hosts_line() -> None:
    # Many Retries by one person pushed back those whose questions they were.
    planner = Planner(
        lambda: FleetSnapshot({}, 0.0),
        ChatRules(PersonaName("sage")),
        lambda prompt, answer, now, room: (),
        nothing,
    )
    retried = replace(job_of(STUDIO).asking, payer=UserId("discord:bob"))
    job = planner.job(retried)
    assert job.wish.user == "discord:bob"
    rest = rest_of(replace(job_of(STUDIO), asking=retried), "It", 1)
    assert rest.wish.user == "discord:bob"


def asked_for(max_tokens: int | None, *, is_zai_chosen: bool = False) -> Job:
    job = replace(job_of(STUDIO), messages=(Message("user", "Why?"),), prompt_tokens=100)
    persona = Persona(PersonaName("sage"), sampling=Sampling(max_tokens=max_tokens))
    provider = ProviderName("zai") if is_zai_chosen else None
    resolved = replace(job.asking.resolved, persona=persona, model=GLM, provider=provider)
    return replace(job, asking=replace(job.asking, resolved=resolved), answer_tokens=1000)


@pytest.mark.parametrize("is_zai_chosen", [False, True])
def test_the_rest_is_asked_of_the_other_hosts_with_the_very_model_alone(
    is_zai_chosen: bool,
) -> None:
    job = asked_for(None, is_zai_chosen=is_zai_chosen)
    rest = rest_of(job, "It burns. ", 3, HostName("studio"))
    assert {(c.where, c.model) for c in rest.route.candidates} == {("laptop", QWEN), ("mini", QWEN)}
    assert not any(c.provider for c in rest.route.candidates)
    assert (rest.wish.model_key, rest.begun) == (QWEN, "It burns.")
    assert rest.route.chosen is None
    assert (
        rest_of(job, "It", 1, *map(HostName, ("studio", "laptop", "mini"))).route.candidates == ()
    )


@pytest.mark.parametrize(
    ("max_tokens", "said", "left", "room"),
    [
        (None, 0, None, 1000),
        (None, 400, None, 600),
        (None, 1000 - REST_TOKENS, None, REST_TOKENS),
        (None, 1000 - REST_TOKENS + 1, None, REST_TOKENS),
        (None, 5000, None, REST_TOKENS),
        (1000, 400, 600, 600),
        (1000, 999, 1, REST_TOKENS),
        # Lost with its last token, before the end mark: the next says that the limit is reached.
        (1000, 1000, 1, REST_TOKENS),
    ],
)
def test_the_rest_is_as_long_as_the_answer_had_left(
    max_tokens: int | None, said: int, left: int | None, room: int
) -> None:
    rest = rest_of(asked_for(max_tokens), "It burns.", said)
    assert rest.asking.resolved.persona.sampling.max_tokens == left
    assert rest.answer_tokens == room
    # Eight tokens of a message's marks and three of its words.
    assert rest.prompt_tokens == 111
    assert rest.wish.min_context == 111 + room


def test_blanks_alone_are_no_beginning_to_go_on_from() -> None:
    rest = rest_of(asked_for(None), " \n", 1, HostName("studio"))
    assert (rest.begun, rest.messages, rest.prompt_tokens) == ("", (Message("user", "Why?"),), 100)
