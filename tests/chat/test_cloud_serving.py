"""A job as a provider is asked it: for whom, how urgently, with what it sees, and how it is timed.

In virtual time, over the real providers; what would leave the process is noted.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from skies import FreeSky
from virtual_time import play

from bot.chat.choices import Resolved
from bot.chat.cloud_serving import CloudServing
from bot.chat.draft import Draft
from bot.chat.planning import Asking, Job
from bot.cloud.providers import Providers
from bot.cloud.serve import ProviderTries
from bot.domain.chat import (
    Attachment,
    Candidate,
    Endpoint,
    InferenceRequest,
    Message,
    Place,
    Receipt,
    Route,
    TurnRequest,
    Usage,
)
from bot.domain.cloud import Booking, LedgerAnswer, ProviderConfig
from bot.domain.errors import Bug, FailureKind, Unavailable
from bot.domain.events import Delta, StreamEnd, TextDelta, TurnEvent
from bot.domain.hosts import Wish
from bot.domain.ids import ModelKey, PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.domain.personas import Persona, Priority, Sampling
from bot.policy.concurrency import BRIEF_WAIT_S
from bot.policy.context import Fitted
from bot.policy.pricing import flat_price
from bot.policy.privacy import (
    Consent,
    LocalOnly,
    Marks,
    consent_to_cloud,
    origins_of_request,
    to_look_up,
)

ACME = ProviderName("acme")
THERE = Candidate(ModelKey("m"), provider=ACME)
CONFIG = ProviderConfig(ACME, "http://x.invalid", ModelKey("m"), price=flat_price(1, 1))
PLACE = Place(PlaceId("hall"), server=PlaceId("guild"))
THINKS_S, ANSWERS_S = 3.0, 8.0
SAMPLING = Sampling(temperature=0.5)
PICTURE = Attachment("cat.png", "image/png", image=b"png")


@dataclass
class Sky(FreeSky):
    """One provider that answers as it is told, and what it was asked."""

    fails: list[Unavailable] = field(default_factory=list[Unavailable])
    sent: list[InferenceRequest] = field(default_factory=list[InferenceRequest])
    booked: list[Booking] = field(default_factory=list[Booking])

    @asynccontextmanager
    async def open_stream(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        self.sent.append(request)
        if self.fails:
            raise self.fails.pop(0)
        yield self._deltas()

    async def _deltas(self) -> AsyncIterator[Delta]:
        await asyncio.sleep(THINKS_S)
        yield TextDelta("Well.")
        await asyncio.sleep(ANSWERS_S)
        yield StreamEnd("stop", Usage(1, 1), "m")

    async def book(self, booking: Booking) -> LedgerAnswer:
        self.booked.append(booking)
        return LedgerAnswer(len(self.booked), ())


def job_of(
    user: str,
    *,
    said: Priority | None = None,
    persona: Priority = "normal",
    images: tuple[Attachment, ...] = (),
) -> Job:
    who = Persona(PersonaName("sage"), priority=persona, sampling=SAMPLING)
    request = TurnRequest(UserId(user), user, PLACE, "Why?", priority=said)
    origins = origins_of_request(who.name, request)
    marks, open_to = Marks(to_look_up(origins)), {who.name: False}

    def judged(messages: Sequence[Message]) -> Consent:
        return consent_to_cloud(messages, origins, persona=who, personas=open_to, marks=marks)

    async def judge(messages: Sequence[Message]) -> Consent:
        return judged(messages)

    asking = Asking(
        resolved=Resolved(who, "by default", ModelKey("auto"), "by default", False),
        branch=(),
        request=request,
        consent=judged(()),
        judge=judge,
        payer=UserId(user),
        turn=TurnId(f"turn-of-{user}"),
    )
    message = Message("user", f"Why, {user}?", images, origins=origins)
    more = [Message("assistant", "Hm?", origins=origins)] * bool(images)
    return Job(
        asking=asking,
        messages=(),
        abroad=lambda: Fitted((message, *more), 0, 10),
        prompt_tokens=10,
        answer_tokens=10,
        dropped=0,
        route=Route((THERE,)),
        wish=Wish(ModelKey("m")),
        max_wait_s=9.0,
    )


async def served(
    providers: Providers, job: Job, *, is_hurried: bool = False
) -> tuple[Receipt, list[TurnEvent]]:
    told: list[TurnEvent] = []

    async def tell(event: TurnEvent) -> None:
        told.append(event)

    draft = Draft(PersonaName("sage"), "", tell)
    await CloudServing(providers).serve(
        ACME, THERE, job, draft, question=ProviderTries(), is_last=True, is_hurried=is_hurried
    )
    return draft.receipt(), told


def test_waiting_in_the_line_and_reading_are_told_apart_and_a_second_try_waits_anew() -> None:
    async def two() -> Receipt:
        busy = Unavailable("Too many.", FailureKind.RATE_LIMIT, retry_after_s=2.0)
        async with (
            Sky().providers(replace(CONFIG, max_concurrent=1)) as providers,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(served(providers, job_of("ada")))
            second = group.create_task(served(providers, job_of("bob")))
        waited = second.result()[0].timing
        assert (waited.queue_s, waited.first_token_s) == (THINKS_S + ANSWERS_S, THINKS_S)
        async with Sky([busy]).providers(CONFIG) as providers:
            return (await served(providers, job_of("ada")))[0]

    again = play(two()).timing
    assert again.queue_s == pytest.approx(2.05)
    assert again.first_token_s == THINKS_S


def test_who_is_in_a_hurry_leaves_the_line_soon() -> None:
    async def hurried() -> float:
        async with (
            Sky().providers(replace(CONFIG, max_concurrent=1)) as providers,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(served(providers, job_of("ada")))
            await asyncio.sleep(0)
            with pytest.raises(Unavailable) as raised:
                await served(providers, job_of("bob"), is_hurried=True)
            assert raised.value.kind is FailureKind.BUSY
            return asyncio.get_running_loop().time()

    assert play(hurried()) == BRIEF_WAIT_S < ANSWERS_S


@pytest.mark.parametrize(("said", "persona"), [("high", "normal"), ("high", "low"), (None, "high")])
def test_the_more_urgent_goes_first_by_the_question_else_by_its_persona(
    said: Priority | None, persona: Priority
) -> None:
    async def three() -> list[str]:
        sky = Sky()
        urgent = job_of("eve", said=said, persona=persona)
        async with (
            sky.providers(replace(CONFIG, max_concurrent=1)) as providers,
            asyncio.TaskGroup() as group,
        ):
            for job in (job_of("ada"), job_of("bob"), urgent):
                group.create_task(served(providers, job))
                await asyncio.sleep(0.1)
        return [request.messages[0].text for request in sky.sent]

    assert play(three()) == ["Why, ada?", "Why, eve?", "Why, bob?"]


@pytest.mark.parametrize("vision", [True, False])
def test_pictures_go_to_who_sees_and_what_was_left_out_is_told(vision: bool) -> None:
    async def one(images: tuple[Attachment, ...]) -> tuple[Sky, Receipt]:
        sky = Sky()
        async with sky.providers(replace(CONFIG, vision=vision)) as providers:
            receipt, _ = await served(providers, job_of("ada", images=images))
        return sky, receipt

    sky, receipt = play(one((PICTURE,)))
    assert sky.sent[0].messages[0].images == ((PICTURE,) if vision else ())
    assert sky.sent[0].sampling.temperature == SAMPLING.temperature
    left_out = "acme was not configured to see; images were left out."
    assert receipt.notices == (() if vision else (left_out,))
    assert play(one(()))[1].notices == ()


def test_a_call_is_booked_for_its_server_and_whoever_pays() -> None:
    async def one() -> Sky:
        sky = Sky()
        async with sky.providers(CONFIG) as providers:
            job = job_of("ada")
            job = replace(job, asking=replace(job.asking, payer=UserId("bob")))
            await served(providers, job)
            assert sky.booked[0].user == providers.ledger_name(UserId("bob"))
        return sky

    assert [(b.server, b.turn) for b in play(one()).booked] == [("guild", "turn-of-ada")]


async def test_without_a_consent_nothing_is_made_of_the_words() -> None:
    sky, job = Sky(), job_of("ada")
    kept = replace(job.asking, consent=LocalOnly("it stays here"))

    def never() -> Fitted:
        raise AssertionError("words that stay here were made ready to leave")

    async with sky.providers(CONFIG) as providers:
        with pytest.raises(Bug, match="without consent"):
            await served(providers, replace(job, asking=kept, abroad=never))
    assert not sky.sent
