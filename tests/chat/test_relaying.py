"""A client's request walked and settled: whom it is asked of, how long it waits, what is noted.

Who answers is a stand-in that does as it is told; the walk, the flights and the receipt are real.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import pytest
from relayed import DeafSink
from stand_ins import checked, double
from virtual_time import play

from bot.chat import relaying as relaying_module
from bot.chat.abroad import Abroad
from bot.chat.choices import PLAIN, Resolved
from bot.chat.consents import Consents
from bot.chat.flights import FlightNews, News
from bot.chat.host_serving import HostServing
from bot.chat.planning import Planner
from bot.chat.relayed import Relay, RelayRequest
from bot.chat.relaying import Relaying
from bot.chat.usage import UsageTracker
from bot.cloud.providers import Providers
from bot.domain.chat import (
    Candidate,
    Message,
    Place,
    Receipt,
    Rejection,
    Route,
    Timing,
    TurnRequest,
    Usage,
    Wire,
)
from bot.domain.cloud import AnswerRoom, ProviderConfig
from bot.domain.errors import (
    BRIEFLY,
    FailureKind,
    Interrupted,
    NoCandidates,
    RequestRefused,
    Unavailable,
)
from bot.domain.events import Loading, Queued
from bot.domain.hosts import FleetSnapshot, HostSnapshot, Wish
from bot.domain.ids import HostName, ModelKey, PlaceId, ProviderName, TurnId, UserId
from bot.fleet.fleet import Fleet
from bot.fleet.lease import Elsewhere, Lease
from bot.inference.streams import Inference
from bot.policy.budget import OVER_BUDGET
from bot.policy.privacy import CloudConsent, Consent, LocalOnly

QWEN, GLM = ModelKey("qwen"), ModelKey("glm")
STUDIO, LAPTOP = HostName("studio"), HostName("laptop")
HERE, THERE = Candidate(QWEN, STUDIO, seconds=2.5), Candidate(QWEN, LAPTOP, seconds=4.0)
ZAI = Candidate(GLM, provider=ProviderName("zai"), seconds=1.0)
MAX_WAIT_S = 60.0
WORDS = Message("user", "Why?")
ABROAD = Abroad({}, WORDS, 100)
OPEN: Any = double(CloudConsent)
KEPT = LocalOnly("it stays here")


def request_of(**more: Any) -> RelayRequest:
    fields: dict[str, object] = {"messages": [{}, {}]}
    request = RelayRequest(
        id=TurnId("one"),
        form="chat",
        path="/chat/completions",
        fields=fields,
        resolved=Resolved(PLAIN, "asked for", QWEN, "by name", is_named=True),
        user=UserId("key:1"),
        daily_micro_usd=None,
        place=Place(PlaceId("key:1"), is_private=True),
        prompt_tokens=20,
        answer_tokens=100,
        is_stream=True,
        abroad=ABROAD,
    )
    return replace(request, **more)


Act = Callable[[Relay], Awaitable[None]] | Unavailable
"""What one who is asked does, or why it cannot."""


@dataclass
class Lab:
    """Who could answer, what they do when they are asked, and what was asked of whom."""

    candidates: Sequence[Candidate] = (HERE,)
    acts: Sequence[Act] = ()
    """Of those who are asked, in turn; whoever has none answers."""
    consent: Consent = OPEN
    rejected: Sequence[Rejection] = ()
    hosts: dict[HostName, HostSnapshot] = field(default_factory=dict[HostName, HostSnapshot])
    names: Sequence[str] = ("zai",)
    wire: Wire = "openai"
    asked: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    told: list[News] = field(default_factory=list[News])
    prefers_cloud: bool = False

    def __post_init__(self) -> None:
        self.planner, self.consents, self.fleet = double(Planner), checked(Consents), checked(Fleet)
        self.planner.first_look_s = 6.0
        self.planner.prepare.return_value = None
        self.planner.pays_unseen.return_value = False
        self.planner.routed.side_effect = self._routed
        self.consents.judge.return_value = self.consent
        self.fleet.snapshot.side_effect = lambda: FleetSnapshot(self.hosts, 0.0)
        self.fleet.until.return_value = self.fleet.look_again.return_value = None
        self.providers = double(Providers)
        self.providers.names = self.names
        self.providers.config.return_value = ProviderConfig(
            ProviderName("zai"), "http://x.invalid", GLM, wire=self.wire
        )
        self.providers.take_repeat.return_value = False
        self.serving, self.usage = checked(HostServing), checked(UsageTracker)
        self.relaying = Relaying(
            planner=self.planner,
            consents=self.consents,
            fleet=self.fleet,
            hosts=self.serving,
            inference=double(Inference),
            providers=self.providers,
            usage=self.usage,
            tell=self.told.append,
            max_wait_s=MAX_WAIT_S,
        )
        self.relaying._by_host = self  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]  # its own tests are of sockets
        self.providers.lab = self
        self.left = list[Act](self.acts)

    def _routed(self, *_: object, **__: object) -> tuple[Route, Wish]:
        route = Route(tuple(self.candidates), tuple(self.rejected))
        return replace(route, prefers_cloud=self.prefers_cloud), Wish(ModelKey("wanted"))

    async def serve(
        self, host: HostName, candidate: Candidate, wish: Wish, relay: Relay, **how: Any
    ) -> None:
        assert host == candidate.host
        self.asked.append((candidate.where, wish, how))
        await self._act(candidate, relay)

    async def by_provider(
        self,
        providers: Providers,
        name: ProviderName,
        candidate: Candidate,
        relay: Relay,
        abroad: Abroad,
        **how: Any,
    ) -> None:
        assert (providers, name) == (self.providers, candidate.provider)
        self.asked.append((candidate.where, abroad, how))
        await self._act(candidate, relay)

    async def _act(self, candidate: Candidate, relay: Relay) -> None:
        act = self.left.pop(0) if self.left else answers
        if isinstance(act, Unavailable):
            raise act
        await relay.begins(candidate)
        await act(relay)

    def where(self) -> list[str]:
        return [asked[0] for asked in self.asked]

    async def ask(self, request: RelayRequest | None = None) -> Receipt:
        return await self.relaying.answer(request or request_of(), DeafSink())


async def answers(relay: Relay) -> None:
    """Two pieces, the second four seconds after the first."""
    loop = asyncio.get_running_loop()
    for after_s in (2.0, 4.0):
        await asyncio.sleep(after_s)
        relay.heard(loop.time())
        relay.has_written = True
        relay.deltas += 1


async def hangs(relay: Relay) -> None:
    await asyncio.Event().wait()


async def breaks(relay: Relay) -> None:
    await answers(relay)
    raise Unavailable("It broke off.", FailureKind.CUT)


@pytest.fixture(autouse=True)
def by_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    async def relay(providers: Providers, name: ProviderName, *more: Any, **how: Any) -> None:
        lab: Lab = cast("Any", providers).lab
        await lab.by_provider(providers, name, *more, **how)

    monkeypatch.setattr(relaying_module, "relay_by_provider", relay)


def lab_of(*candidates: Candidate, **more: Any) -> Lab:
    return Lab(candidates, **more)


def fails(kind: FailureKind = FailureKind.SERVER, words: str = "no", **more: Any) -> Unavailable:
    return Unavailable(words, kind, **more)


# --- whom it is asked of -------------------------------------------------------------------------


def test_a_host_is_asked_as_the_route_says_and_its_wait_is_counted_from_its_beginning() -> None:
    async def asked() -> Lab:
        await asyncio.sleep(100.0)
        lab = lab_of(replace(HERE, since=90.0), THERE, acts=(fails(),))
        await lab.ask()
        return lab

    lab = play(asked())
    (first, wish, how), (second, other, more) = lab.asked
    assert (first, second) == ("studio", "laptop")
    assert wish == Wish(QWEN, max_wait_s=MAX_WAIT_S + 10.0, since=90.0)
    assert other == Wish(QWEN, max_wait_s=MAX_WAIT_S)
    assert (how["is_last"], more["is_last"]) == (False, True)
    # Whoever failed is no host for one who waits at another.
    assert [c.where for c in more["replan"]().candidates] == ["laptop"]
    (given,) = lab.planner.routed.call_args_list[:1]
    assert given.args == (request_of().resolved, "key:1")
    assert given.kwargs == {
        "prompt_tokens": 20,
        "answer_tokens": 100,
        "sent_tokens": 10,
        "needs_vision": False,
        "local_only": False,
        "is_chat": True,
        "room": AnswerRoom(100),
    }
    lab.planner.prepare.assert_awaited_once()


@pytest.mark.parametrize(("state", "left_s"), [("queued", 0.0), ("reading", MAX_WAIT_S)])
def test_whose_patience_is_over_waits_in_no_line_any_more_and_work_uses_none_of_it(
    state: Literal["queued", "reading"], left_s: float
) -> None:
    async def long(relay: Relay) -> None:
        relay.flight.state = state
        await asyncio.sleep(MAX_WAIT_S + 1.0)
        raise fails()

    lab = lab_of(HERE, THERE, acts=(long,))
    play(lab.ask())
    assert [wish.max_wait_s for _, wish, _ in lab.asked] == [MAX_WAIT_S, left_s]


@pytest.mark.parametrize(("is_stream", "left_s"), [(True, MAX_WAIT_S - 10.0), (False, 0.0)])
def test_a_load_that_stood_still_uses_no_patience_of_who_sees_that_it_does(
    is_stream: bool, left_s: float
) -> None:
    # An idle host with the model on its disk was given 0 s to load it.
    async def stands(relay: Relay) -> None:
        relay.waits(Queued(STUDIO, QWEN, 1, 2.0))
        await asyncio.sleep(10.0)
        for fraction in (0.0, 0.5):
            relay.waits(Loading(STUDIO, QWEN, fraction, None))
            await asyncio.sleep(MAX_WAIT_S)
        raise fails()

    lab = lab_of(HERE, THERE, acts=(stands,))
    play(lab.ask(request_of(is_stream=is_stream)))
    assert [wish.max_wait_s for _, wish, _ in lab.asked] == [MAX_WAIT_S, left_s]


@pytest.mark.parametrize(
    ("more", "consent", "local_only", "is_chat", "needs_vision"),
    [
        ({"needs_vision": True}, OPEN, False, True, True),
        ({"form": "embeddings"}, OPEN, False, False, False),
        ({}, KEPT, True, True, False),
        ({"abroad": None}, OPEN, True, True, False),
    ],
)
def test_what_a_request_needs_is_routed_by(
    more: dict[str, Any], consent: Consent, local_only: bool, is_chat: bool, needs_vision: bool
) -> None:
    lab = lab_of(HERE, consent=consent)
    play(lab.ask(request_of(**more)))
    given = lab.planner.routed.call_args_list[0].kwargs
    assert (given["local_only"], given["is_chat"]) == (local_only, is_chat)
    assert given["needs_vision"] is needs_vision


@pytest.mark.parametrize(
    ("names", "abroad", "is_judged"), [(("zai",), ABROAD, True), ((), ABROAD, False)]
)
def test_nothing_is_looked_up_where_nobody_could_be_sent_it(
    names: Sequence[str], abroad: Abroad | None, is_judged: bool
) -> None:
    lab = lab_of(HERE, names=names)
    request = request_of(abroad=abroad)
    play(lab.ask(request))
    if not is_judged:
        lab.consents.judge.assert_not_awaited()
        return
    turn = TurnRequest(UserId("key:1"), "key:1", request.place, "")
    lab.consents.judge.assert_awaited_once_with(request.resolved, turn, (), ())


def test_what_may_leave_is_judged_again_by_the_words_themselves() -> None:
    judged = list[Consent]()

    async def asks(relay: Relay) -> None:
        judged.append(await relay.judge((WORDS,)))

    lab = lab_of(HERE, acts=(asks,))
    play(lab.ask())
    assert judged == [OPEN]
    assert lab.consents.judge.await_args.args[3] == (WORDS,)


@pytest.mark.parametrize("is_hurried", [True, False])
def test_a_provider_is_asked_what_may_leave_and_hurried_where_others_could(
    is_hurried: bool,
) -> None:
    others = (HERE,) if is_hurried else ()
    lab = lab_of(ZAI, *others, prefers_cloud=True)
    play(lab.ask())
    assert lab.asked == [("zai", ABROAD, {"is_last": not is_hurried, "is_hurried": is_hurried})]


def test_a_first_look_is_taken_where_a_provider_would_be_paid_unseen() -> None:
    lab = lab_of(ZAI, prefers_cloud=True)
    unseen = iter((True, False))

    def pays(_: Route) -> bool:
        return next(unseen, False)

    lab.planner.pays_unseen.side_effect = pays

    async def until(is_enough: Callable[[], bool], *_: object) -> None:
        assert is_enough()

    lab.fleet.until.side_effect = until
    play(lab.ask())
    assert len(lab.fleet.until.await_args_list) == 1
    (given, *_) = lab.planner.pays_unseen.call_args_list
    assert given.args[0].candidates == (ZAI,)


def test_a_host_that_came_while_others_failed_is_asked_too() -> None:
    lab = lab_of(HERE, acts=(fails(),))

    async def until(is_enough: Callable[[], bool], *_: object) -> None:
        assert not is_enough()
        lab.candidates = (HERE, THERE)
        assert is_enough()

    lab.fleet.until.side_effect = until
    assert play(lab.ask()).host == LAPTOP
    assert lab.where() == ["studio", "laptop"]


def test_a_provider_that_may_be_asked_again_is_once_all_others_failed() -> None:
    async def refuses(relay: Relay) -> None:
        relay.tries.again_at[ProviderName("zai")] = 0.0
        raise fails(FailureKind.RATE_LIMIT)

    lab = lab_of(ZAI, acts=(refuses,))
    lab.providers.take_repeat.return_value = True

    assert play(lab.ask()).provider == "zai"
    assert lab.where() == ["zai", "zai"]


# --- who cannot take it --------------------------------------------------------------------------

OLD = HostSnapshot(STUDIO, "s:1", "up", version="0.3.1")
BARE = "its LM Studio 0.3.1 has no /responses"


@pytest.mark.parametrize(
    ("more", "wire", "kept", "out"),
    [
        ({}, "openai", "studio laptop zai", {}),
        ({"path": "/responses"}, "openai", "laptop zai", {"studio": BARE}),
        ({"abroad": replace(ABROAD, why_not="tools")}, "openai", "studio laptop zai", {}),
        (
            {"abroad": replace(ABROAD, why_not="it has tools")},
            "anthropic",
            "studio laptop",
            {"zai": "it has tools"},
        ),
        ({"abroad": ABROAD}, "anthropic", "studio laptop zai", {}),
        ({"models": ("qwen*",)}, "openai", "studio laptop", {"zai": "the key is not for glm"}),
        ({"models": ("g*",)}, "openai", "studio laptop zai", {}),
        ({"only_host": LAPTOP}, "openai", "laptop", {}),
    ],
)
def test_who_cannot_take_a_request_is_not_asked_and_why_is_told(
    more: dict[str, Any], wire: Wire, kept: str, out: dict[str, str]
) -> None:
    rejected = (Rejection("attic", QWEN, "away"),)
    lab = lab_of(HERE, THERE, ZAI, wire=wire, hosts={STUDIO: OLD}, rejected=rejected)
    lab.left.extend(fails() for _ in kept.split())
    with pytest.raises(NoCandidates) as raised:
        play(lab.ask(request_of(**more)))
    assert " ".join(lab.where()) == kept
    told = raised.value.user_message
    assert "attic: away" in told
    for where, why in out.items():
        assert f"{where}: {why}" in told
    route = next(n.flight.route for n in lab.told if isinstance(n, FlightNews))
    found = {r.where: (r.reason, r.is_cloud, r.kind) for r in route.rejected}
    no_path = FailureKind.NO_PATH
    assert found == {"attic": ("away", False, None)} | {
        where: (why, where == "zai", None if where == "zai" else no_path)
        for where, why in out.items()
    }
    briefs = {r.brief for r in route.rejected if r.kind}
    assert briefs <= {BRIEFLY[no_path]}


# --- nobody could --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("consent", "rejected", "words"),
    [
        (OPEN, Rejection("zai", GLM, "resting", is_cloud=True), "zai: resting."),
        (
            KEPT,
            Rejection("zai", GLM, "local only", is_cloud=True),
            "No provider was asked: it stays here.",
        ),
        (KEPT, Rejection("attic", QWEN, "away"), "attic: away."),
        # Its own name stands in the reason; it was asked twice, and says it once.
        (KEPT, Rejection("attic", QWEN, "attic is draining."), "attic is draining."),
        (KEPT, Rejection("studio", QWEN, "It is gone."), ""),
    ],
)
def test_nobody_could_is_told_with_every_reason_and_when_to_return(
    consent: Consent, rejected: Rejection, words: str
) -> None:
    lab = lab_of(HERE, acts=(fails(words="It is gone."),), consent=consent, rejected=(rejected,))
    with pytest.raises(NoCandidates) as raised:
        play(lab.ask())
    error = raised.value
    told = f"Nobody can answer with `qwen` now. studio: It is gone. {words}".rstrip()
    assert error.user_message == told
    assert (error.kinds, error.retry_after_s) == ((FailureKind.SERVER,), 2.5)
    assert (error.is_loading, error.renews_in_s) == (False, None)


def test_without_anybody_left_nothing_is_foretold_and_what_hinders_for_long_is_told() -> None:
    told = [BRIEFLY[FailureKind.TOO_LONG], BRIEFLY[FailureKind.BUSY], ""]
    rejected = [Rejection(f"host{n}", QWEN, "no", brief=brief) for n, brief in enumerate(told)]
    rejected.append(Rejection("host", QWEN, "no", FailureKind.NO_PATH, OVER_BUDGET["all"]))
    lab = lab_of(rejected=rejected)
    with pytest.raises(NoCandidates) as raised:
        play(lab.ask())
    kinds = (FailureKind.NO_PATH, FailureKind.TOO_LONG, FailureKind.BUDGET)
    assert (raised.value.kinds, raised.value.retry_after_s) == (kinds, None)


def test_a_load_that_goes_on_and_a_budget_that_begins_anew_are_told() -> None:
    async def loads(relay: Relay) -> None:
        relay.is_loading = True
        raise fails(FailureKind.BUSY)

    spent = fails(FailureKind.BUDGET, retry_after_s=30.0)
    lab = lab_of(HERE, ZAI, acts=(loads, spent, loads))
    with pytest.raises(NoCandidates) as raised:
        play(lab.ask())
    assert (raised.value.is_loading, raised.value.renews_in_s) == (True, 30.0)


# --- what is noted -------------------------------------------------------------------------------


def test_an_answer_is_noted_with_who_gave_it_and_how_long_it_took() -> None:
    async def waits(relay: Relay) -> None:
        relay.queue_s, relay.load_s = 1.0, 2.0
        relay.tries.cost_micro_usd = 7
        relay.usage = Usage(20, 50, 3)
        relay.lease = lease
        await answers(relay)

    async def asked() -> Receipt:
        await asyncio.sleep(100.0)
        return await lab.ask()

    lease: Any = double(Lease)
    lab = lab_of(HERE, THERE, acts=(fails(), waits), rejected=(Rejection("attic", QWEN, "away"),))
    receipt = play(asked())
    assert receipt == Receipt(
        persona=PLAIN.name,
        model=QWEN,
        host=LAPTOP,
        usage=Usage(20, 50, 3),
        timing=Timing(queue_s=1.0, load_s=2.0, first_token_s=2.0, generation_s=4.0, total_s=6.0),
        cost_micro_usd=7,
        route=Route((HERE, THERE), tuple(lab.rejected)),
        attempts=(Rejection("studio", QWEN, "no", FailureKind.SERVER),),
        choice_reason="by name",
    )
    lab.usage.note.assert_called_once_with(
        TurnId("one"), UserId("key:1"), None, receipt, has_text=True
    )
    lab.serving.remember.assert_called_once_with(THERE, receipt, lease, is_first=True)
    news = [n.flight for n in lab.told if isinstance(n, FlightNews)]
    assert news[-1].receipt is receipt
    assert {flight.route for flight in news} == {receipt.route}
    assert (news[0].form, news[0].model, news[0].is_stream) == ("chat", QWEN, True)


def test_what_was_waited_at_a_host_that_was_left_is_a_part_of_the_wait() -> None:
    async def stands(relay: Relay) -> None:
        await asyncio.sleep(8.0)
        raise Elsewhere(THERE, "studio stands still at 23% of its load.")

    receipt = play(lab_of(HERE, THERE, acts=(stands,)).ask())
    assert [(left.where, left.reason) for left in receipt.left] == [
        ("studio", "studio stands still at 23% of its load.")
    ]
    timing = receipt.timing
    assert (receipt.attempts, timing.until_asked_s, timing.wait_s) == ((), 8.0, 10.0)


@pytest.mark.parametrize(
    ("fields", "is_first"),
    [
        ({"messages": ["Be calm.", "Why?"]}, True),
        ({"messages": ["Why?", "So.", "Why?"]}, False),
        ({"prompt": "Why?"}, False),
    ],
)
def test_only_a_first_question_tells_how_fast_a_host_reads(
    fields: dict[str, object], is_first: bool
) -> None:
    async def leased(relay: Relay) -> None:
        relay.lease = double(Lease)
        await answers(relay)

    lab = lab_of(HERE, acts=(leased,))
    play(lab.ask(request_of(fields=fields)))
    assert lab.serving.remember.call_args.kwargs == {"is_first": is_first}


def test_a_provider_taught_nothing_of_a_host() -> None:
    lab = lab_of(ZAI)
    receipt = play(lab.ask())
    lab.serving.remember.assert_not_called()
    assert (receipt.provider, receipt.host) == (ZAI.provider, None)
    # It told of no usage: a piece is about a token.
    assert receipt.usage == Usage(completion_tokens=2, estimated=True)


def test_what_broke_off_is_noted_as_far_as_it_came_and_raised() -> None:
    lab = lab_of(HERE, THERE, acts=(breaks,))
    with pytest.raises(Interrupted, match=r"^It broke off\.$"):
        play(lab.ask())
    assert lab.where() == ["studio"]
    receipt = lab.usage.note.call_args.args[3]
    assert (receipt.usage.completion_tokens, receipt.timing.generation_s) == (2, 4.0)


def test_what_never_began_is_noted_nowhere() -> None:
    async def hears(relay: Relay) -> None:
        relay.flight.by = None
        relay.sent_at = None
        raise fails()

    lab = lab_of(HERE, acts=(hears,))
    with pytest.raises(NoCandidates):
        play(lab.ask())
    lab.usage.note.assert_not_called()


@pytest.mark.parametrize("has_sent", [True, False])
def test_of_an_answer_that_came_whole_without_pieces_no_seconds_are_told(has_sent: bool) -> None:
    async def silent(relay: Relay) -> None:
        relay.has_written = True
        relay.sent_at = relay.sent_at if has_sent else None

    lab = lab_of(HERE, acts=(silent,))
    receipt = play(lab.ask())
    timing = receipt.timing
    assert (timing.first_token_s, timing.generation_s) == (None, 0.0)
    assert receipt.usage == Usage()


def test_of_what_came_as_a_whole_no_part_of_its_seconds_is_told() -> None:
    async def whole(relay: Relay) -> None:
        await asyncio.sleep(4.0)
        relay.last_at = asyncio.get_running_loop().time()
        relay.has_written = True

    async def asked() -> Receipt:
        await asyncio.sleep(100.0)
        return await lab_of(HERE, acts=(whole,)).ask(request_of(is_stream=False))

    timing = play(asked()).timing
    assert timing == Timing(whole_s=4.0, total_s=4.0)
    assert (timing.answer_s, timing.wait_s) == (4.0, 0.0)
    assert Timing(first_token_s=2.0, generation_s=3.0).answer_s == 5.0


def test_what_was_heard_of_one_that_failed_does_not_count_for_the_next() -> None:
    async def heard(relay: Relay) -> None:
        relay.heard(1.0)
        raise fails()

    async def silent(relay: Relay) -> None:
        relay.has_written = True

    assert play(lab_of(HERE, THERE, acts=(heard, silent)).ask()).timing == Timing()


# --- a restart -----------------------------------------------------------------------------------


def test_a_restart_takes_no_new_requests_and_lets_those_under_way_end() -> None:
    lab = lab_of(HERE)

    async def drained() -> float:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(lab.ask())
            await asyncio.sleep(1.0)
            group.create_task(lab.relaying.drain(9.0))
            await asyncio.sleep(0.0)
            with pytest.raises(NoCandidates, match="takes no new requests") as raised:
                await lab.ask(request_of(id=TurnId("two")))
            assert raised.value.kinds == (FailureKind.BUSY,)
        assert asked.result().host == STUDIO
        return asyncio.get_running_loop().time()

    assert play(drained()) == 6.0


def test_what_takes_longer_hears_why_it_is_broken_off() -> None:
    lab = lab_of(HERE, acts=(hangs, hangs))

    async def drained() -> float:
        async with asyncio.TaskGroup() as group:
            two = [group.create_task(ended(lab, request_of(id=TurnId(name)))) for name in "ab"]
            await asyncio.sleep(1.0)
            await lab.relaying.drain(9.0)
        for one in two:
            assert isinstance(one.result(), NoCandidates)
            assert "broke this answer off; ask again" in one.result().user_message
        return asyncio.get_running_loop().time()

    assert play(drained()) == 10.0


async def ended(lab: Lab, request: RelayRequest) -> Any:
    with pytest.raises((NoCandidates, RequestRefused)) as raised:
        await lab.ask(request)
    return raised.value


def test_an_end_that_nobody_takes_holds_a_restart_for_a_while_alone() -> None:
    async def deaf(relay: Relay) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(99.0)

    async def drained() -> float:
        lab = lab_of(HERE, acts=(deaf,))
        async with asyncio.TaskGroup() as group:
            group.create_task(ended(lab, request_of()))
            await asyncio.sleep(1.0)
            with pytest.raises(TimeoutError):
                await lab.relaying.drain(9.0)
            return asyncio.get_running_loop().time()

    assert play(drained()) == 10.0 + relaying_module.CLOSE_S
