"""Lantern's own code as a policy: its planner, walk, leases, schedulers and fleet as they are.

Three things are given to it in place of the real ones, all as arguments: the clock (the loop it
runs on), the connection to a host, and the streams of answers. What ``bot/app.py`` has a timer do
is done by a task here.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from string import ascii_lowercase
from typing import Any

import httpx

from bench.fleet.host import SLOTS, UNLOAD_S, Copy, Generation, Machine, NotServed, Work
from bench.fleet.people import Evening, NobodyAnswers, PlayedQuestion, Serve
from bench.fleet.trace import ANSWER_TOKENS, CONTEXT
from bot.chat.answering import Answering
from bot.chat.choices import Resolved
from bot.chat.cloud_serving import CloudServing
from bot.chat.draft import Draft
from bot.chat.host_serving import HostServing
from bot.chat.override import Override
from bot.chat.planning import Asking, ChatRules, Planner
from bot.cloud.billing import Ledger
from bot.cloud.providers import Providers
from bot.domain.chat import Endpoint, InferenceRequest, Message, Place, Turn, TurnRequest, Usage
from bot.domain.errors import BotError, FailureKind, HostUnreachable, Unavailable
from bot.domain.events import Delta, StreamEnd, TextDelta, TurnEvent
from bot.domain.hosts import HostConfig, Instance, Interface, LoadOrder, Model, ModelKind, Report
from bot.domain.ids import (
    HostName,
    InstanceId,
    InstanceRef,
    PersonaName,
    PlaceId,
    TurnId,
    UserId,
)
from bot.domain.personas import LoadSettings, Persona, Sampling
from bot.fleet.client import HostClient, LoadValue, Stop
from bot.fleet.fleet import Fleet, FleetRules, Recorder
from bot.policy.context import BYTES_PER_TOKEN, MESSAGE_TOKENS
from bot.policy.privacy import Consent, LocalOnly

CALL_S = 0.01
"""A question at a host on the LAN, there and back."""
USUAL_CONTEXT = 4096
"""What LM Studio loads with when nobody says anything."""
AT_HOME = LocalOnly("nobody else is configured")


class VirtualClient:
    """A ``HostClient`` of a machine that is only reckoned; dead once that machine was away."""

    interface: Interface = "SDK socket"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._gone = machine.gone

    async def inventory(self) -> Report:
        residents = await self.resident()
        models = {
            key: Model(key, size_bytes=model.size_bytes, max_context_length=32_768)
            for key, model in self._machine.spec.models.items()
        }
        return Report("SDK socket", "0.4.16", models, residents, lists_only_loaded=False)

    async def resident(self, kind: ModelKind | None = None) -> tuple[Instance, ...]:
        await self._call()
        return tuple(self._seen(copy) for copy in self._machine.copies.values())

    async def load(
        self, order: LoadOrder, on_progress: Callable[[float], None], stop: Stop
    ) -> Instance | None:
        await self._call()
        machine, context = self._machine, order.settings.context_length or USUAL_CONTEXT
        model = machine.spec.models[order.model_key]
        try:
            async with asyncio.timeout(None) as scope:

                async def give_up() -> None:
                    scope.reschedule(0.0)

                stop.tell = give_up
                copy = await machine.load(
                    model, context, ttl_s=order.ttl_s, on_progress=on_progress
                )
        except TimeoutError:
            return None
        except NotServed as error:
            if error.cause == "memory":
                text = "Model loading was stopped due to insufficient system resources."
                raise Unavailable(text, FailureKind.DOES_NOT_FIT) from error
            raise HostUnreachable(f"{machine.name} cut the line.", FailureKind.CUT) from error
        finally:
            stop.tell = None
        return self._seen(copy)

    async def unload(self, instance: Instance, *, even_busy: bool = True) -> None:
        await asyncio.sleep(UNLOAD_S)
        await self._call()
        copy = self._machine.copies.get(str(instance.identifier))
        if copy is not None:
            self._machine.evict(copy, even_busy=even_busy)

    async def load_config(self, instance: Instance) -> Mapping[str, LoadValue]:
        await self._call()
        return {}

    async def count_tokens(self, instance: Instance, text: str) -> int | None:
        return None

    async def close(self) -> None: ...

    async def _call(self) -> None:
        await asyncio.sleep(CALL_S)
        if self._gone.is_set():
            raise HostUnreachable(f"{self._machine.name} cut the line.", FailureKind.CUT)

    def _seen(self, copy: Copy) -> Instance:
        return Instance(
            InstanceId(copy.name),
            copy.model.key,
            InstanceRef(f"{self._machine.name}#{copy.number}"),
            copy.context,
            SLOTS,
            copy.model.size_bytes,
            last_used=round(copy.used_at * 1000),
            net_ttl_s=None if copy.ttl_s is None else round(copy.ttl_s),
        )


class AnswerSoFar:
    """One question while it is answered: what was said of the answer so far."""

    def __init__(self, question: PlayedQuestion) -> None:
        self.question = question
        self.said = 0
        """Tokens, by whichever host."""


class VirtualStreams:
    """The answers of machines as ``Inference`` would give them."""

    def __init__(self, evening: Evening) -> None:
        self._evening = evening
        self.flying: dict[str, AnswerSoFar] = {}
        """By the first word of the question."""

    @asynccontextmanager
    async def open(
        self, endpoint: Endpoint, request: InferenceRequest, straight: object = None
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        machine = self._evening.machines[HostName(endpoint.source)]
        flight = self._flight(request.messages)
        question, copy = flight.question, machine.copies.get(endpoint.model)
        if not machine.is_up:
            raise HostUnreachable(f"{machine.name} refused.", FailureKind.CONNECT)
        if copy is None:
            raise Unavailable(f"{endpoint.model} is not loaded.", FailureKind.NOT_THERE)
        asked = question.asked
        # Of an answer that is continued the words so far are read as part of the transcript.
        answer = machine.begin(
            copy, Work(question.chat.number, asked.prompt + flight.said,
                          max(1, asked.answer - flight.said))
        )  # fmt: skip
        question.host = machine.name
        deltas = self._deltas(flight, answer, endpoint)
        try:
            yield deltas
        finally:
            machine.leave(answer)
            await deltas.aclose()

    def _flight(self, messages: Sequence[Message]) -> AnswerSoFar:
        words = (m.text.split(" ", 1)[0] for m in reversed(messages) if m.role == "user")
        return next(self.flying[word] for word in words if word in self.flying)

    @staticmethod
    async def _deltas(
        flight: AnswerSoFar, answer: Generation, endpoint: Endpoint
    ) -> AsyncGenerator[Delta]:
        """The first word, and all others at once when they are there: nobody looks in between."""
        before, asked = flight.said, flight.question.asked
        try:
            await answer.first
            flight.question.read = answer.read
            flight.question.spoke()
            flight.said = before + 1
            yield TextDelta("one ")
            await answer.last
        except NotServed as error:
            if (written := answer.written()) > 1:
                flight.said = before + written
                yield TextDelta(_words(written - 1))
            raise HostUnreachable(f"{endpoint.source} cut the line.", FailureKind.CUT) from error
        flight.said = asked.answer
        yield TextDelta(_words(answer.request.answer - 1))
        usage = Usage(answer.request.prompt, answer.request.answer)
        yield StreamEnd("stop", usage, endpoint.model)


def _words(tokens: int) -> str:
    """Text that Lantern takes for about so many tokens."""
    return "a" * max(0, round(tokens * BYTES_PER_TOKEN))


class Talking:
    """Asks Lantern as its faces do, and keeps the conversations as its store does."""

    def __init__(
        self, evening: Evening, planner: Planner, answering: Answering, streams: VirtualStreams
    ) -> None:
        self._planner, self._answering, self._streams = planner, answering, streams
        self._branches: dict[int, list[Turn]] = {}
        load = LoadSettings(context_length=CONTEXT)
        self._resolved = {
            key: Resolved(
                Persona(
                    PersonaName(key), model=key, load=load,
                    system_prompt=_words(tokens - MESSAGE_TOKENS),
                    sampling=Sampling(max_tokens=ANSWER_TOKENS),
                ), "", key, "", is_named=False,
            )
            for key, tokens in evening.trace.prompts.items()
        }  # fmt: skip

    async def reply(self, question: PlayedQuestion) -> None:
        """See ``people.Serve``."""
        chat, name = question.chat, _name(question.number)
        branch, resolved = self._branches.setdefault(chat.number, []), self._resolved[chat.model]
        place, user = Place(PlaceId(f"chat:{chat.number}")), UserId(chat.person)
        text = f"{name} {_words(question.asked.words - MESSAGE_TOKENS - 2)}"
        asking = Asking(
            resolved=resolved, branch=tuple(branch), consent=AT_HOME, judge=_stays, payer=user,
            request=TurnRequest(user, chat.person, place, text), turn=TurnId(name),
        )  # fmt: skip
        job = self._planner.job(asking)
        if question.predicted_s is None and job.route.candidates:
            question.predicted_s = job.route.candidates[0].seconds
        draft = Draft(resolved.persona.name, "", _unheard)
        self._streams.flying[name] = AnswerSoFar(question)
        try:
            await self._answering.answer(job, draft, Override())
        except BotError as error:
            raise NobodyAnswers from error
        finally:
            del self._streams.flying[name]
            if draft.has_text:
                branch.append(Turn(
                    TurnId(name), branch[-1].id if branch else None, user, chat.person, place,
                    resolved.persona.name, text, draft.text, "", "done", 0, draft.receipt(),
                ))  # fmt: skip


@asynccontextmanager
async def lantern(evening: Evening) -> AsyncGenerator[Serve]:
    """Lantern with its usual rules over these machines, as ``bot/app.py`` builds it."""
    machines, rules = evening.machines, FleetRules()

    async def connect(config: HostConfig, _http: httpx.AsyncClient, _s: float) -> HostClient:
        await asyncio.sleep(CALL_S)
        machine = machines[config.name]
        if not machine.is_up:
            raise HostUnreachable(f"{config.name} refused.", FailureKind.CONNECT)
        return VirtualClient(machine)

    configs = [
        HostConfig(name, f"{name}:1234", memory_bytes=machine.spec.memory_bytes)
        for name, machine in machines.items()
    ]
    recorder = Recorder(_kept, _kept, _unnoted, _kept, _kept, _kept)
    async with (
        Fleet(configs, recorder=recorder, rules=rules, connect=connect) as fleet,
        _nobody_abroad() as providers,
        asyncio.TaskGroup() as tasks,
    ):
        streams = VirtualStreams(evening)
        planner = Planner(
            fleet.snapshot, ChatRules(PersonaName("default")), providers.snapshots,
            providers.prepare,
        )  # fmt: skip
        answering = Answering(
            HostServing(fleet, streams), CloudServing(providers), planner.rest_of, fleet.snapshot
        )
        await fleet.settled(5.0)
        timers = [
            tasks.create_task(_every(rules.probe_every_s, fleet.probe_all)),
            tasks.create_task(_every(rules.sweep_every_s, fleet.evict_idle)),
        ]
        yield Talking(evening, planner, answering, streams).reply
        for timer in timers:
            timer.cancel()


def _nobody_abroad() -> Providers:
    """No provider is configured: nothing of this is ever asked."""
    ledger = Ledger(_never, _never, _never, _never)
    return Providers(
        (), ledger=ledger, open_stream=_never, observe=_never, utcnow=_never, draw=_never, salt=""
    )


def _never(*_: object) -> Any:
    raise AssertionError("no provider is configured")


async def _every(seconds: float, job: Callable[[], Awaitable[None]]) -> None:
    for _ in itertools.count():
        await asyncio.sleep(seconds)
        await job()


async def _kept(*_: object) -> None:
    """Nothing outlives an evening."""


def _unnoted(*_: object) -> None:
    """Nor do its figures."""


async def _unheard(_: TurnEvent) -> None:
    """Nobody watches."""


async def _stays(_: Sequence[Message]) -> Consent:
    return AT_HOME


def _name(number: int) -> str:
    """A question's first word: letters, since every digit counts as a token."""
    letters = ""
    while number or not letters:
        number, rest = divmod(number, 26)
        letters += ascii_lowercase[rest]
    return f"q{letters}"
