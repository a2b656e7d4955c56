"""What was used, and by which key: the ledger's rows as JSON for admins."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial

from aiohttp import web

from bot.chat.lantern import Lantern
from bot.domain.cloud import UsageLine
from bot.domain.ids import UserId
from bot.gateway.doors import Caller
from bot.gateway.edge import Object
from bot.gateway.errors import Problem
from bot.policy.periods import since
from bot.store.keys import KeyStore
from bot.store.ledger import By

OTHERS = "others"
"""Everybody without a key: people in Discord and at terminals."""

_BY: Mapping[str, By] = {"model": "model", "host": "answered_by", "key": "user", "day": "day"}

_ADDED = tuple(
    field.name for field in fields(UsageLine) if field.name not in ("name", "tokens_per_s")
)


async def usage_report(built: Lantern, request: web.Request) -> Object:
    """Tokens and money since a day, by model, host, key or day.

    Raises:
        Problem: the query means nothing.
    """
    text, by = request.query.get("since", "30d"), request.query.get("by", "model")
    if by not in _BY:
        words = f"`by` is one of {', '.join(_BY)}."
        raise Problem(422, words, "invalid_value", param="by")
    try:
        period = partial(since, text)
        report = await built.usage.report(period, "all", UserId(""), None, _BY[by])
    except ValueError as wrong:
        raise Problem(422, f"`since`: {wrong}.", "invalid_value", param="since") from wrong
    lines = list(report.lines)
    if by == "key":
        lines = _by_key(lines, await key_names(built))
    saved = report.avoided_micro_usd
    return {
        "since": report.period.first,
        "until": report.period.last,
        "by": by,
        "total": _line_object(report.total),
        "lines": [_line_object(line) for line in lines],
        "savedUsd": None if saved is None else saved / 1e6,
        "savedBy": report.avoided_by,
    }


async def key_objects(built: Lantern) -> list[Object]:
    """Every key, without what opens a door, with what it used today."""
    report = await built.usage.report("today", "all", UserId(""), None, "user")
    names = {name: hash_ for hash_, name in (await key_names(built)).items()}
    spent = {line.name: line for line in report.lines}
    found: list[Object] = []
    for key in await KeyStore(built.database).all():
        # By the key's own name: the ledger's is a hash.
        used = replace(spent.get(names[key.name], UsageLine(key.name)), name=key.name)
        # As everywhere below ``/admin``: ``lastUsed``, where the terminal says ``last_used``.
        told = {
            re.sub("_(.)", lambda found: found[1].upper(), name): value
            for name, value in key.record().items()
        }
        is_over = key.is_over(built.database.now_ms())
        found.append({**told, "over": is_over, "today": _line_object(used)})
    return found


async def key_names(built: Lantern) -> dict[str, str]:
    """Keys, also revoked ones, by the hashes under which the ledger knows them."""
    names = await KeyStore(built.database).names()
    callers = [Caller(name) for name in (*names, "loopback")]
    return {built.providers.ledger_name(caller.user): caller.name for caller in callers}


def _by_key(lines: list[UsageLine], names: Mapping[str, str]) -> list[UsageLine]:
    """The lines of keys by their names, and one for everybody else."""
    keys: list[UsageLine] = []
    rest = dict.fromkeys(_ADDED, 0)
    for line in lines:
        values = {name: getattr(line, name) for name in _ADDED}
        if line.name in names:
            keys.append(UsageLine(names[line.name], tokens_per_s=line.tokens_per_s, **values))
        else:
            rest = {name: rest[name] + value for name, value in values.items()}
    return [*keys, UsageLine(OTHERS, **rest)] if any(rest.values()) else keys


def _line_object(line: UsageLine) -> Object:
    return {
        "name": line.name,
        "requests": line.local_turns + line.cached_turns + line.cloud_answers,
        "cloudCalls": line.cloud_calls,
        "inputTokens": line.prompt_tokens,
        "outputTokens": line.completion_tokens,
        "costUsd": line.cost_micro_usd / 1e6,
        "reservedUsd": line.reserved_micro_usd / 1e6,
        "freeInputTokens": line.free_prompt_tokens,
        "freeOutputTokens": line.free_completion_tokens,
        "tokensPerSecond": None if line.tokens_per_s is None else round(line.tokens_per_s, 2),
    }
