"""The line at a provider, in virtual time: a crowd, what it is shown, and how long it waits."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from cloud_house import Heard, asking
from skies import FreeSky
from virtual_time import play

from bot.cloud.providers import Providers
from bot.cloud.serve import ProviderTries, serve
from bot.domain.chat import DialectName, Endpoint, InferenceRequest, Usage
from bot.domain.cloud import Booking, LedgerAnswer, Price, ProviderConfig
from bot.domain.errors import BotError, FailureKind, Unavailable
from bot.domain.events import Delta, StreamEnd, TextDelta
from bot.domain.ids import ModelKey, ProviderName, TurnId, UserId
from bot.policy.concurrency import BRIEF_WAIT_S
from bot.policy.retry import FIRST_WORD_S

K = FailureKind
ACME = ProviderName("acme")
CONFIG = ProviderConfig(
    ACME, "https://api.example/v1", ModelKey("m"), price=Price(), rate_count=1000
)


@dataclass
class Sky(FreeSky):
    """A cloud of one provider that answers in ``answer_s`` and takes so many at once."""

    takes: int = 1000
    answer_s: float = 10.0
    fails: list[Unavailable] = field(default_factory=list[Unavailable])
    busy: int = 0
    most: int = 0
    """At once, ever."""
    refused: int = 0
    booked: list[str] = field(default_factory=list[str])

    @asynccontextmanager
    async def open_stream(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            if self.fails:
                raise self.fails.pop(0)
            if self.busy > self.takes:
                self.refused += 1
                raise Unavailable("Too many at once.", K.RATE_LIMIT, code="1302")
            yield self._deltas()
        finally:
            self.busy -= 1

    async def _deltas(self) -> AsyncIterator[Delta]:
        yield TextDelta("Well, ")
        await asyncio.sleep(self.answer_s)
        yield StreamEnd("stop", Usage(1, 1), "m")

    async def book(self, booking: Booking) -> LedgerAnswer:
        self.booked.append(booking.user)
        return LedgerAnswer(len(self.booked), ())


@dataclass
class Answered(Heard):
    """One question, and when it was over."""

    at_s: float = 0.0


async def ask(
    providers: Providers, number: int, user: str, *, is_hurried: bool = False, is_last: bool = True
) -> Answered:
    heard = Answered()
    question = replace(asking(TurnId(f"t{number}"), "Why?"), user=UserId(user))
    try:
        heard.served = await serve(
            providers,
            ACME,
            question,
            ProviderTries(),
            heard.listener(),
            is_last=is_last,
            is_hurried=is_hurried,
        )
    except BotError as error:
        heard.error = error
    heard.at_s = asyncio.get_running_loop().time()
    return heard


def crowd(
    sky: Sky,
    users: list[str],
    config: ProviderConfig = CONFIG,
    *,
    every_s: float = 0.0,
    meanwhile: Callable[[list[asyncio.Task[Answered]], Providers], None] | None = None,
) -> list[Answered]:
    """Everybody asks at once, or one after the other; what each got."""

    async def all_ask() -> list[Answered]:
        async with sky.providers(config) as providers, asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[Answered]] = []
            for number, user in enumerate(users):
                tasks.append(group.create_task(ask(providers, number, user)))
                await asyncio.sleep(every_s)
            if meanwhile is not None:
                meanwhile(tasks, providers)
            await asyncio.wait(tasks)
        return [task.result() for task in tasks if not task.cancelled()]

    return play(all_ask())


PEOPLE = [f"person {number}" for number in range(14)]


@pytest.mark.parametrize("dialect", ["generic", "zai"])
def test_fourteen_people_at_one_healthy_provider_are_all_answered(dialect: DialectName) -> None:
    sky = Sky()
    heard = crowd(sky, PEOPLE, replace(CONFIG, dialect=dialect))
    assert [h.kind for h in heard] == [None] * 14
    # Everybody who waited was shown a place and an estimate, the last one every step of the way.
    assert all(h.places for h in heard[5:])
    places = [place for place, _ in heard[-1].places]
    assert places == sorted(places, reverse=True)
    assert all(seconds > 0 for h in heard for _, seconds in h.places)
    assert sky.booked == sorted(sky.booked, key=sky.booked.index)


def test_the_estimate_comes_true() -> None:
    sky = Sky(answer_s=15.0)
    heard = crowd(sky, PEOPLE, replace(CONFIG, max_concurrent=2))
    told = heard[-1].places[0]
    assert told == (12, 12 * 15.0 / 2)
    # Into a place after six rounds of two, then its own answer.
    assert heard[-1].at_s == pytest.approx(told[1] + 15.0)


def test_what_a_provider_takes_is_found_and_hardly_overstepped() -> None:
    sky = Sky(takes=8, answer_s=1.0)
    heard = crowd(sky, [f"person {n}" for n in range(60)])
    assert [h.kind for h in heard].count(None) == 60
    assert sky.most >= 8
    assert sky.refused <= 3


def test_a_configured_number_is_never_passed() -> None:
    sky = Sky(answer_s=1.0)
    crowd(sky, PEOPLE * 3, replace(CONFIG, max_concurrent=3))
    assert sky.most == 3


def test_one_person_with_many_questions_does_not_hold_up_another() -> None:
    sky = Sky()
    heard = crowd(sky, ["ada"] * 9 + ["bob"], replace(CONFIG, max_concurrent=1))
    ends = sorted(h.at_s for h in heard)
    assert heard[-1].at_s == ends[1]


def test_who_leaves_the_line_is_neither_asked_nor_paid_for() -> None:
    sky = Sky()

    def leave(tasks: list[asyncio.Task[Answered]], providers: Providers) -> None:
        tasks[1].cancel()

    heard = crowd(sky, ["ada", "bob", "eve"], replace(CONFIG, max_concurrent=1), meanwhile=leave)
    assert [h.kind for h in heard] == [None, None]
    assert len(set(sky.booked)) == 2
    assert list(dict.fromkeys(place for place, _ in heard[-1].places)) == [2, 1]


def test_who_waits_is_told_anew_as_time_goes_by_though_nobody_moves() -> None:
    sky = Sky(answer_s=40.0)
    heard = crowd(sky, ["ada", "bob"], replace(CONFIG, max_concurrent=1, max_wait_s=60.0))
    told = [seconds for _, seconds in heard[1].places]
    # Of an answer that outlasts the usual "about 0.5 s" was told as long as it went on.
    assert (told[0], told[20], min(told), len(told)) == (15.0, 10.0, 8.0, 40)


def test_nobody_waits_longer_than_the_setting_allows() -> None:
    sky = Sky(answer_s=10.0)
    heard = crowd(sky, PEOPLE[:4], replace(CONFIG, max_concurrent=1, max_wait_s=20.5))
    assert [h.kind for h in heard] == [None, None, None, K.BUSY]
    assert heard[-1].at_s == 20.5
    assert len(sky.booked) == 3


def test_while_others_could_answer_a_place_is_waited_for_only_briefly() -> None:
    sky = Sky()

    async def hurried() -> list[Answered]:
        config = replace(CONFIG, max_concurrent=1)
        async with sky.providers(config) as providers, asyncio.TaskGroup() as group:
            group.create_task(ask(providers, 0, "ada"))
            await asyncio.sleep(0)
            first = await ask(providers, 1, "bob", is_hurried=True)
            await asyncio.sleep(10.0 - BRIEF_WAIT_S - first.at_s + 1.0)
            return [first, await ask(providers, 2, "bob", is_hurried=True)]

    busy, served = play(hurried())
    assert (busy.kind, busy.at_s) == (K.BUSY, BRIEF_WAIT_S)
    assert served.kind is None


@pytest.mark.parametrize("kind", [K.RATE_LIMIT, K.OVERLOAD, K.SERVER])
def test_a_wait_it_asks_for_is_kept_to_and_shown_to_all(kind: FailureKind) -> None:
    sky = Sky(fails=[Unavailable("Come back later.", kind, retry_after_s=40.0)])
    heard = crowd(sky, ["ada", "bob"], every_s=1.0)
    assert [h.kind for h in heard] == [None, None]
    assert heard[0].places[0] == (1, pytest.approx(41.0))
    assert heard[1].places[0] == (1, pytest.approx(39.0))
    assert heard[0].at_s >= 50.0


def test_a_wait_that_ends_too_late_is_not_waited_for() -> None:
    told_s = FIRST_WORD_S
    sky = Sky(fails=[Unavailable("Come back later.", K.OVERLOAD, retry_after_s=told_s)])
    heard = crowd(sky, ["ada"])
    assert (heard[0].kind, heard[0].at_s) == (K.OVERLOAD, 0.0)
    assert heard[0].requests == 1


def test_refusals_of_one_moment_take_nobody_out() -> None:
    limits = [Unavailable("Slower.", K.RATE_LIMIT, retry_after_s=2.0) for _ in range(8)]
    heard = crowd(Sky(fails=limits), PEOPLE[:8], replace(CONFIG, max_concurrent=8))
    kinds = Counter(h.kind for h in heard)
    # A minute's repeats are few, and no more than those are asked again.
    assert kinds == {None: 3, K.RATE_LIMIT: 5}
