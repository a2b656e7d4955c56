"""Whether any model a request may go to could ever serve it; what no waiting mends is said at once.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.domain.hosts import FleetSnapshot, HostSnapshot, Model
from bot.domain.ids import AUTO, ModelKey

OVERESTIMATE = 1.3
"""A prompt counted longer than the window may still fit by so much: the host counts for certain."""

MOST_ROOM = 4096
"""Tokens of window kept for an answer, however long it may become by its limit."""

# Clients ask for the most a model could ever say: a window of that size would be loaded for each,
# where what is in memory serves nearly all of them.
ROOM = 1024
"""The same where a request sets no limit."""

_SINCE: Mapping[str, tuple[int, ...]] = {"/responses": (0, 3, 29), "/messages": (0, 4, 1)}
"""LM Studio's versions; all other paths are older than any that is about."""

_NAMED = 5
"""Models named as able to do what was asked, at most."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a request asks of a model."""

    models: Sequence[ModelKey]
    """Which may answer; ``auto`` is any."""
    prompt_tokens: int = 0
    """Estimated."""
    window: int | None = None
    """The persona's own limit."""
    is_embedding: bool = False
    has_pictures: bool = False


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why no host can ever serve it."""

    about: Literal["kind", "sight", "size"]
    words: str


def unfit(snapshot: FleetSnapshot, need: Need) -> Unfit | None:
    """What stands in the way of every model; None where one could, or nothing is known of them."""
    every = _known(snapshot, (AUTO,))
    known = _known(snapshot, need.models)
    able = [model for model in known if (model.kind == "embedding") == need.is_embedding]
    name = "No model here" if AUTO in need.models else f"`{need.models[0]}`"
    if known and not able:
        others = [model for model in every if (model.kind == "embedding") == need.is_embedding]
        what = "makes no embeddings" if need.is_embedding else "is an embedding model"
        return Unfit("kind", f"{name} {what}.{_named('Models that do', others, need)}")
    if need.has_pictures and able and not any(map(sees, able)):
        seers = [model for model in every if sees(model)]
        others = _named("Models that can", seers, need)
        return Unfit("sight", f"{name} {'can' if AUTO in need.models else 'cannot'} see pictures."
                     f"{others}")
    most = widest(snapshot, need)
    if most is not None and need.prompt_tokens > OVERESTIMATE * most:
        words = f"The prompt has about {need.prompt_tokens:,} tokens, and {name}"
        return Unfit("size", f"{words} reads at most {most:,}.")
    return None


def widest(snapshot: FleetSnapshot, need: Need) -> int | None:
    """The largest window of any model it may go to; None where one does not say."""
    windows = [
        model.max_context_length
        for model in _known(snapshot, need.models)
        if (model.kind == "embedding") == need.is_embedding
    ]
    known = [window for window in windows if window is not None]
    if not known or len(known) < len(windows):
        return need.window
    return max(known) if need.window is None else min(need.window, max(known))


def sees(model: Model) -> bool:
    """Does it take pictures?"""
    return model.vision or model.kind == "vlm"


def window_room(need: Need, most: int | None, limit: int | None) -> tuple[int, int]:
    """Prompt and answer tokens that a window is chosen by.

    Args:
        need: What is asked.
        most: The widest window; None is unknown.
        limit: The answer's own, where the request sets one.
    """
    prompt, answer = need.prompt_tokens, min(limit or ROOM, MOST_ROOM)
    if need.is_embedding:
        answer = 0
    if most is None:
        return prompt, answer
    prompt = min(prompt, most)
    return prompt, min(answer, most - prompt)


def is_too_old(host: HostSnapshot, path: str) -> bool:
    """Does this host's LM Studio surely lack a path? One whose version is not told is asked."""
    since = _SINCE.get(path)
    version = tuple(int(part) for part in re.findall(r"\d+", host.version)[:3])
    return since is not None and len(version) == 3 and version < since


def _known(snapshot: FleetSnapshot, keys: Sequence[ModelKey]) -> list[Model]:
    return [
        model
        for host in snapshot.hosts.values()
        for key, model in host.models.items()
        if AUTO in keys or key in keys
    ]


def _named(head: str, models: Sequence[Model], need: Need) -> str:
    names = sorted({str(model.key) for model in models} - set(map(str, need.models)))
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED])
    return f" {head}: {shown}." if shown else ""
