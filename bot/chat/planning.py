"""From a request and its branch to a job: the messages, the wish and the route."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bot.chat.choices import Resolved
from bot.domain.chat import Message, Route, Turn, TurnRequest
from bot.domain.cloud import ProviderSnapshot
from bot.domain.hosts import FleetSnapshot, Wish
from bot.domain.ids import AUTO, HostName, ModelKey, PersonaName, ProviderName
from bot.policy.context import fit_transcript, transcript
from bot.policy.index import RoutingIndex
from bot.policy.routing import RouteAsk, Strategy

ANSWER_TOKENS = 1024
"""Room kept for the answer when the persona sets no ``max_tokens``."""

WINDOW_TOKENS = 32_768
"""Longest transcript sent when neither persona nor model says; more would fill memory unasked."""


@dataclass(frozen=True, slots=True)
class ChatRules:
    """The settings a turn needs, as plain values."""

    default_persona: PersonaName
    idle_ttl_s: float = 1800.0
    max_local_wait_s: float = 120.0
    strategy: Strategy = "prefer_local"
    cloud: tuple[ProviderName, ...] = ()
    request_types: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


@dataclass(frozen=True, slots=True)
class Job:
    """Everything needed to walk a route."""

    resolved: Resolved
    messages: tuple[Message, ...]
    prompt_tokens: int
    answer_tokens: int
    dropped: int
    """Oldest messages left out to fit the window."""
    route: Route
    wish: Wish
    """With the wanted model; the candidate's own model replaces it."""


class Planner:
    """Makes jobs from the newest snapshots; remembers routes while the fleet stands still."""

    def __init__(
        self,
        snapshot: Callable[[], FleetSnapshot],
        rules: ChatRules,
        providers: Callable[[], Sequence[ProviderSnapshot]] = tuple,
    ) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._providers = providers
        self._index = RoutingIndex()

    def job(self, resolved: Resolved, branch: Sequence[Turn], request: TurnRequest) -> Job:
        """The job for one turn.

        Raises:
            PromptTooLong: not even the last message fits.
        """
        snapshot = self._snapshot()
        persona = resolved.persona
        answer_tokens = persona.sampling.max_tokens or ANSWER_TOKENS
        full = transcript(persona, branch, request, user_names=_is_shared(branch, request))
        window = persona.load.context_length or _widest(snapshot, resolved.models)
        fitted = fit_transcript(full, window, answer_tokens)
        wish = Wish(
            model_key=resolved.model,
            load=persona.load,
            min_context=fitted.prompt_tokens + answer_tokens,
            idle_ttl_s=self._idle_ttl(resolved),
            user=str(request.user),
            max_wait_s=None,
        )
        ask = RouteAsk(
            models=resolved.models,
            min_context=wish.min_context,
            prompt_tokens=fitted.prompt_tokens,
            needs_vision=any(message.images for message in fitted.messages),
            sticky_host=_last_host(branch),
            max_wait_s=self._rules.max_local_wait_s,
            local_only=persona.local_only,
            cloud=persona.cloud if persona.cloud is not None else self._rules.cloud,
            strategy=self._rules.strategy,
            order=self._rules.request_types.get(persona.request_type or ""),
            load=persona.load,
        )
        route = self._index.route(snapshot, ask, self._providers())
        return Job(
            resolved=resolved,
            messages=fitted.messages,
            prompt_tokens=fitted.prompt_tokens,
            answer_tokens=answer_tokens,
            dropped=fitted.dropped,
            route=route,
            wish=wish,
        )

    def _idle_ttl(self, resolved: Resolved) -> float | None:
        if resolved.persona.keep_loaded:
            return None
        return resolved.persona.idle_ttl_s or self._rules.idle_ttl_s


def _is_shared(branch: Sequence[Turn], request: TurnRequest) -> bool:
    return any(turn.user != request.user for turn in branch)


def _last_host(branch: Sequence[Turn]) -> HostName | None:
    for turn in reversed(branch):
        if turn.receipt is not None and turn.receipt.host is not None:
            return turn.receipt.host
    return None


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
