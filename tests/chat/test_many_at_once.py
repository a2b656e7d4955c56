"""Many people in one moment: nobody errs for being the fifth."""

import asyncio
from pathlib import Path

from house import QWEN, House, Said, house, sim

from bot.domain.chat import Place
from bot.domain.events import Finished
from bot.domain.ids import PlaceId, UserId
from bot.sim.models import GB

MANY = 8


async def asked_at_once(home: House, text: str) -> list[Said]:
    """Each in a conversation of their own."""
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(
                home.ask(text, user=UserId(f"discord:{i}"), place=Place(PlaceId(f"discord:{i}")))
            )
            for i in range(MANY)
        ]
    return [task.result() for task in asked]


async def test_many_long_conversations_at_once_are_all_answered(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN, memory_bytes=8 * GB), memory_gb=8) as home:
        for _ in range(2):
            said = await asked_at_once(home, "word " * 2_500 + "[[tokens 20]]")
            assert all(isinstance(turn.last, Finished) for turn in said)
