"""What one call would send and what it may cost at most: the money to be held for it."""

from dataclasses import replace

from bot.cloud.call import CloudAsk, OpenStream, ProviderCall
from bot.domain.chat import Endpoint, InferenceRequest
from bot.domain.cloud import Booking, Price, ProviderConfig
from bot.policy.context import message_tokens
from bot.policy.dialects import first_token_s, thinking_room
from bot.policy.pricing import worst_cost
from bot.policy.privacy import LEDGER, user_hash


def reservation(
    config: ProviderConfig, ask: CloudAsk, price: Price, salt: str, open_stream: OpenStream
) -> tuple[Booking, ProviderCall]:
    """The worst case to be booked, and the call as it is sent once that money is held.

    Args:
        config: Who is asked.
        ask: What is asked.
        price: Of the provider's model today.
        salt: For the hashes people go by.
        open_stream: Sends it.
    """
    thinking = ask.thinking or config.thinking
    room = ask.answer_tokens + thinking_room(config.model, thinking)
    prompt_tokens = sum(map(message_tokens, ask.messages))
    # The ledger knows people by a hash too: its rows outlive words that were forgotten.
    booking = Booking(
        turn=ask.turn,
        provider=config.name,
        model=config.model,
        worst_micro_usd=worst_cost(price, prompt_tokens, room),
        price=price,
        user="" if ask.user is None else user_hash(salt, LEDGER, ask.user),
        server=ask.server,
        daily_micro_usd=ask.daily_micro_usd,
        answer_tokens=ask.answer_tokens,
    )
    # The limit is always sent: without it the worst case would have no bound.
    temperature = ask.sampling.temperature
    if temperature is None:
        temperature = config.temperature
    sampling = replace(ask.sampling, max_tokens=room, temperature=temperature)
    # Another hash at each provider, so that two of them cannot tell that they know one person.
    name = None if ask.user is None else user_hash(salt, config.name, ask.user)
    endpoint = Endpoint(
        base_url=config.base_url,
        model=config.model,
        wire=config.wire,
        token=config.api_key,
        source=config.label,
        is_local=False,
        first_token_s=first_token_s(config.timeout_s, config.model, thinking),
        idle_s=config.idle_s,
        dialect=config.dialect,
        thinking=thinking,
        extras=config.extras,
    )
    request = InferenceRequest(ask.messages, sampling, name, verbatim=ask.verbatim)
    call = ProviderCall(
        config.name, endpoint, request, ask.judge, price, prompt_tokens, open_stream
    )
    return booking, call
