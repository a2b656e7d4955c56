"""Cloud nouns: providers, prices, what a call may cost and what it did cost, and cloud news.

All money is integers of micro-dollars. A unit price is micro-dollars per million tokens, so that
$0.60 per million tokens is 600,000 and no price needs a fraction.
"""

from dataclasses import field
from datetime import datetime
from typing import Literal, Self

from bot.domain.chat import NO_EXTRAS, DialectName, Extras, Usage, Wire
from bot.domain.errors import FailureKind
from bot.domain.ids import ModelKey, PlaceId, ProviderName, TurnId
from bot.domain.personas import Sampling
from bot.domain.values import value

# --- prices --------------------------------------------------------------------------------


@value
class PriceStep:
    """Unit prices of prompts above a size."""

    input: int = 0
    output: int = 0
    cached: int = 0
    """Of prompt tokens the provider read from its own cache."""
    above_tokens: int = 0
    """For prompts of more tokens than this; the whole prompt is then charged so."""


@value
class Price:
    """What one model costs at one provider at one time."""

    steps: tuple[PriceStep, ...] = (PriceStep(),)
    """By rising ``above_tokens``; the first begins at 0."""
    source: str = "config"
    """Where it is from, for people: ``config``, ``genai-prices 0.2.3``."""
    as_of: str = ""
    """The day it was looked up for, ``2026-11-20``; empty where it has no date."""
    is_known: bool = True
    """False: nobody knows it, and the dearest known one stands in."""


# --- providers -----------------------------------------------------------------------------


@value
class ProviderConfig:
    """One cloud provider, as plain values from the settings."""

    name: ProviderName
    base_url: str
    model: ModelKey
    wire: Wire = "openai"
    dialect: DialectName = "generic"
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 30.0
    """Longest wait for an answer to begin."""
    idle_s: float = 30.0
    """Longest silence in the middle of an answer."""
    whole_s: float = 300.0
    """Longest an answer may take in all."""
    max_wait_s: float = 120.0
    """Longest a question waits for its turn here; while others can answer, only briefly."""
    retries: int = 1
    """Repeats here of a failed request, at most; of a question there are two in all."""
    rate_count: int = 60
    rate_period_s: float = 60.0
    max_concurrent: int | None = None
    """A bound, never passed; None widens as the provider allows."""
    quality: int = 5
    thinking: Literal["auto", "off"] = "off"
    max_tokens: int | None = None
    """Room for an answer where the persona says none; None is as for hosts."""
    temperature: float | None = None
    """Where the persona says none; None is the model's own."""
    price: Price | None = None
    """Said in the settings; None looks it up."""
    context_length: int | None = None
    vision: bool = False
    deployment: int = 0
    """Which of several keys or addresses of one provider this is, from 1; 0 is its only one."""
    weight: float = 1.0
    """Its share of the questions, among deployments that are free."""
    extras: Extras = NO_EXTRAS

    @property
    def label(self) -> ProviderName:
        """What people call this deployment: the provider where it is the only one."""
        return ProviderName(f"{self.name}/{self.deployment}") if self.deployment else self.name


@value
class AnswerRoom:
    """Tokens kept for a provider's answer."""

    tokens: int
    is_set: bool = False
    """By the request or its persona, which go before the provider's own."""

    @classmethod
    def of(cls, tokens: int, sampling: Sampling) -> Self:
        """What is kept by these parameters of a request or its persona."""
        return cls(tokens, is_set=sampling.max_tokens is not None)

    def at(self, config: ProviderConfig) -> int:
        """As it is at this provider."""
        return self.tokens if self.is_set else config.max_tokens or self.tokens


@value
class ProviderSnapshot:
    """One provider as a routing decision sees it; advises, never gates."""

    name: ProviderName
    model: ModelKey
    is_serving: bool
    reason: str = ""
    """Why it is out: breaker open, no key, budget spent."""
    quality: int = 5
    first_token_s: float | None = None
    """Measured, or None."""
    cost_micro_usd: int | None = None
    """Worst case of this request; None when the price is unknown."""
    context_length: int | None = None
    vision: bool = False
    likely_micro_usd: int | None = None
    """What such a request usually costs, for people; None when the price is unknown."""
    brief: str = "not available"
    """Why it is out, for readers, as after "is": a bill is its owner's business."""
    has_plan: bool = False
    """Paid by the month: an answer costs nothing further."""
    is_beyond: bool = False
    """Does this request cost more than a whole limit?"""


# --- spending ------------------------------------------------------------------------------

Basis = Literal["usage", "counted", "worst", "nothing"]
"""What a cost rests on: the provider's count, our own of a broken answer, the whole reservation
after a crash, or nothing, when no request reached the provider or it answered with an error."""


@value
class Booking:
    """Money to be held for one call, at its worst."""

    turn: TurnId
    provider: ProviderName
    model: ModelKey
    worst_micro_usd: int
    price: Price
    user: str = ""
    """Salted hash of the asker; empty for nobody's."""
    server: PlaceId | None = None
    daily_micro_usd: int | None = None
    """The asker's own limit of a day, beside that of every user; None is none."""
    answer_tokens: int = 0
    """Of the room that is paid for, what its asker may make smaller."""


Payer = Literal["all", "provider", "server", "user"]
"""Whose spending is added up: everybody's, at one provider, in one server, by one person."""


@value
class Account:
    """What a payer has spent and holds in a day or a month, against its limit."""

    period: str
    """A day, ``2026-11-20``, or a month, ``2026-11``, in the budget's time zone."""
    spent_micro_usd: int = 0
    reserved_micro_usd: int = 0
    cap_micro_usd: int | None = None
    """None is no limit."""
    payer: Payer = "all"
    name: str = ""
    """Of the provider or server, or the person's hash; everybody has none."""

    @property
    def left_micro_usd(self) -> int | None:
        """What may still be reserved."""
        if self.cap_micro_usd is None:
            return None
        return max(0, self.cap_micro_usd - self.spent_micro_usd - self.reserved_micro_usd)


@value
class Settlement:
    """How a call ended, in money."""

    number: int
    basis: Basis
    cost_micro_usd: int = 0
    usage: Usage = field(default_factory=Usage)
    step: PriceStep = field(default_factory=PriceStep)
    """The unit prices charged."""
    is_answer: bool = False
    """Did it bring words of an answer? Of a question's calls one at most does."""
    first_token_s: float | None = None
    generation_s: float = 0.0


@value
class BudgetNews:
    """What the admins are told of a budget; each thing once in its day or month."""

    what: Literal["alert", "spent"]
    """``alert``: the share they are warned at is spent; ``spent``: no further call fits."""
    account: Account
    """Everybody's or a provider's, with its limit."""


@value
class LedgerAnswer:
    """What the ledger says to a booking or a settlement."""

    number: int
    """Names the call's row; 0 when no money was held for it."""
    accounts: tuple[Account, ...]
    """Everybody's and the provider's in the day and month of the booking; everybody's day first."""
    refusal: str = ""
    """The limit that would be passed, for people; empty when the money is held or settled."""
    news: tuple[BudgetNews, ...] = ()
    renews_in_s: float | None = None
    """Of a refusal: seconds until the next day begins; infinite where it is refused then, too."""
    brief: str = ""
    """Of a refusal: whose limit it is, as readers are told."""
    is_held: bool = False
    """Of a refusal: is there enough, but for what is held for calls under way?"""


@value
class FreeTurn:
    """A turn that cost nothing: answered by a host of our own, or from the cache."""

    turn: TurnId
    source: Literal["local", "cache"]
    where: str
    """The host, or for a cached answer whoever gave it first."""
    model: ModelKey
    usage: Usage
    user: str = ""
    server: PlaceId | None = None
    first_token_s: float | None = None
    generation_s: float = 0.0


@value
class UsageLine:
    """Turns added up, for a report."""

    name: str
    """Of the server, user hash, model, place or day they were added up by; empty for all."""
    cloud_calls: int = 0
    """Paid requests, those that failed included."""
    cloud_answers: int = 0
    local_turns: int = 0
    cached_turns: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_micro_usd: int = 0
    reserved_micro_usd: int = 0
    """Held for calls still under way."""
    assumed_micro_usd: int = 0
    """Part of the cost that was counted or assumed by us, not told by the provider."""
    unknown_price_calls: int = 0
    plan_calls: int = 0
    """Paid by the month, with nothing further to pay."""
    free_prompt_tokens: int = 0
    """Tokens answered at home or from the cache: what the cloud would have charged for."""
    free_completion_tokens: int = 0
    tokens_per_s: float | None = None


@value
class HourLine:
    """One hour's answers added up; ``nth`` counts from the first of a day's, which is 0."""

    nth: int
    local: int = 0
    cloud: int = 0
    cached: int = 0
    """Given again as they were."""
    tokens: int = 0
    cost_micro_usd: int = 0
    queue_s: float = 0.0
    """Mean seconds of an answer's wait for its first word, by what was waited for."""
    load_s: float = 0.0
    reading_s: float = 0.0
    until_asked_s: float = 0.0
    """Of each answer as in its ``Timing``, and nothing where that is less than ``LOST_S``."""


@value
class LastDay:
    """The 24 hours of the clock up to this one, all of them, whatever happened in each."""

    starts_at: datetime
    """When the first began, in the budget's time zone."""
    hours: tuple[HourLine, ...]


@value
class ProviderStanding:
    """How one provider stands now, for people."""

    name: ProviderName
    model: ModelKey
    reason: str
    """Why it is out and until when; empty where it may be asked."""
    limited_s: float
    """Seconds it asked us to wait, and we do; 0 where it did not."""
    running: int
    waiting: int
    accounts: tuple[Account, ...]
    """Its own, of today and of this month; none where the ledger cannot be read."""
    deployments: tuple["ProviderStanding", ...] = ()
    """Each of several, by its label."""


# --- news ----------------------------------------------------------------------------------

ProviderChange = Literal["out", "back", "trouble", "passed"]
"""It is out; it answers again; it does not take our requests, by our settings' fault or ours; a
question that would have been its own went elsewhere or was not answered."""


@value
class ProviderNews:
    """What happened to a provider, for the admins.

    Each thing comes once until it answers again; ``passed`` comes with each question.
    """

    what: ProviderChange
    name: ProviderName
    kind: FailureKind | None = None
    """Of the failure; None when it is back."""
    reason: str = ""


CloudEvent = ProviderNews | BudgetNews
