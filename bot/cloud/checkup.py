"""Tries a provider with the smallest call it has, and says what is wrong."""

import asyncio
from collections.abc import Mapping

from bot.cloud.call import CloudAsk
from bot.cloud.deployment import Deployment
from bot.cloud.providers import Providers
from bot.domain.errors import BotError, FailureKind, Refused, Unavailable
from bot.domain.ids import ProviderName, TurnId
from bot.domain.values import value
from bot.policy.privacy import PROBE, judge_probe

CHECK = TurnId("check")
"""What the ledger calls such a call."""
_ANSWER_TOKENS = 16
"""The least every provider takes."""

_HINTS: Mapping[FailureKind, str] = {
    FailureKind.AUTH: "the key is wrong, or not allowed to use this model",
    FailureKind.NO_MONEY: "no balance is left, or the key belongs to another endpoint",
    FailureKind.PLAN_LIMIT: "the plan's limit is reached",
    FailureKind.BAD_REQUEST: "the model's name or the endpoint is wrong",
    FailureKind.CONNECT: "the endpoint cannot be reached",
    FailureKind.TIMEOUT: "the endpoint does not answer in time",
    FailureKind.GARBAGE: "the endpoint is not a provider's",
    FailureKind.BUDGET: "our own budget does not allow the call",
}


@value
class Checked:
    """What a try found."""

    name: ProviderName
    is_fine: bool
    words: str
    """For people, one line."""
    kind: FailureKind | None = None


async def check_provider(providers: Providers, name: ProviderName) -> tuple[Checked, ...]:
    """Ask each key and address of a provider to say one word.

    It costs some micro-dollars and stands in the ledger.
    """
    async with asyncio.TaskGroup() as tasks:
        tries = [
            tasks.create_task(_checked(providers, each)) for each in providers.deployments(name)
        ]
    return tuple(tried.result() for tried in tries)


async def _checked(providers: Providers, deployment: Deployment) -> Checked:
    name = deployment.config.label
    # Words of ours and nobody else's: a check needs no consent of people.
    ask = CloudAsk(CHECK, PROBE, judge_probe, _ANSWER_TOKENS, thinking="off")
    try:
        async with providers.call(deployment, ask) as call, call.open() as deltas:
            async for _ in deltas:
                pass
    except Refused:
        return Checked(name, is_fine=True, words="answers, though it declined our question")
    except Unavailable as err:
        hint = _HINTS.get(err.kind)
        words = err.user_message if hint is None else f"{hint} ({err.user_message})"
        return Checked(name, is_fine=False, words=words, kind=err.kind)
    except BotError as err:
        return Checked(name, is_fine=False, words=err.user_message)
    seconds = call.first_token_s
    timed = "" if seconds is None else f", first word after {seconds:.1f} s"
    price = call.price.source if call.price.is_known else "unknown, charged as the dearest"
    return Checked(
        name, is_fine=True, words=f"{call.endpoint.model} answers{timed}; price: {price}"
    )
