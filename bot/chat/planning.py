"""From a request and its branch to a job: the messages, the wish and the route."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from itertools import takewhile

from bot.chat.choices import Resolved
from bot.domain.chat import Candidate, Message, Rejection, Route, Turn, TurnRequest
from bot.domain.cloud import AnswerRoom, ProviderSnapshot
from bot.domain.errors import BRIEFLY, FailureKind, PromptTooLong, RequestRefused
from bot.domain.hosts import FleetSnapshot, Instance, Wish
from bot.domain.ids import AUTO, HostName, ModelKey, PersonaName, ProviderName, TurnId, UserId
from bot.domain.personas import Priority
from bot.domain.values import value
from bot.policy.context import Fitted, blind, fit_or_least, message_tokens, transcript
from bot.policy.fitness import sees
from bot.policy.index import RoutingIndex
from bot.policy.offers import SlowRules, Ways, plan_ways
from bot.policy.prediction import Prediction, predict_seconds
from bot.policy.privacy import Consent, Judge, LocalOnly, without_names
from bot.policy.prompt import Moment
from bot.policy.routing import RouteAsk, Strategy
from bot.policy.seams import resumed

SMALLEST_WINDOW_BITS = 11
"""A transcript is not shortened below 2,048 tokens for want of memory."""

FIRST_LOOK_S = 6.0
"""Right after the start, names and money wait so long for the hosts' first answers."""

ANSWER_TOKENS = 1024
"""Room kept for the answer when the persona sets no ``max_tokens``."""

REST_TOKENS = 256
"""Room kept for the rest of an answer that is as long already as was reckoned with."""

WINDOW_TOKENS = 32_768
"""Longest transcript sent when neither persona nor model says; more would fill memory unasked."""


_NEVER = ("context window", "local only", "not on this host", "not in the order")
"""Words of reasons that hold however long one waits."""

NO_TURN = TurnId("")
"""Of a job that only explains or warms."""

SnapshotProviders = Callable[[int, int, float, AnswerRoom], Sequence[ProviderSnapshot]]
"""Providers as they stand for prompt tokens, answer tokens, at a time, with the room that they
are sent; ``Providers.snapshots``."""


@value
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
    first_look_s: float = FIRST_LOOK_S
    """Before a provider is paid a host that was never probed is waited for so long, at most."""


@value
class Asking:
    """One turn's question with all that was looked up for it."""

    resolved: Resolved
    branch: tuple[Turn, ...]
    """The turns before it, root first; of a long conversation the newest that may fit."""
    request: TurnRequest
    consent: Consent
    """Whether any of these words may leave the LAN; it covers no message yet."""
    judge: Judge
    """The consent for messages made of these words, as it stands at the moment of sending."""
    payer: UserId
    """Whose limits of tokens and money the answer counts against: whoever asked or pressed."""
    turn: TurnId = NO_TURN
    redone: Turn | None = None
    """Of a retry, the turn whose words it says once more."""
    admit: Callable[[], Awaitable["Asking | None"]] | None = None
    """Refuses it where its asker may not be answered any more, when its turn has come; where
    others have taken back words of the talk before it, gives it without them."""
    since: int = 0
    """How often anything had been erased before its branch was read (``Database.erasures``)."""

    @property
    def has_earlier(self) -> bool:
        """Are there turns before the branch that were not read?"""
        return bool(self.branch) and self.branch[0].parent is not None


@value
class Job:
    """Everything needed to walk a route."""

    asking: Asking
    messages: tuple[Message, ...]
    """What fits the window."""
    abroad: Callable[[], Fitted]
    """The same for providers, made when one is asked: people are numbered, not named."""
    prompt_tokens: int
    answer_tokens: int
    dropped: int
    """Oldest messages left out to fit the window."""
    route: Route
    wish: Wish
    """With the wanted model; the candidate's own model replaces it."""
    max_wait_s: float
    """Longest wait for one candidate while others are left."""
    replan: Callable[[], Route] | None = None
    """Gives the route as it would be now, for whoever waits in a line; None stays there."""
    is_follow_up: bool = False
    """Something was said before: a host may have read it."""
    needs_vision: bool = False
    """Its newest pictures are to be seen; False also where its words alone are answered."""
    seer: Candidate | None = None
    """Who could see the pictures that those who answer here cannot; None: nobody, or they can."""
    whole: tuple[Message, ...] = ()
    """Every message that was read, what does not fit included; none where it is not known."""
    sizes: tuple[int, ...] = ()
    """Of each, in estimated tokens."""
    window: int | None = None
    """What it was fitted to, in tokens."""
    begun: str = ""
    """Of an answer whose host was lost, its words so far: this job is about the rest."""
    remade: "Callable[[Asking], Job] | None" = None
    """The same job with the words of this question."""

    async def admitted(self) -> "Job":
        """The job as its words may be sent now; who is asked stays.

        Raises:
            BotError: its asker may not be answered any more, or what it is about was taken back.
        """
        if self.asking.admit is None:
            return self
        asking = await self.asking.admit()
        if asking is None or self.remade is None:
            return self
        fresh = self.remade(asking)
        return replace(
            self,
            asking=fresh.asking,
            messages=fresh.messages,
            abroad=fresh.abroad,
            prompt_tokens=fresh.prompt_tokens,
            dropped=fresh.dropped,
            whole=fresh.whole,
            sizes=fresh.sizes,
        )


class Planner:
    """Makes jobs from the newest snapshots; remembers routes while the fleet stands still."""

    def __init__(
        self,
        snapshot: Callable[[], FleetSnapshot],
        rules: ChatRules,
        providers: SnapshotProviders,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._providers = providers
        self._prepare = prepare
        self.first_look_s = rules.first_look_s
        self.has_cloud = bool(rules.cloud or rules.providers)
        """Is any provider configured at all?"""
        self._index = RoutingIndex()

    async def prepare(self) -> None:
        """Lets the providers learn prices and today's spending; at once when they know them."""
        # Prices come with a package that takes a while to load: not where nobody can be paid.
        if self.has_cloud:
            await self._prepare()

    def window(self, resolved: Resolved) -> int:
        """The most tokens any transcript for this choice is fitted to, the answer included.

        The persona's own, else the widest that any wanted model offers anywhere, bounded by
        ``WINDOW_TOKENS``.
        """
        if resolved.persona.load.context_length:
            return resolved.persona.load.context_length
        return min(WINDOW_TOKENS, self._widest(resolved) or WINDOW_TOKENS)

    def _widest(self, resolved: Resolved) -> int | None:
        """The widest window that any wanted model offers anywhere; None when nobody says."""
        wanted, is_any = dict.fromkeys(resolved.models), AUTO in resolved.models
        offered = [
            model.max_context_length
            for host in self._snapshot().hosts.values()
            # Looked up by name: looking through a thousand models took most of planning a turn.
            for model in (host.models.values() if is_any else map(host.models.get, wanted))
            if model is not None and model.max_context_length
        ]
        return max(offered, default=None)

    def job(self, asking: Asking) -> Job:
        """The job for one turn.

        Raises:
            PromptTooLong: not even the last message fits anybody who may be asked.
        """
        window = self.window(asking.resolved)
        # Cleaned and measured once, whatever windows are tried below: they and the count by a host
        # measured every text five times.
        messages, sizes = self._measured(asking, window)
        job = self._job_within(window, asking, messages, sizes)
        if job.wish.min_context > window:
            return self._for_long(job)
        for smaller in _smaller(window, job):
            if job.route.candidates:
                break
            # A transcript that no host has the memory for is shortened, not refused.
            job = self._job_within(smaller, asking, messages, sizes)
        return job

    def _measured(self, asking: Asking, window: int) -> tuple[tuple[Message, ...], tuple[int, ...]]:
        """Every message of a question, and how long each is in estimated tokens as it is sent."""
        moment = Moment(asking.turn, asking.resolved.now, window)
        messages = transcript(asking.resolved.persona, asking.branch, asking.request, moment)
        # Counted as if they were sent, eight pictures loaded a second copy for thirty words, and
        # left out what had been said, or nobody read so much and not even the words were answered.
        is_blind = not asking.request.must_see and self._is_blind(asking.resolved)
        sent = blind(messages) if is_blind else messages
        return messages, tuple(map(message_tokens, sent))

    def _is_blind(self, resolved: Resolved) -> bool:
        """Is no picture seen here, whichever of the wanted models and hosts it is?"""
        hosts = self._snapshot().hosts.values()
        models = [host.models.get(key) for host in hosts for key in resolved.models]
        known = [model for model in models if model is not None]
        return bool(known) and AUTO not in resolved.models and not any(map(sees, known))

    def _for_long(self, job: Job) -> Job:
        """A job whose last message alone passes the window, for those who read so much.

        Raises:
            PromptTooLong: nobody does.
        """
        asking, needed = job.asking, job.wish.min_context
        resolved, consent, route = asking.resolved, asking.consent, job.route
        limit = resolved.persona.load.context_length
        if limit is not None:
            # The persona's own limit is what its hosts' memory was planned by.
            words = f"its context window of {limit:,} tokens, set by the persona, is too small"
            home = [c for c in route.candidates if c.host is not None]
            away = tuple(c for c in route.candidates if c.host is None)
            brief = BRIEFLY[FailureKind.TOO_LONG]
            why = (
                *(Rejection(c.where, c.model, words, brief=brief) for c in home),
                *route.rejected,
            )
            route = replace(route, candidates=away, rejected=why)
            job = replace(job, route=route)
        # Whoever is only out for a while may be asked again later: that is no fault of the message.
        if route.candidates or not all(
            any(word in r.reason for word in _NEVER) for r in route.rejected
        ):
            return job
        most = limit or self._widest(resolved)
        reads = f"your hosts read at most {most:,}" if most else "nobody here reads so much"
        kept = f", and it stays here: {consent.reason}" if isinstance(consent, LocalOnly) else ""
        raise PromptTooLong(
            f"The message and its answer need about {needed:,} tokens, but {reads}{kept}. "
            "Shorten it, or choose a model with a larger context.",
            needed,
        )

    def rest_of(
        self, job: Job, model: ModelKey, begun: str, said_tokens: int, lost: Collection[HostName]
    ) -> Job:
        """The job of going on with an answer at hosts that have its model, if any is left.

        Never at a provider: no model there is the one that has begun.

        Args:
            job: What was asked.
            model: Who has begun.
            begun: The answer so far.
            said_tokens: How long that is.
            lost: Hosts that were lost in it.
        """
        asking, request = job.asking, job.asking.request
        resolved = replace(asking.resolved, model=model, is_named=True, provider=None)
        persona, sampling = resolved.persona, resolved.persona.sampling
        if sampling.max_tokens is not None:
            sampling = replace(sampling, max_tokens=max(1, sampling.max_tokens - said_tokens))
            resolved = replace(resolved, persona=replace(persona, sampling=sampling))
        messages = resumed(job.messages, begun, in_words=False)
        prompt_tokens = job.prompt_tokens + sum(map(message_tokens, messages[len(job.messages) :]))
        answer_tokens = max(REST_TOKENS, job.answer_tokens - said_tokens)
        route, wish = self.routed(
            resolved,
            str(asking.payer),
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
            local_only=True,
            request_type=request.request_type,
            priority=request.priority,
        )
        able = tuple(c for c in route.candidates if c.host not in lost)

        def rest(fresh: Asking) -> Job:
            again = job if job.remade is None else job.remade(fresh)
            return self.rest_of(again, model, begun, said_tokens, lost)

        return replace(
            job,
            asking=replace(asking, resolved=resolved),
            messages=messages,
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
            route=replace(route, candidates=able),
            wish=wish,
            whole=(),
            sizes=(),
            begun=begun.rstrip(),
            # Nobody goes back to a host that was lost in the middle, however soon it returned.
            replan=None,
            remade=rest,
        )

    def _job_within(
        self, window: int, asking: Asking, messages: tuple[Message, ...], sizes: tuple[int, ...]
    ) -> Job:
        resolved, request = asking.resolved, asking.request
        if request.must_see:
            resolved = replace(resolved, model=AUTO)
        answer_tokens = resolved.persona.sampling.max_tokens or ANSWER_TOKENS
        # What must stay may be more than the hosts' window: who reads more may answer it still.
        fitted = fit_or_least(messages, window, answer_tokens, sizes)
        # It may still hold the conversation's prefix, and then reads only what is new.
        served = (turn.receipt.host for turn in reversed(asking.branch) if turn.receipt is not None)
        # Older images are left out for a model that cannot see; the newest ones decide.
        has_pictures = bool(fitted.messages[-1].images)
        if request.must_see and not has_pictures:
            raise RequestRefused("That picture was too large to be kept; attach it again.")
        new_tokens = None
        if asking.branch and not fitted.dropped:
            # What stands behind the newest answer, which its host wrote itself.
            new = takewhile(lambda message: message.role != "assistant", reversed(fitted.messages))
            new_tokens = sum(sizes[-len([*new]) :])
        routed = partial(
            self.routed,
            user=str(asking.payer),
            prompt_tokens=fitted.prompt_tokens,
            answer_tokens=answer_tokens,
            sticky_host=next(filter(None, served), None),
            local_only=isinstance(asking.consent, LocalOnly),
            conversation=f"{request.place.conversation} {resolved.persona.name}",
            new_tokens=new_tokens,
            request_type=request.request_type,
            priority=request.priority,
        )
        route, wish = routed(resolved, needs_vision=has_pictures)
        needs_vision, seer = has_pictures, None
        if has_pictures and not request.must_see and not _is_at_home(route):
            route, needs_vision, seer = _by_words_alone(route, routed, resolved)
        return Job(
            asking=asking,
            messages=fitted.messages,
            # Most turns are served at home: made for each turn, this doubled the cost of planning.
            abroad=partial(_fitted_abroad, asking, window, answer_tokens),
            prompt_tokens=fitted.prompt_tokens,
            answer_tokens=answer_tokens,
            dropped=fitted.dropped,
            route=route,
            wish=wish,
            max_wait_s=self._rules.max_local_wait_s,
            replan=lambda: routed(resolved, needs_vision=needs_vision)[0],
            is_follow_up=bool(asking.branch),
            needs_vision=needs_vision,
            seer=seer,
            whole=messages,
            sizes=sizes,
            window=window,
            remade=lambda fresh: self._job_within(window, fresh, *self._measured(fresh, window)),
        )

    def routed(
        self,
        resolved: Resolved,
        user: str,
        *,
        prompt_tokens: int,
        answer_tokens: int,
        needs_vision: bool = False,
        sticky_host: HostName | None = None,
        local_only: bool = False,
        request_type: str | None = None,
        priority: Priority | None = None,
        is_chat: bool = True,
        conversation: str = "",
        new_tokens: int | None = None,
        room: AnswerRoom | None = None,
        sent_tokens: int | None = None,
    ) -> tuple[Route, Wish]:
        """Whom to ask, best first, and what is wished of a host; for turns and relayed requests.

        Args:
            resolved: Who answers.
            user: Takes turns with other users in a host's queue.
            prompt_tokens: Of what is sent.
            answer_tokens: Room for the answer.
            needs_vision: Only a model that can see will do.
            sticky_host: May still hold the prompt's beginning.
            local_only: The words stay on the LAN.
            request_type: Said for this request alone; else the persona's.
            priority: Said for this request alone; else the persona's.
            is_chat: An embedding model answers no chat.
            conversation: Whose words these are, so that the next turn finds them read.
            new_tokens: Of the prompt, what cannot have been read before; None is all of it.
            room: What providers are sent as room for the answer; None is as for hosts.
            sent_tokens: Of the prompt, as a provider's call is held for; None is as for hosts.
        """
        snapshot, persona, rules = self._snapshot(), resolved.persona, self._rules
        sort = request_type or persona.request_type or ""
        wish = Wish(
            model_key=resolved.model,
            load=persona.load,
            min_context=prompt_tokens + answer_tokens,
            idle_ttl_s=None if persona.keep_loaded else persona.idle_ttl_s or rules.idle_ttl_s,
            user=user,
            priority=priority or persona.priority,
            conversation=conversation,
        )
        # Out of the order of fallbacks, and yet configured: it answers where it was chosen.
        usual = tuple(dict.fromkeys(filter(None, (*rules.cloud, resolved.provider))))
        cloud = usual if persona.cloud is None else persona.cloud
        ask = RouteAsk(
            models=resolved.models,
            min_context=wish.min_context,
            prompt_tokens=prompt_tokens,
            needs_vision=needs_vision,
            sticky_host=sticky_host,
            max_wait_s=rules.max_local_wait_s,
            local_only=local_only,
            # Where no provider is configured at all, a persona's own order is no news to anybody.
            cloud=cloud if self.has_cloud else (),
            first=resolved.provider,
            strategy=rules.strategy,
            order=rules.request_types.get(sort),
            load=persona.load,
            is_chat=is_chat,
            conversation=conversation,
            new_tokens=new_tokens,
        )
        room = room or AnswerRoom.of(answer_tokens, persona.sampling)
        sent_tokens = prompt_tokens if sent_tokens is None else sent_tokens
        providers = self._providers(sent_tokens, answer_tokens, snapshot.taken_at, room)
        route = self._index.route(snapshot, ask, providers)
        if ask.order is not None:
            # `/why` told who goes first, and never that this kind of question has its own order.
            words = f"request type {sort} ({', '.join(ask.order)})"
            route = replace(route, reason=f"{words}; {route.reason}")
        return route, wish

    def pays_unseen(self, route: Route, job: Job | None = None) -> bool:
        """Would a provider answer first while a host is being looked at that may serve?

        Args:
            route: Who would be asked.
            job: Of a turn, for which the settings may take the cloud instead of a slow load.
        """
        # Where the cloud goes first anyway, nothing is learnt by waiting.
        if route.prefers_cloud:
            return False
        if not any(host.is_undecided for host in self._snapshot().hosts.values()):
            return False
        ways = None if job is None else self.ways(job)
        chosen = None if ways is None else ways.chosen
        first = chosen or next(iter(route.candidates), None)
        return first is not None and _is_away(first)

    def ways(self, job: Job) -> Ways | None:
        """What may be done instead of waiting for a slow load; None when waiting is all right."""
        return plan_ways(job.route, lambda: self._warm(job), self._rules.slow)

    def _warm(self, job: Job) -> Candidate | None:
        """The soonest model in memory, whatever it is, that sees what is to be seen."""
        snapshot = self._snapshot()
        ask = RouteAsk(
            models=(AUTO,),
            min_context=job.wish.min_context,
            prompt_tokens=job.prompt_tokens,
            needs_vision=job.needs_vision,
        )
        # What the settings choose is asked before the load; what a person may choose meanwhile has
        # to outlast it.
        is_before = self._rules.slow.when_slow == "warm"
        leaving = () if is_before else self._leaving(snapshot, job.route.candidates[0], ask)
        for candidate in self._index.route(snapshot, ask).candidates:
            if any(copy not in leaving for copy in _copies(snapshot, candidate)):
                return candidate
        return None

    def is_in_memory(self, candidate: Candidate) -> bool:
        """Can its host answer with its model without a load?"""
        return bool(_copies(self._snapshot(), candidate))

    def _leaving(
        self, snapshot: FleetSnapshot, here: Candidate, ask: RouteAsk
    ) -> tuple[Instance, ...]:
        """What the load of this candidate takes from its host's memory."""
        host = snapshot.hosts.get(here.host or HostName(""))
        if host is None:
            return ()
        found = predict_seconds(host, here.model, ask, snapshot.taken_at)
        return found.evicts if isinstance(found, Prediction) else ()


def _by_words_alone(
    route: Route, routed: Callable[..., tuple[Route, Wish]], resolved: Resolved
) -> tuple[Route, bool, Candidate | None]:
    """Whom to ask the words of a question whose picture no host here can see, and who could see.

    Between them whether whoever is asked must see.

    A picture alone takes nobody to the cloud, who did not ask for it, and costs no answer: the
    words are answered here, and whoever can see is offered. Where no host answers those either it
    is ``route`` as it was.
    """
    blind, _ = routed(resolved)
    if not _is_at_home(blind):
        return route, True, None
    able, _ = routed(replace(resolved, model=AUTO), needs_vision=True)
    return blind, False, min(able.candidates, key=_is_away, default=None)


def _copies(snapshot: FleetSnapshot, candidate: Candidate) -> tuple[Instance, ...]:
    host = snapshot.hosts.get(candidate.host or HostName(""))
    if host is None or host.state != "up":
        return ()
    return tuple(copy for copy in host.instances if copy.model_key == candidate.model)


def _is_away(candidate: Candidate) -> bool:
    return candidate.host is None


def _is_at_home(route: Route) -> bool:
    return bool(route.candidates) and not _is_away(route.candidates[0])


def _fitted_abroad(asking: Asking, window: int, answer_tokens: int) -> Fitted:
    """The transcript as a provider may see it: people are numbered, not named."""
    branch, request = asking.branch, asking.request
    # Names of people are theirs; a number tells who speaks as well.
    numbers: dict[UserId, str] = {}
    names: dict[str, str] = {}
    for said in (*branch, request):
        for who in (*said.quotes, said):
            number = numbers.setdefault(who.user, f"Person {len(numbers) + 1}")
            names.setdefault(who.user_name, number)
    turns = [
        replace(
            turn,
            user_name=numbers[turn.user],
            quotes=tuple(replace(q, user_name=numbers[q.user]) for q in turn.quotes),
        )
        for turn in branch
    ]
    request = replace(
        request,
        user_name=numbers[request.user],
        quotes=tuple(replace(q, user_name=numbers[q.user]) for q in request.quotes),
    )
    moment = Moment(asking.turn, asking.resolved.now, window)
    # Of the whole: a name or an id says who it is, whatever way it came into the text.
    messages = [
        replace(message, text=without_names(message.text, names))
        for message in transcript(asking.resolved.persona, turns, request, moment)
    ]
    return fit_or_least(messages, window, answer_tokens)


def _smaller(window: int, job: Job) -> Iterable[int]:
    """Windows below what a transcript needs, halving; none where its size is not what hinders."""
    if not any("does not fit" in r.reason or "window" in r.reason for r in job.route.rejected):
        return ()
    needed = min(window, job.wish.min_context)
    sizes = (2**power for power in range(needed.bit_length(), SMALLEST_WINDOW_BITS - 1, -1))
    return (size for size in sizes if size < needed)
