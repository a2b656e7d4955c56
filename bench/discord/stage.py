"""Where a play takes place: hosts that count, personas, channels, people; what is allowed there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot.sim.answers import Answer, Asked, default_answer
from bot.sim.models import GB, SimHostConfig, SimModel

SEES = SimModel("google/gemma-3-4b", round(3.4 * GB), kind="vlm", max_context_length=131_072)
SHARED = SimModel("qwen/qwen3-8b", round(5.6 * GB), max_context_length=40_960, reasoning=True)
BIG = SimModel("qwen/qwen3-30b-a3b-2507", round(18.6 * GB), max_context_length=262_144)

PERSONAS = {
    "default": "model: auto\nsystem_prompt: You answer plainly.\n",
    "sage": "description: calm teacher\nmodel: qwen/qwen3-8b\nsystem_prompt: You are calm.\n"
    "greeting: Ask me anything.\n",
    "teller": "model: qwen/qwen3-8b\nsystem_prompt: You tell.\ngreeting: |\n"
    + "".join(f"  {'once upon a time there was greetx. ' * 17}\n\n" for _ in range(10)),
    "keeper": "description: keeps the light\nmodel: google/gemma-3-4b\n"
    "system_prompt: You keep a lighthouse.\ngreeting: Mind the stairs, {{user}}.\n"
    "avatar: https://example.com/keeper.png\n",
}
MAY = (
    *("view_channel", "send_messages", "send_messages_in_threads", "embed_links", "attach_files"),
    *("add_reactions", "read_message_history", "manage_messages", "manage_threads"),
    *("manage_webhooks", "create_public_threads", "use_application_commands"),
)
"""What the bot's invite asks for."""

TEXTS: dict[str, str] = {}
"""What ``[[text KEY]]`` makes a host say."""


def answer(asked: Asked) -> Answer:
    """``[[count 3 cat]]`` gives "catx0. catx1. catx2.", so that a lost or doubled word is seen."""
    said = [message.text for message in asked.messages if message.role == "user"]
    goes_on = bool(said) and said[-1].startswith("Go on exactly")
    wish = next((text for text in reversed(said) if not text.startswith("Go on exactly")), "")
    if texts := re.findall(r"\[\[text (\w+)\]\]", wish):
        return Answer(tuple(re.findall(r"(?s).{1,24}", TEXTS[texts[-1]])))
    counts = re.findall(r"\[\[count (\d+) (\w+)\]\]", wish)
    if not counts:
        return default_answer(asked)
    size, tag = int(counts[-1][0]), counts[-1][1]
    words = tuple(f"{tag}x{n}." + ("\n\n" if n % 40 == 39 else " ") for n in range(size))
    heard = [m.text for m in asked.messages if m.role == "assistant"] if goes_on else []
    last = max((int(n) for text in heard for n in re.findall(rf"{tag}x(\d+)\.", text)), default=-1)
    return Answer(words[last + 1 :] or (" That is all.",))


def host(name: str, *models: SimModel, memory_gb: float = 24, **more: Any) -> SimHostConfig:
    """A simulated machine that counts."""
    plain = SimHostConfig(
        name=name, models=models, memory_bytes=round(memory_gb * GB), answer=answer
    )
    return replace(plain, **{"load_bytes_per_s": 6 * GB, **more})


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a play takes place, and what of the ordinary it goes beyond."""

    hosts: tuple[SimHostConfig, ...]
    channels: tuple[object, ...]
    config: str = ""
    users: tuple[object, ...] = ("alice", "bob", "carol", "dave")
    """The first owns the server and the bot."""
    latency: Mapping[str, float] = field(default_factory=dict[str, float])
    has_provider: bool = False
    pings: int = 0
    limited: int = 0
    """How often the play itself makes Discord say 429."""
    failed: int = 0
    """How many interactions nobody can answer, as Lantern is dead."""
    refused: tuple[int, ...] = ()
    """Discord's error codes that may come back with a 400."""
    logged: tuple[str, ...] = ()
    """What may be logged as an error."""
