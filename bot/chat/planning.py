"""From a request and its branch to a job: the messages, the wish and the route."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from bot.chat.choices import Resolved
from bot.domain.chat import Candidate, Message, Route, Turn, TurnRequest
from bot.domain.cloud import ProviderSnapshot
from bot.domain.errors import PromptTooLong
from bot.domain.hosts import FleetSnapshot, Wish
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
from bot.domain.personas import Persona
from bot.policy.context import fit_transcript, transcript
from bot.policy.index import RoutingIndex
from bot.policy.privacy import CloudConsent, LocalOnly
from bot.policy.routing import RouteAsk, Strategy
from bot.policy.waiting import SlowRules, Ways, automatic, plan_ways

SMALLEST_WINDOW_BITS = 11
"""A transcript is not shortened below 2,048 tokens for want of memory."""

FIRST_LOOK_S = 6.0
"""Right after the start, names wait so long for the hosts' first answers."""

ANSWER_TOKENS = 1024
"""Room kept for the answer when the persona sets no ``max_tokens``."""

WINDOW_TOKENS = 32_768
"""Longest transcript sent when neither persona nor model says; more would fill memory unasked."""


NO_TURN = TurnId("")
"""Of a job that only explains or warms."""

SnapshotProviders = Callable[[int, int, float], Sequence[ProviderSnapshot]]
"""Providers as they stand for prompt tokens, answer tokens, at a time; ``Providers.snapshots``."""


@dataclass(frozen=True, slots=True)
class ChatRules:
    """The settings a turn needs, as plain values."""

    default_persona: PersonaName
    idle_ttl_s: float = 1800.0
    max_local_wait_s: float = 120.0
    strategy: Strategy = "prefer_local"
    cloud: tuple[ProviderName, ...] = ()
    providers: frozenset[ProviderName] = frozenset()
    """Every provider that may be asked; a persona's own order may name those ``cloud`` does not."""
    request_types: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    slow: SlowRules = field(default_factory=SlowRules)


@dataclass(frozen=True, slots=True)
class Asking:
    """One turn's question with all that was looked up for it."""

    resolved: Resolved
    branch: tuple[Turn, ...]
    request: TurnRequest
    messages: tuple[Message, ...]
    """The whole transcript."""
    abroad: tuple[Message, ...]
    """The same for providers: people are numbered, not named."""
    consent: CloudConsent | LocalOnly
    """Whether these messages may leave the LAN."""
    renewed_consent: Callable[[], Awaitable[CloudConsent | LocalOnly]]
    """The consent as it stands at the moment of sending."""
    payer: UserId
    """Whose limits a provider's answer counts against: whoever asked or pressed."""
    turn: TurnId = NO_TURN


@dataclass(frozen=True, slots=True)
class Job:
    """Everything needed to walk a route."""

    resolved: Resolved
    messages: tuple[Message, ...]
    abroad: tuple[Message, ...]
    """The same for providers: people are numbered, not named."""
    prompt_tokens: int
    answer_tokens: int
    dropped: int
    """Oldest messages left out to fit the window."""
    route: Route
    wish: Wish
    """With the wanted model; the candidate's own model replaces it."""
    turn: TurnId
    user: UserId
    server: PlaceId | None
    consent: CloudConsent | LocalOnly
    """Whether these messages may leave the LAN."""
    max_wait_s: float
    """Longest wait for one candidate while others are left."""
    renewed_consent: Callable[[], Awaitable[CloudConsent | LocalOnly]]
    """The consent as it stands at the moment of sending."""


class Planner:
    """Makes jobs from the newest snapshots; remembers routes while the fleet stands still."""

    def __init__(
        self,
        snapshot: Callable[[], FleetSnapshot],
        rules: ChatRules,
        providers: SnapshotProviders | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._providers = providers or _no_providers
        self._prepare = prepare
        self._index = RoutingIndex()

    @property
    def _has_cloud(self) -> bool:
        return bool(self._rules.cloud or self._rules.providers)

    async def prepare(self) -> None:
        """Lets the providers learn prices and today's spending; at once when they know them."""
        if self._prepare is not None and self._has_cloud:
            await self._prepare()

    def messages(
        self, resolved: Resolved, branch: Sequence[Turn], request: TurnRequest
    ) -> tuple[Message, ...]:
        """The whole transcript of a turn, before it is fitted to any window."""
        return transcript(resolved.persona, branch, request, user_names=_is_shared(branch, request))

    def messages_abroad(
        self, resolved: Resolved, branch: Sequence[Turn], request: TurnRequest
    ) -> tuple[Message, ...]:
        """The whole transcript as a provider may see it: people are numbered, not named."""
        numbers: dict[UserId, str] = {}
        for user in (*(turn.user for turn in branch), request.user):
            numbers.setdefault(user, f"Person {len(numbers) + 1}")
        turns = [replace(turn, user_name=numbers[turn.user]) for turn in branch]
        return self.messages(resolved, turns, replace(request, user_name=numbers[request.user]))

    def job(self, asking: Asking) -> Job:
        """The job for one turn.

        Raises:
            PromptTooLong: not even the last message fits.
        """
        resolved = asking.resolved
        window = resolved.persona.load.context_length or _widest(self._snapshot(), resolved.models)
        job = self._job_within(window, asking)
        for smaller in _smaller(window, job):
            if job.route.candidates:
                break
            # A transcript that no host has the memory for is shortened, not refused.
            with suppress(PromptTooLong):
                job = self._job_within(smaller, asking)
        return job

    def _job_within(self, window: int, asking: Asking) -> Job:
        snapshot, resolved, request = self._snapshot(), asking.resolved, asking.request
        persona = resolved.persona
        answer_tokens = persona.sampling.max_tokens or ANSWER_TOKENS
        fitted = fit_transcript(asking.messages, window, answer_tokens)
        wish = Wish(
            model_key=resolved.model,
            load=persona.load,
            min_context=fitted.prompt_tokens + answer_tokens,
            idle_ttl_s=self._idle_ttl(resolved),
            user=str(request.user),
        )
        ask = RouteAsk(
            models=resolved.models,
            min_context=wish.min_context,
            prompt_tokens=fitted.prompt_tokens,
            # Older images are left out for a model that cannot see; the newest ones decide.
            needs_vision=bool(fitted.messages[-1].images),
            sticky_host=_last_host(asking.branch),
            max_wait_s=self._rules.max_local_wait_s,
            local_only=isinstance(asking.consent, LocalOnly),
            cloud=self._cloud(persona),
            strategy=self._rules.strategy,
            order=self._rules.request_types.get(request.request_type or persona.request_type or ""),
            load=persona.load,
        )
        providers = self._providers(ask.prompt_tokens, answer_tokens, snapshot.taken_at)
        route = self._index.route(snapshot, ask, providers)
        return Job(
            resolved=resolved,
            messages=fitted.messages,
            abroad=fit_transcript(asking.abroad, window, answer_tokens).messages,
            prompt_tokens=fitted.prompt_tokens,
            answer_tokens=answer_tokens,
            dropped=fitted.dropped,
            route=route,
            wish=wish,
            turn=asking.turn,
            user=asking.payer,
            server=request.place.server,
            consent=asking.consent,
            max_wait_s=self._rules.max_local_wait_s,
            renewed_consent=asking.renewed_consent,
        )

    def _cloud(self, persona: Persona) -> tuple[ProviderName, ...]:
        """The providers this persona may use, in order; none where none is configured at all."""
        if not self._has_cloud:
            return ()
        return self._rules.cloud if persona.cloud is None else persona.cloud

    def ways(self, job: Job) -> Ways | None:
        """What may be done instead of waiting for a slow load; None when waiting is all right."""
        return plan_ways(job.route, self._warm(job), self._rules.slow)

    def automatic(self, ways: Ways) -> Candidate | None:
        """What the settings choose of these ways; None leaves it to the asker."""
        return automatic(ways, self._rules.slow)

    def _warm(self, job: Job) -> Candidate | None:
        """The soonest model in memory, whatever it is."""
        snapshot = self._snapshot()
        ask = RouteAsk(
            models=(AUTO,), min_context=job.wish.min_context, prompt_tokens=job.prompt_tokens
        )
        for candidate in self._index.route(snapshot, ask).candidates:
            host = snapshot.hosts.get(candidate.host or HostName(""))
            if host is not None and any(i.model_key == candidate.model for i in host.instances):
                return candidate
        return None

    def _idle_ttl(self, resolved: Resolved) -> float | None:
        if resolved.persona.keep_loaded:
            return None
        return resolved.persona.idle_ttl_s or self._rules.idle_ttl_s


def _no_providers(prompt_tokens: int, answer_tokens: int, now: float) -> Sequence[ProviderSnapshot]:
    return ()


def _is_shared(branch: Sequence[Turn], request: TurnRequest) -> bool:
    return any(turn.user != request.user for turn in branch)


def _last_host(branch: Sequence[Turn]) -> HostName | None:
    for turn in reversed(branch):
        if turn.receipt is not None and turn.receipt.host is not None:
            return turn.receipt.host
    return None


def _smaller(window: int, job: Job) -> Iterable[int]:
    """Windows below what a transcript needs, halving; none where its size is not what hinders."""
    if not any("does not fit" in r.reason or "window" in r.reason for r in job.route.rejected):
        return ()
    needed = min(window, job.wish.min_context)
    sizes = (2**power for power in range(needed.bit_length(), SMALLEST_WINDOW_BITS - 1, -1))
    return (size for size in sizes if size < needed)


def _widest(snapshot: FleetSnapshot, models: Sequence[ModelKey]) -> int:
    """The widest window any wanted model offers anywhere, bounded by ``WINDOW_TOKENS``."""
    wanted = None if AUTO in models else set(models)
    offered = [
        model.max_context_length
        for host in snapshot.hosts.values()
        for model in host.models.values()
        if model.max_context_length and (wanted is None or model.key in wanted)
    ]
    return min(WINDOW_TOKENS, max(offered, default=WINDOW_TOKENS))
