"""First visible text in Discord, beyond the first token and one REST call.

A question is played as the cogs play it, from its arrival until the call that carries the first
word begins; Discord is a double whose calls take 80 ms. From that is taken the time to first token
of the bare request, sent to the same simulated host in turn. What is left is Lantern's own:
choices, transcript, route, lease, store, layout. The host runs in a process of its own.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import discord

from bench.house import MODEL, Studio, ask, house, on_fast_loop, question, studio
from bench.table import Row, at_most, exactly, told
from bot.domain.chat import Endpoint, InferenceRequest, Message
from bot.domain.events import TextDelta
from bot.inference.streams import Inference
from bot.policy.pacing import Pacers
from cogs._reply import TYPING_AFTER_S, Replies
from cogs._transport import InteractionTransport, Transport

CALL_S = 0.080
LIMIT_MS = 10.0
TEXT = "[[tokens 1]] [[say Lantern]]"
WORD = "Lantern"
ROUNDS = 7

Reach = Callable[["_Discord"], Transport]


@dataclass(frozen=True, slots=True)
class _Call:
    """One REST call."""

    name: str
    began_at: float
    shows_text: bool


@dataclass(frozen=True, slots=True)
class _First:
    """What one first word took."""

    own_s: float
    """Beyond the first token and the call that showed it."""
    before: tuple[str, ...]
    """Calls begun before that one."""


def run() -> list[Row]:
    """Prompt answers by message and by command, and hosts that think for a while."""
    rows: list[Row] = []
    for name, reach, first_token_s in (
        ("a message", _by_message, 0.25),
        ("a command", _by_command, 0.25),
        # Just as the typing indicator is being sent: the first words do not wait for that call.
        ("a message", _by_message, TYPING_AFTER_S + CALL_S / 2),
        ("a message", _by_message, 1.0),
    ):
        # Of a simulated host the first token takes as long as any other.
        with studio(tokens_per_s=1 / first_token_s) as host:
            firsts = on_fast_loop(_measure(host, reach))
        scene = f"{name}, first token after {first_token_s:g} s"
        rows.append(at_most(scene, median(f.own_s for f in firsts) * 1e3, "ms", LIMIT_MS))
        rows.append(_calls(scene, [f.before for f in firsts]))
    return rows


def _calls(scene: str, before: list[tuple[str, ...]]) -> Row:
    most = max(before, key=len)
    what = f"{scene}: REST calls begun before"
    if "defer" in most:
        # Discord wants every command acknowledged within three seconds.
        return told(f"{what}, the acknowledgement", len(most), "")
    if set(most) == {"typing"}:
        # People take a silent bot for a dead one. It is sent beside the work, by a limit of its
        # own and only where a place is free, so that no first word waits for it: the row above
        # would show it.
        return told(f"{what}, typing beside the work", len(most), "")
    return exactly(f"{what} ({', '.join(most)})" if most else what, len(most), "", 0)


async def _measure(host: Studio, reach: Reach) -> list[_First]:
    async with house(host) as built, Inference() as inference:
        await ask(built, question(TEXT))
        replies = Replies(built)
        await bare_s(inference, host)
        return [
            await _played(replies, reach, number, await bare_s(inference, host))
            for number in range(ROUNDS)
        ]


async def bare_s(inference: Inference, host: Studio) -> float:
    """Time to first token of the same words without Lantern."""
    endpoint = Endpoint(
        f"http://{host.address}/v1", MODEL, accepted_models=frozenset({str(MODEL)}), source="bench"
    )
    first_at: float | None = None
    began = time.monotonic()
    async with inference.open(endpoint, InferenceRequest((Message("user", TEXT),))) as deltas:
        async for delta in deltas:
            if first_at is None and isinstance(delta, TextDelta):
                first_at = time.monotonic()
    assert first_at is not None
    return first_at - began


async def _played(replies: Replies, reach: Reach, number: int, bare_s: float) -> _First:
    double = _Discord(number)
    began = time.monotonic()
    await replies.play(question(TEXT, place=f"discord:{number}"), reach(double))
    shown = next(place for place, call in enumerate(double.calls) if call.shows_text)
    call = double.calls[shown]
    # From the question to the call's beginning, and as much of the call as a call takes.
    own_s = call.began_at - began - bare_s
    return _First(own_s, tuple(earlier.name for earlier in double.calls[:shown]))


# --- Discord's double ----------------------------------------------------------------------


class _Discord:
    """What the transports use of discord.py: a channel and an interaction, 80 ms away."""

    def __init__(self, channel_id: int) -> None:
        self.id = channel_id
        self.calls: list[_Call] = []

    async def call(self, name: str, content: str | None = None) -> Any:
        """One REST call; gives a message."""
        self.calls.append(_Call(name, time.monotonic(), shows_text=WORD in (content or "")))
        await asyncio.sleep(CALL_S)
        return SimpleNamespace(id=1, message_id=1)

    # A channel.

    async def send(self, content: str, **options: object) -> Any:
        """A new message."""
        return await self.call("send", content)

    async def typing(self) -> None:
        """The typing indicator."""
        await self.call("typing")

    def get_partial_message(self, message_id: int) -> Any:
        """A message by its id."""
        return SimpleNamespace(edit=self.edit_original_response)

    # An interaction.

    async def defer(self, *, thinking: bool) -> Any:
        """The acknowledgement."""
        return await self.call("defer")

    async def edit_original_response(self, *, content: str, view: object = None) -> Any:
        """A change to the message."""
        return await self.call("edit", content)


def _by_message(double: _Discord) -> Transport:
    channel = cast(discord.PartialMessageable, double)
    return Transport(channel, Pacers(), question=7)


def _by_command(double: _Discord) -> Transport:
    def get_partial_messageable(channel_id: int, *, guild_id: int | None) -> _Discord:
        return double

    interaction = SimpleNamespace(
        id=7,
        client=SimpleNamespace(get_partial_messageable=get_partial_messageable),
        channel_id=double.id,
        guild_id=None,
        context=discord.app_commands.AppCommandContext(dm_channel=True),
        app_permissions=discord.Permissions.all(),
        locale=discord.Locale.british_english,
        response=SimpleNamespace(is_done=lambda: False, defer=double.defer),
        edit_original_response=double.edit_original_response,
    )
    return InteractionTransport(cast(discord.Interaction[Any], interaction), Pacers())
