"""A turn served by a LAN host: a lease, a transcript that fits what was loaded, its stream."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import TracebackType

from bot.chat.draft import Draft
from bot.chat.planning import Job
from bot.chat.walk import HOST_AT_FAULT
from bot.chat.words import blind_text
from bot.domain.chat import Candidate, InferenceRequest, Message, Receipt, Route
from bot.domain.errors import (
    BotError,
    FailureKind,
    PromptTooLong,
    Refused,
    RequestRefused,
    Unavailable,
)
from bot.domain.events import Loading, Notice, Progress, Reading, TextDelta
from bot.domain.hosts import HostSnapshot, Speed, SpeedRecord, Wish
from bot.domain.ids import HostName
from bot.domain.values import value
from bot.fleet.fleet import Fleet
from bot.fleet.host import Host
from bot.fleet.lease import Elsewhere, Lease
from bot.fleet.progress import stuck_text
from bot.fleet.reading import Doubts
from bot.inference.streams import Streams
from bot.policy.context import (
    Fitted,
    alternating,
    blind,
    countable,
    counted_window,
    fit_transcript,
    may_not_fit,
    message_tokens,
    widest,
)
from bot.policy.deadlines import doubt_s, first_word_s, gap_s, is_soon, load_pause_s, unsaid_s
from bot.policy.fitness import sees
from bot.policy.foresight import foretold
from bot.policy.routing import sooner_elsewhere, without_guesses
from bot.policy.seams import resumed
from bot.policy.speeds import speed_of_answer

STALE = frozenset({FailureKind.WRONG_MODEL, FailureKind.NOT_THERE})
"""What was in memory is not any more: look again and load it properly, once."""

QUIET_S = 10.0
"""A silence in the middle of an answer is told after so long."""
_UNMEASURED = Speed()
_TRIM_TO = 0.7
"""A transcript the host calls too long is cut to this share: it counts tokens otherwise than us."""


@value
class SilenceLimits:
    """How silent a host may be with one request, as things stood right before it was sent."""

    first_s: float
    """Before its first word."""
    doubts: Doubts
    """What may shorten the wait for it."""
    gap_s: float
    """After it."""
    seen: HostSnapshot


class HostServing:
    """Serves jobs by hosts; holds no state between them."""

    def __init__(self, fleet: Fleet, inference: Streams) -> None:
        self._fleet = fleet
        self._inference = inference

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
        """Streams the answer into ``draft``; returns when it is whole.

        Args:
            host: Who serves.
            candidate: The model to serve with.
            job: What is asked.
            draft: Takes the answer in and tells it.
            max_wait_s: Longest wait in the queue; None waits as long as it takes.
            is_last: Nobody else is left to ask, so that a load that stands still is waited for.

        Raises:
            Unavailable: this host could not; the draft tells whether text was shown.
            Refused: the model declined.
            BotError: the model spent its answer on reasoning, or twice gave none; neither of the
                rest of an answer, which somebody else may still give.
        """
        wish = replace(
            job.wish, model_key=candidate.model, max_wait_s=max_wait_s, since=candidate.since
        )
        job = replace(job, wish=wish)
        try:
            await self._once(host, candidate, job, draft, is_last)
        except Unavailable as failed:
            # What was shown is not taken back: `Answering` keeps it and asks another to go on.
            if draft.has_spoken:
                raise
            again = None
            # Others unload and swap models behind our back: what was granted may be gone by now.
            if failed.kind in STALE:
                model = candidate.model
                text = f"`{model}` was not as we left it on {host}, so it was asked again."
                await draft.emit(Notice(text))
                await self.look_again(host, candidate, job.replan)
                again = job
            elif failed.kind is FailureKind.TOO_LONG:
                again = _trimmed(job)
            # Templates of thinking models refuse a begun answer, or think about it and say nothing.
            elif job.begun and failed.kind in (FailureKind.BAD_REQUEST, FailureKind.EMPTY):
                asked = resumed(job.messages[:-1], job.begun, in_words=True)
                again = replace(job, messages=asked)
            # Once more here, where it is in memory: a second host was loaded for as little.
            elif failed.kind is FailureKind.EMPTY:
                again = job
            if again is None:
                raise
            draft.failed(candidate, failed)
            try:
                await self._once(host, candidate, again, draft, is_last)
            except Unavailable as twice:
                if twice.kind is not FailureKind.EMPTY or job.begun:
                    raise
                raise BotError(
                    f"{twice.user_message} It was asked twice: say it in other words, or choose "
                    "another model with `/model`."
                ) from twice

    async def look_again(
        self, host: HostName, candidate: Candidate, replan: Callable[[], Route] | None
    ) -> None:
        """After what was in memory had gone: as it is now, it may be sooner elsewhere.

        Asked for here all the same, its load was begun, left at once for a copy that somebody had
        unloaded too, and so the model was loaded at two hosts for one question.

        Args:
            host: Where it had gone.
            candidate: What was asked of it.
            replan: Gives the route as it would be now; None where no other host may serve.

        Raises:
            Elsewhere: it is clearly sooner there.
        """
        began_at = asyncio.get_running_loop().time()
        await self._fleet.host(host).probe()
        if replan is not None and (better := sooner_elsewhere(replan().candidates, candidate, 0.0)):
            words = f"`{candidate.model}` was not as we left it on {host}."
            since = began_at if candidate.since is None else candidate.since
            raise Elsewhere(replace(better, since=since), words)

    def lease(
        self,
        host: HostName,
        candidate: Candidate,
        wish: Wish,
        route: Route,
        tell: Callable[[Progress], Awaitable[None]],
        *,
        is_last: bool,
        replan: Callable[[], Route] | None = None,
        patient_until: float | None = None,
    ) -> "Leased":
        """A granted lease; what fails inside the block by the host's fault takes the host out.

        Args:
            host: Whose.
            candidate: The model wanted of it.
            wish: The same in the host's terms.
            route: With the other candidates, for whom a load that stands still is left.
            tell: Hears the progress.
            is_last: Nobody else is left to ask, so that such a load is waited for.
            replan: Gives the route as it would be now; None where no other host may serve.
            patient_until: Not even for its own load it waits longer; None as long as that takes.

        Raises:
            TimeoutError: it was not granted by then.
            Elsewhere: another host is clearly sooner by now.
            Unavailable: not granted.
        """
        there = self._fleet.host(host)

        def better(waits: Lease) -> Candidate | None:
            # Of eight who are granted at once four are told, and no route is made for the others.
            if replan is None or not there.is_in_line(waits):
                return None
            others = replan().candidates
            # Nobody is behind whoever would come now: where that one would stay, so do all. To
            # predict for each of a long line what its place is worth was most of each change.
            goes = sooner_elsewhere(others, candidate, 0.0) is not None
            load = there.snapshot().load
            if goes and load is not None and load.model_key == candidate.model:
                others = without_guesses(others, self._fleet.snapshot().hosts)
            lead_s = there.stay_s(waits) if goes else None
            return None if lead_s is None else sooner_elsewhere(others, candidate, lead_s)

        async def granted(lease: Lease) -> None:
            # Of eight who ask in one moment two may choose by the same free slot: nobody is told of
            # a line while a twin is idle. Once: two hosts that seem sooner in turn were no end.
            if candidate.since is None and (sooner := better(lease)) is not None:
                lease.leave_for(sooner)
            if lease.grant is None:
                async with asyncio.timeout_at(patient_until):
                    with self._fleet.binding.watching(lease, better):
                        await self._waited(host, candidate, lease, route, tell, is_last=is_last)

        return Leased(there, there.lease(wish), granted)

    async def _waited(
        self,
        host: HostName,
        candidate: Candidate,
        lease: Lease,
        route: Route,
        tell: Callable[[Progress], Awaitable[None]],
        *,
        is_last: bool,
    ) -> None:
        """Tells how the wait goes, until the lease is granted; arguments as for ``lease``."""
        async for step in lease:
            await tell(step)
            if is_last or not isinstance(step, Loading):
                continue
            if self._may_leave(host, candidate, route, step):
                brief = "" if step.is_held else "stuck in its load"
                raise Unavailable(stuck_text(step), FailureKind.BUSY, brief=brief)

    async def confirmed(
        self,
        host: HostName,
        candidate: Candidate,
        lease: Lease,
        prompt_tokens: int,
        unsaid_tokens: int = 0,
        *,
        others: Callable[[], Route],
    ) -> SilenceLimits:
        """Right before a request is sent: what was granted is still there.

        Args:
            host: Which.
            candidate: With what.
            lease: By which it is sent.
            prompt_tokens: To be read.
            unsaid_tokens: Generated before the first word is sent: of an answer sent as a whole.
            others: Gives the route as it would be later, without hosts that are not asked again.

        Raises:
            Unavailable: as ``HostReader.confirm`` says.
        """
        await self._fleet.host(host).confirm(lease)
        seen = self._fleet.snapshot().hosts[host]
        leases = (i.leases for i in seen.instances if i.model_key == candidate.model)
        beside = max(0, sum(leases) - 1)
        speed = seen.speeds.get(candidate.model, _UNMEASURED)
        whole_s = unsaid_s(unsaid_tokens, speed, beside)

        def limit_s(other_s: float, is_deaf: bool) -> float:
            first_s = first_word_s(prompt_tokens, speed, beside, other_s, is_deaf=is_deaf)
            # Who tells nothing of itself is not believed to write on: a host that froze kept who
            # asked for an answer as a whole for minutes, which a stream there was left after 90 s.
            return first_s if is_deaf else first_s + whole_s

        return SilenceLimits(
            limit_s(math.inf, False),
            Doubts(
                doubt_s(prompt_tokens, speed, beside),
                Others(self._fleet, host, others).soonest,
                limit_s,
            ),
            gap_s(speed, beside),
            seen,
        )

    async def _once(
        self, host: HostName, candidate: Candidate, job: Job, draft: Draft, is_last: bool
    ) -> None:
        async with self.lease(
            host, candidate, job.wish, job.route, draft.emit, is_last=is_last, replan=job.replan
        ) as lease:
            draft.granted(candidate, lease.granted.queue_s, lease.granted.load_s)
            # Not only when it was asked: twenty that waited together passed a limit of one.
            job = await job.admitted()
            messages = await self._fit(job, lease, draft)
            others = job.replan or (lambda: job.route)
            await self._stream(host, candidate, lease, messages, job, draft, others)
        self.remember(candidate, draft.part(), lease, is_first=not job.is_follow_up)

    def _may_leave(self, host: HostName, candidate: Candidate, route: Route, step: Loading) -> bool:
        """Has a load stood still for too long while somebody else could serve?

        A host whose loader hangs kept the question for ten minutes beside an idle twin. The load is
        not given up: whoever comes back finds it further on.
        """
        hosts = self._fleet.snapshot().hosts
        here, now = hosts[host], asyncio.get_running_loop().time()
        stood_s = step.stands_s if step.fraction else step.elapsed_s
        silent_s = 0.0 if here.silent_since is None else now - here.silent_since
        speed = here.speeds.get(candidate.model, _UNMEASURED)
        # Another Lantern's tells how far it is, only not to this one: what a wordless load may take
        # was more than whoever asked had, and the idle host beside was given 0 s.
        fraction = 1.0 if step.is_held else step.fraction
        if stood_s is None or stood_s < load_pause_s(fraction, speed.load_s, silent_s):
            return False
        others = (each.host for each in route.candidates if each.host != host)
        return any(other is None or hosts[other].is_serving for other in others)

    async def _fit(self, job: Job, lease: Lease, draft: Draft) -> tuple[Message, ...]:
        """The messages fitted to what was really loaded, saying what was left out."""
        job = await self._seen(job, lease, draft)
        window, messages, dropped = lease.granted.instance.context_length, job.messages, job.dropped
        if (counted := await self._counted(job, lease)) is not None:
            messages, dropped = counted.messages, counted.dropped
        elif window is not None and window < job.prompt_tokens + job.answer_tokens:
            try:
                fitted = fit_transcript(messages, window, job.answer_tokens)
            except PromptTooLong as error:
                # Another candidate's window may be larger: this is no refusal of the request.
                raise Unavailable(error.user_message, FailureKind.TOO_LONG) from error
            messages, dropped = fitted.messages, dropped + fitted.dropped
        await draft.trimmed(messages, dropped, has_earlier=job.asking.has_earlier)
        return messages

    async def _counted(self, job: Job, lease: Lease) -> Fitted | None:
        """The messages fitted by the host's own count; None where that is not needed, or not told.

        Only of what may not fit, where our estimate may leave out what fits or send what does not:
        the first word waits for it. Of a long talk the newest alone that may fit at the best.
        """
        instance, reserve = lease.granted.instance, job.answer_tokens
        limits = [each for each in (instance.context_length, job.window) if each is not None]
        if not (job.whole and limits and may_not_fit(sum(job.sizes), min(limits), reserve)):
            return None
        window = min(limits)
        try:
            likely = fit_transcript(job.whole, widest(window, reserve), reserve, job.sizes)
            host = self._fleet.host(HostName(lease.endpoint.source))
            counted = await host.reader.count_tokens(instance, countable(likely.messages))
            if counted is None:
                return None
            estimated = likely.prompt_tokens
            wide = counted_window(likely.messages, estimated, counted, window, reserve)
            return fit_transcript(job.whole, wide, reserve, job.sizes)
        except PromptTooLong:
            return None  # by our own estimate it may still be tried

    async def _seen(self, job: Job, lease: Lease, draft: Draft) -> Job:
        """The job without the pictures that the model cannot see, saying so."""
        key, told, messages = job.wish.model_key, draft.so_far.told, job.messages
        host = self._fleet.snapshot().hosts[HostName(lease.endpoint.source)]
        model = host.models.get(key)
        is_blind = model is not None and not sees(model)
        has_new = is_blind and bool(messages[-1].images)
        if not job.begun:
            draft.so_far = replace(draft.so_far, seer=job.seer if has_new else None)
        # Measuring each message again is for those alone who have pictures.
        if not is_blind or not any(message.images for message in (*messages, *job.whole)):
            return job
        if has_new and not job.begun:
            await draft.notice(blind_text(key, job.seer))
        # An image of long ago must not end a conversation that has moved on to another model.
        elif not job.begun and told.blind != key and any(message.images for message in messages):
            await draft.notice(f"`{key}` cannot see; earlier pictures were left out.")
            draft.so_far = replace(draft.so_far, told=replace(told, blind=key))
        # Before they are fitted: what is never sent takes no room from what was said.
        messages, whole = blind(messages), blind(job.whole)
        sizes = tuple(map(message_tokens, whole))
        prompt_tokens = sum(map(message_tokens, messages))
        return replace(
            job, messages=messages, whole=whole, sizes=sizes, prompt_tokens=prompt_tokens
        )

    async def _stream(
        self,
        host: HostName,
        candidate: Candidate,
        lease: Lease,
        messages: tuple[Message, ...],
        job: Job,
        draft: Draft,
        others: Callable[[], Route],
    ) -> None:
        tokens = job.prompt_tokens
        limits = await self.confirmed(host, candidate, lease, tokens, others=others)
        endpoint = replace(lease.endpoint, quiet_s=QUIET_S, idle_s=limits.gap_s)
        speed, doubts = limits.seen.speeds.get(candidate.model, _UNMEASURED), limits.doubts
        expected_s = None
        if speed.prefill_tokens_per_s:
            expected_s = tokens / speed.prefill_tokens_per_s
        await draft.emit(Reading(candidate, tokens, expected_s, doubts.after_s))
        request = InferenceRequest(alternating(messages), job.asking.resolved.persona.sampling)
        draft.sent()
        reader = self._fleet.host(host).reader
        async with reader.first_word_within(limits.first_s, lease, doubts) as heard:

            def taken(words: Sequence[TextDelta]) -> bool:
                if is_taken := draft.take(words):
                    heard()
                return is_taken

            straight = None if draft.straight is None else taken
            async with self._inference.open(endpoint, request, straight) as deltas:
                async for delta in deltas:
                    heard()
                    await draft.hear(delta)
        finish = draft.so_far.finish
        if draft.has_spoken and draft.text.strip():
            return
        if job.begun:
            # Nothing was left to say: the words so far lacked their end mark alone.
            if not draft.has_thought:
                return
        elif finish == "refused":
            raise Refused(f"{candidate.where} declined to answer this.")
        elif draft.reasoning or finish == "length":
            # It would be thought away elsewhere as well, and take as long again.
            raise BotError(
                f"`{candidate.model}` on {candidate.where} spent the whole answer on reasoning and "
                "said nothing. A larger `max_tokens` in the persona's sampling leaves it more room."
            )
        words = f"{candidate.where} ended its answer without a word."
        raise Unavailable(words, FailureKind.EMPTY)

    def remember(
        self, candidate: Candidate, receipt: Receipt, lease: Lease, *, is_first: bool
    ) -> None:
        """Notes how fast a host answered, by what a whole answer's receipt says.

        Args:
            candidate: Who answered.
            receipt: Of the whole answer.
            lease: By which it was made.
            is_first: Nothing of the prompt can have been read before.
        """
        usage, timing, host = receipt.usage, receipt.timing, candidate.host
        predicted_s, waited_s = foretold(receipt) or (None, None)
        # What came as a whole tells how long it took, and nothing of reading.
        first_s = timing.first_token_s if timing.whole_s is None else timing.whole_s
        if first_s is None or host is None:
            return
        # What stood in a slot already was not read, and nobody tells how much that was: a follow-up
        # once passed for a machine ten times as fast. Nor does a machine at other work tell.
        is_read = timing.whole_s is None and (is_first or usage.cached_tokens > 0)
        read = max(0, usage.prompt_tokens - usage.cached_tokens) if is_read else 0
        written, shares = usage.completion_tokens, lease.shares
        rest_s = timing.generation_s
        # It does tell how fast the machine is at the most: as if all that time were a share of it.
        most = SpeedRecord(host, candidate.model, read, written, first_s / shares, rest_s / shares)
        is_shared = lease.shared_at < math.inf
        read = 0 if lease.shared_at < lease.spoke_at else read
        times = first_s, rest_s, predicted_s, waited_s
        record = SpeedRecord(host, candidate.model, read, 0 if is_shared else written, *times)
        said, tokens = lease.wish.conversation, usage.prompt_tokens + usage.completion_tokens
        self._fleet.host(host).record_speed(record, speed_of_answer(most), said, tokens)


class Others:
    """Who could begin to answer instead of a host that is in doubt.

    Asked whether they are there one after the other, each once in a silence: of a hundred hosts one
    question in doubt kept all of them probed.
    """

    def __init__(self, fleet: Fleet, besides: HostName, route: Callable[[], Route]) -> None:
        self._fleet = fleet
        self._besides = besides
        self._route = route
        self._since = -math.inf
        self._asked: dict[HostName, float] = {}
        """When each was, for the doubt that began then."""

    def soonest(self, since: float) -> Candidate | None:
        """The soonest that has told of itself since a doubt began, where it is soon enough.

        No provider, which costs money. Until the soonest of all has told, it is asked to; the next
        where that one is deaf.
        """
        if since != self._since:
            self._since, self._asked = since, {}
        fleet, now = self._fleet, asyncio.get_running_loop().time()
        hosts, able = fleet.snapshot().hosts, list[tuple[float, int, HostName, Candidate]]()
        for number, each in enumerate(self._route().candidates):
            name, seconds = each.host, each.seconds
            if name is None or name == self._besides or not hosts[name].is_serving:
                continue
            if seconds is not None and is_soon(seconds):
                able.append((seconds, number, name, each))
        for _, _, name, each in sorted(able):
            reader = fleet.host(name).reader
            if reader.told_at >= since:
                return each
            if name not in self._asked:
                self._asked[name] = now
                reader.knock()
            if not reader.is_deaf(self._asked[name]):
                return None
        return None


class Leased:
    """What ``HostServing.lease`` gives: entered once it is granted.

    No generator: of the kind that awaits, the loop keeps account of each.
    """

    def __init__(
        self, host: Host, lease: Lease, granted: Callable[[Lease], Awaitable[None]]
    ) -> None:
        self._host = host
        self._lease = lease
        self._granted = granted

    async def __aenter__(self) -> Lease:
        lease = await self._lease.__aenter__()
        try:
            await self._granted(lease)
        except BaseException as error:
            await self._lease.__aexit__(type(error), error, error.__traceback__)
            raise
        return lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Out at once: the next turn must not wait for the same dead host.
        if isinstance(error, Unavailable) and error.kind in HOST_AT_FAULT:
            self._host.report_failure(error.user_message)
        await self._lease.__aexit__(kind, error, trace)


def _trimmed(job: Job) -> Job | None:
    """With the oldest turns left out; None when only the last message is left."""
    window = int(_TRIM_TO * sum(map(message_tokens, job.messages)))
    try:
        fitted = fit_transcript(job.messages, window, 0)
    except RequestRefused:
        return None
    return replace(
        job,
        messages=fitted.messages,
        # What the host called too long must not come back by its count.
        whole=(),
        prompt_tokens=fitted.prompt_tokens,
        dropped=job.dropped + fitted.dropped,
    )
