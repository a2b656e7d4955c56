"""Which answers are kept for the very same question, and how one is given again."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from bot.chat.cache import AnswerCache
from bot.chat.choices import Resolved
from bot.chat.draft import Draft
from bot.chat.planning import Asking, Job
from bot.domain.chat import Candidate, Message, Place, Receipt, Route, Seam, TurnRequest, Usage
from bot.domain.errors import StoreUnavailable
from bot.domain.events import Reading, TextDelta, TurnEvent
from bot.domain.hosts import Wish
from bot.domain.ids import AUTO, HostName, ModelKey, PersonaName, PlaceId, ProviderName, UserId
from bot.domain.personas import Persona
from bot.policy.context import Fitted
from bot.policy.privacy import PROBE, LocalOnly, judge_probe
from bot.store.answers import AnswerStore, KeptAnswer

QWEN, GLM = ModelKey("qwen"), ModelKey("glm")
STUDIO, ZAI = HostName("studio"), ProviderName("zai")
SAGE = PersonaName("sage")


class Shelf(AnswerStore):
    """Keeps in a dictionary, or is broken."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.kept: dict[str, KeptAnswer] = {}
        self.is_broken = is_broken

    async def get(self, key: str) -> KeptAnswer | None:
        if self.is_broken:
            raise StoreUnavailable("The disk is full.")
        return self.kept.get(key)

    async def put(self, key: str, answer: KeptAnswer) -> None:
        if self.is_broken:
            raise StoreUnavailable("The disk is full.")
        self.kept[key] = answer


async def a_job(model: ModelKey = QWEN, *, is_private: bool = True) -> Job:
    asking = Asking(
        resolved=Resolved(Persona(SAGE), "by default", model, "by default", False),
        branch=(),
        request=TurnRequest(UserId("discord:ada"), "Ada", Place(PlaceId("discord:1")), "Why?"),
        consent=LocalOnly("nobody asks here") if is_private else await judge_probe(PROBE),
        judge=judge_probe,
        payer=UserId("discord:ada"),
    )
    return Job(
        asking=asking,
        messages=(Message("user", "Why?"),),
        abroad=lambda: Fitted((), 0, 0),
        prompt_tokens=10,
        answer_tokens=10,
        dropped=0,
        route=Route(()),
        wish=Wish(model),
        max_wait_s=9.0,
    )


def a_receipt(**more: object) -> Receipt:
    whole = Receipt(SAGE, QWEN, STUDIO, usage=Usage(7, 3))
    return replace(whole, **more)


class Told:
    """A draft and what it told."""

    def __init__(self) -> None:
        self.events: list[TurnEvent] = []
        self.draft = Draft(SAGE, "", self.hear)

    async def hear(self, event: TurnEvent) -> None:
        self.events.append(event)


@pytest.mark.parametrize(("host", "provider"), [(STUDIO, None), (None, ZAI)])
async def test_an_answer_is_given_again_as_whose_it_was(
    host: HostName | None, provider: ProviderName | None
) -> None:
    cache, job = AnswerCache(Shelf()), await a_job(AUTO)
    await cache.keep(job, "Because.", a_receipt(host=host, provider=provider))
    again = Told()
    assert await cache.give(job, again.draft)
    said_by = Candidate(QWEN, host, provider)
    assert again.events == [Reading(said_by, 7, None), TextDelta("Because.")]
    told = again.draft.receipt()
    assert (told.model, told.host, told.provider) == (QWEN, host, provider)
    assert (told.usage, told.from_cache) == (Usage(7, 3), True)


async def test_without_a_store_or_an_answer_nothing_is_given() -> None:
    job, told = await a_job(), Told()
    for cache in (AnswerCache(None), AnswerCache(Shelf())):
        assert not await cache.give(job, told.draft)
    await AnswerCache(None).keep(job, "Because.", a_receipt())
    assert told.events == []


async def test_a_store_that_fails_costs_no_answer_and_is_told_to_the_log() -> None:
    cache, job, told = AnswerCache(Shelf(is_broken=True)), await a_job(), Told()
    with capture_logs() as logs:
        assert not await cache.give(job, told.draft)
        await cache.keep(job, "Because.", a_receipt())
    assert [log["event"] for log in logs] == ["answers not read", "answer not kept"]


@pytest.mark.parametrize(
    ("asked", "text", "receipt", "is_kept"),
    [
        (QWEN, "Because.", a_receipt(), True),
        (AUTO, "Because.", a_receipt(), True),
        (QWEN, " ", a_receipt(), False),
        (QWEN, "Bec", a_receipt(finish="length"), False),
        (QWEN, "", a_receipt(model=None), False),
        (QWEN, "Because.", a_receipt(model=None), False),
        (QWEN, "Because.", a_receipt(seams=(Seam(STUDIO, "gone"),)), False),
        # Another model stood in: next time the wanted one may answer at no cost.
        (GLM, "Because.", a_receipt(), False),
        (QWEN, "Because.", a_receipt(model=GLM, host=None, provider=ZAI), True),
    ],
)
async def test_only_whole_answers_of_the_model_that_was_asked_for_are_kept(
    asked: ModelKey, text: str, receipt: Receipt, is_kept: bool
) -> None:
    shelf = Shelf()
    await AnswerCache(shelf).keep(await a_job(asked), text, receipt)
    assert bool(shelf.kept) is is_kept


async def test_a_private_question_shares_its_answer_with_no_other() -> None:
    cache = AnswerCache(Shelf())
    await cache.keep(await a_job(is_private=True), "Because.", a_receipt())
    assert not await cache.give(await a_job(is_private=False), Told().draft)
