"""Whether any model could ever serve a request: what no waiting mends is said at once.

Only of what is known; a route that finds nobody has its own reasons.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from bot.domain.hosts import FleetSnapshot, HostSnapshot, Model
from bot.domain.ids import AUTO, ModelKey
from bot.domain.values import value
from bot.policy.names import nearest

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

_VECTORS = ("makes no embeddings", "No model here makes embeddings.", "Models that do")
_CHAT = ("is an embedding model", "No model here can chat.", "Models that chat")
_SIGHT = ("cannot see pictures", "No model here can see pictures.", "Models that can")

_NAMED = 5
"""Models named as able to do what was asked, at most."""


@value
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
    is_local: bool = True
    """No provider may be asked."""


@value
class Unfit:
    """Why no host can ever serve it."""

    about: Literal["kind", "sight", "size", "absence"]
    words: str


def unfit(snapshot: FleetSnapshot, need: Need) -> Unfit | None:
    """What stands in the way of every model; None where one could, or nothing is known of them."""
    known = _known(snapshot, need.models)
    if not known and need.is_local and _is_nowhere(snapshot, need.models):
        every = [str(model.key) for model in _known(snapshot, (AUTO,))]
        near = ", ".join(f"`{name}`" for name in nearest(str(need.models[0]), sorted({*every})))
        wanted = " or ".join(f"`{key}`" for key in need.models)
        words = f"No host has {wanted} on its disk: download it in LM Studio, or name another."
        return Unfit("absence", words + (f" Nearest: {near}." if near else ""))
    able = [model for model in known if (model.kind == "embedding") == need.is_embedding]
    if known and not able:
        every = _known(snapshot, (AUTO,))
        others = [model for model in every if (model.kind == "embedding") == need.is_embedding]
        words = _VECTORS if need.is_embedding else _CHAT
        return Unfit("kind", _said(words, need, others))
    if need.has_pictures and able and not any(map(sees, able)):
        return Unfit("sight", _said(_SIGHT, need, filter(sees, _known(snapshot, (AUTO,)))))
    most = widest(snapshot, need)
    # Providers read more than most hosts: the route tells whether one may.
    if need.is_local and most is not None and need.prompt_tokens > OVERESTIMATE * most:
        who = "models here read" if AUTO in need.models else f"`{need.models[0]}` reads"
        words = f"The prompt has about {need.prompt_tokens:,} tokens, and"
        return Unfit("size", f"{words} {who} at most {most:,}.")
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
    if prompt <= OVERESTIMATE * most:
        prompt = min(prompt, most)
    return prompt, max(0, min(answer, most - prompt))


def is_too_old(host: HostSnapshot, path: str) -> bool:
    """Does this host's LM Studio surely lack a path? One whose version is not told is asked."""
    since = _SINCE.get(path)
    if since is None:
        return False
    version = tuple(int(part) for part in re.findall(r"\d+", host.version)[:3])
    return len(version) == 3 and version < since


def may_come(snapshot: FleetSnapshot, keys: Sequence[ModelKey], path: str, tokens: int = 0) -> bool:
    """Is a host away that may answer on this path, by one of these models, when it is back?

    Args:
        snapshot: The fleet.
        keys: Of the models.
        path: Below ``/v1``.
        tokens: Of a prompt that none of the others can read; 0 where it is not for that. Of a host
            that was never looked at nobody knows how much it reads.
    """
    away = (host for host in snapshot.hosts.values() if not host.is_serving)
    return any(
        not is_too_old(host, path)
        and (
            any((model.max_context_length or tokens) >= tokens for model in _own(host, keys))
            or not (host.models or tokens)
        )
        for host in away
    )


def _own(host: HostSnapshot, keys: Sequence[ModelKey]) -> list[Model]:
    return [model for key, model in host.models.items() if key in keys or AUTO in keys]


def _is_nowhere(snapshot: FleetSnapshot, keys: Sequence[ModelKey]) -> bool:
    """Do all hosts tell what they have, and none has any of these?"""
    # One that is away, and was never looked at, may have it; so may one with a plain list alone,
    # which often is of what is in memory.
    return (
        bool(snapshot.hosts)
        and AUTO not in keys
        and all(
            (host.is_serving or host.models) and host.interface != "/v1"
            for host in snapshot.hosts.values()
        )
        and not any(i.model_key in keys for h in snapshot.hosts.values() for i in h.instances)
    )


def _known(snapshot: FleetSnapshot, keys: Sequence[ModelKey]) -> list[Model]:
    hosts = snapshot.hosts.values()
    if AUTO in keys:
        return [model for host in hosts for model in host.models.values()]
    return [host.models[key] for host in hosts for key in keys if key in host.models]


def _said(words: tuple[str, str, str], need: Need, able: Iterable[Model]) -> str:
    """That it cannot, and which models can; of no model in particular, that none can."""
    of_one, of_any, head = words
    if AUTO in need.models:
        return of_any
    names = sorted({str(model.key) for model in able})
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"`{need.models[0]}` {of_one}." + (f" {head}: {shown}{more}." if shown else "")
