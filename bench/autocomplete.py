"""Autocomplete: what is offered as somebody types, with 1,000 models on a host.

An answer that comes after the next letter is thrown away by Discord. It is asked as ``/model`` and
``/fleet`` ask: who answers here by the store, where words may go, then the models.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

from bench.house import Studio, house, studio
from bench.table import Row, at_most
from bot.domain.chat import Place
from bot.domain.ids import ModelKey, PlaceId, UserId
from cogs._autocomplete import CHOICES, StringChoices, host_choices, model_choices

MODELS = 1000
ROUNDS = 15
LIMIT_MS = 50.0
HERE, USER = Place(PlaceId("discord:1"), server=PlaceId("discord:9")), UserId("discord:7")
TYPED = ("", "m", "gemma 11b", "gmema", "visoin", "zzzzzzzz")
"""Nothing yet, a letter, two words, slips, nonsense."""

_MAKERS = ("qwen", "gemma", "mistral", "llama", "phi", "granite", "lab/small-vision", "coder")
KEYS = tuple(
    ModelKey(f"maker-{n % 40}/{_MAKERS[n % 8]}-{n}-{n % 90}b-instruct") for n in range(1, MODELS)
)


def run() -> list[Row]:
    with studio(others=KEYS) as host:
        return asyncio.run(_rows(host))


async def _rows(host: Studio) -> list[Row]:
    async with house(host) as built:

        async def models(typed: str) -> StringChoices:
            return model_choices(await built.switch.options(HERE, USER, typed, CHOICES))

        async def hosts(typed: str) -> StringChoices:
            return host_choices(built.catalog, typed)

        return [
            *[await _row(f"/model {typed or '(nothing)'}", models, typed) for typed in TYPED],
            await _row("/fleet drain stduio", hosts, "stduio"),
        ]


async def _row(what: str, offer: Callable[[str], Awaitable[StringChoices]], typed: str) -> Row:
    found, took = StringChoices(), list[float]()
    for _ in range(ROUNDS):
        # CPU time: what else runs on the machine would be told as Lantern's.
        began = time.process_time()
        found = await offer(typed)
        took.append(time.process_time() - began)
    return at_most(f"{what}: {len(found)} choices", median(took) * 1e3, "ms", LIMIT_MS)
