"""Asks a provider again and again until it is killed; says so when an answer was paid for.

Many questions at once, each by a person of its own, so that the provider's journal tells which
call was which.
"""

import asyncio
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cloud_house import SALT, Heard, asking, ledger_of, price_of

from bot.cloud.providers import Providers
from bot.cloud.serve import ProviderTries, serve
from bot.domain.cloud import ProviderConfig
from bot.domain.errors import BotError
from bot.domain.ids import ModelKey, ProviderName, TurnId, UserId
from bot.inference.streams import Inference
from bot.policy.budget import BudgetRules
from bot.store.database import Database
from bot.store.ledger import LedgerStore

AT_ONCE = 12
NAME = ProviderName("openai")


def say(words: str) -> None:
    os.write(sys.stdout.fileno(), f"{words}\n".encode())


async def converse(providers: Providers, speaker: str) -> None:
    for number in range(1_000_000):
        turn = f"{speaker}.{number}"
        words = f"Question {number}? [[tokens {5 + number % 60}]]"
        ask = replace(asking(TurnId(turn), words), user=UserId(turn))
        heard = Heard()
        try:
            await serve(providers, NAME, ask, ProviderTries(), heard.listener(), is_last=True)
        except BotError as error:
            say(f"failed {turn} {error}")
        else:
            say(f"paid {turn}")


async def main(path: str, base_url: str, model: str, run: str) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    config = ProviderConfig(
        name=NAME,
        base_url=base_url,
        model=ModelKey(model),
        dialect="openai",
        api_key="sim-key",
        max_concurrent=AT_ONCE,
        rate_count=1_000_000,
        price=price_of(model),
    )
    async with Database(Path(path), utcnow=lambda: now) as database, Inference() as inference:
        ledger = LedgerStore(database, BudgetRules(), UTC)
        cloud = Providers(
            [config],
            ledger=ledger_of(ledger),
            open_stream=inference.open,
            observe=lambda event: say(f"news {event}"),
            utcnow=lambda: now,
            draw=lambda: 0.5,
            salt=SALT,
        )
        async with cloud as providers, asyncio.TaskGroup() as group:
            for speaker in range(AT_ONCE):
                group.create_task(converse(providers, f"{run}.{speaker}"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
