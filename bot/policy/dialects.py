"""How a provider is spoken to: its dialect, and the room its model needs for thinking."""

import re
from typing import Literal
from urllib.parse import urlsplit

from bot.domain.chat import DialectName

THINKING_ROOM = 8192
"""Added to the answer's room where a model may think: thinking counts against the same limit."""
ALWAYS_ROOM = 4096
"""Where it cannot be told not to, but was told to think little."""
THINKING_FIRST_TOKEN_S = 90.0
"""Some providers show nothing at all while a model thinks."""
RETRY_ROOM = 4096
"""At least this much room on the second try after an answer without words."""

_DOMAINS: tuple[tuple[str, DialectName], ...] = (
    ("z.ai", "zai"),
    ("bigmodel.cn", "zai"),
    ("api.openai.com", "openai"),
)
# Sold by their maker alone, so that whatever stands before them passes on what it takes. The open
# models (gpt-oss) and those that carry a vendor's name (openai/gpt-6-luna) are others' to serve.
_OPENAI_OWN = re.compile(r"(?:ft:)?(?:gpt-\d|chatgpt-|o\d+(?:-|$))")
# Behind an address that nobody knows: a name counts for the models it goes with.
_NAMES: tuple[tuple[str, re.Pattern[str], DialectName], ...] = (
    ("zai", re.compile(r"glm-"), "zai"),
    ("", _OPENAI_OWN, "openai"),
)
_ALWAYS_THINKS = re.compile(r"(?:.*/)?(?:glm-5\.3|claude-opus-5-5|claude-fable|o\d)")
# No price table tells it, nor do most providers' lists: by family, for models that take pictures
# in a chat. What is missing here is said by `vision`.
_SEES = re.compile(
    r"(?:.*/)?(?:"
    r"gpt-(?:4o|4\.1|4-turbo|4-vision|4\.5|5|6)(?!.*(?:audio|realtime|transcribe|tts|codex-mini))"
    r"|chatgpt-4o|o1(?!-mini|-preview)|o3(?!-mini)|o4"
    r"|claude-(?!2|v1|instant)"
    r"|gemini|glm-\d(?:\.\d+)?v|gemma-3(?!.*-1b)|llama-4|pixtral|mistral-(?:small-3\.[1-9]|medium-3)"
    r"|.*(?:-vl\b|-vl-|vision|llava))"
)


def dialect_for(name: str, base_url: str, model: str) -> DialectName:
    """Which fields a server of the OpenAI wire takes: by its address, else by its model.

    OpenAI's reasoning models refuse `max_tokens` under whatever name their provider goes; LM Studio
    knows no other field, and answers without end where a provider is merely called `openai`.
    """
    host = (urlsplit(base_url).hostname or "").lower()
    for domain, dialect in _DOMAINS:
        if host == domain or host.endswith(f".{domain}"):
            return dialect
    for known, own, dialect in _NAMES:
        if known in ("", name) and own.match(model):
            return dialect
    return "generic"


def is_flat(base_url: str) -> bool:
    """Is this the address of a plan that is paid by the month, whatever is asked?"""
    # Tables of prices know it by its host alone, and told of dollars that nobody pays.
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    is_zai = any(host == d or host.endswith(f".{d}") for d in ("z.ai", "bigmodel.cn"))
    return is_zai and "/coding/" in f"{parts.path}/"


def always_thinks(model: str) -> bool:
    """Does this model think whatever it is told?"""
    return _ALWAYS_THINKS.match(model) is not None


def sees(model: str) -> bool:
    """Is this a model that takes pictures, as far as its name tells?"""
    return _SEES.match(model.lower()) is not None


def thinking_room(model: str, thinking: Literal["auto", "off"]) -> int:
    """Tokens to allow beside the answer's own."""
    if thinking == "auto":
        return THINKING_ROOM
    return ALWAYS_ROOM if always_thinks(model) else 0


def first_token_s(timeout_s: float, model: str, thinking: Literal["auto", "off"]) -> float:
    """Longest silence before the first word or thought."""
    is_silent = thinking == "auto" or always_thinks(model)
    return max(timeout_s, THINKING_FIRST_TOKEN_S) if is_silent else timeout_s
