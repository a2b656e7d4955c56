"""What is going on, as JSON for the dashboard: hosts, models and requests; never words of users.

Times are seconds, sizes bytes, money dollars. A key that says nothing here holds null.
"""

import math

from bot.chat.catalog import Catalog
from bot.chat.flights import Flight
from bot.domain.chat import Candidate, Route
from bot.domain.events import Evicting, Loading, Queued, Waking
from bot.domain.hosts import FleetSnapshot, HostSnapshot
from bot.domain.ids import ModelKey
from bot.gateway.edge import Object
from bot.policy.placement import instance_bytes
from bot.policy.prediction import PROGRESS_TO_TRUST, remaining_s
from bot.policy.speeds import MEASURABLE_REPLY

TIMED_S = 0.05
"""A shorter time between words measures how they were read, and not how they were written."""


def host_object(host: HostSnapshot, now: float) -> Object:
    """One host: its state, memory, what is loaded, who waits."""
    load = host.load
    drain_left_s = None if host.drained_until is None else host.drained_until - now
    loading: Object | None = None
    if load is not None:
        # Nothing is known of a load that was never measured and has not begun to move.
        is_known = load.expected_s is not None or load.fraction >= PROGRESS_TO_TRUST
        left_s = round(remaining_s(load, 0.0, now), 1) if is_known else None
        loading = {
            "modelKey": load.model_key,
            "progress": round(load.fraction, 3),
            "secondsLeft": left_s,
            "waiters": load.waiters,
        }
    return {
        "name": host.name,
        "address": host.address,
        "state": host.state,
        "reason": host.reason,
        "silentSeconds": _rounded(None if host.silent_since is None else now - host.silent_since),
        "drained": host.drained_until is not None,
        "drainSecondsLeft": None if drain_left_s == math.inf else _rounded(drain_left_s),
        "interface": host.interface,
        "version": host.version,
        "needsToken": host.needs_token,
        "failures": host.failures,
        "memory": {
            "totalBytes": host.memory_bytes,
            "usedBytes": sum(map(instance_bytes, host.loaded)),
            "ceilingBytes": host.ceiling_bytes,
        },
        "models": len(host.models),
        "instances": [
            {
                "instanceId": instance.identifier,
                "modelKey": instance.model_key,
                "owner": "lantern" if instance.own else "other",
                "pinned": instance.pinned,
                "slowdown": round(instance.slowdown, 1),
                "leases": instance.leases,
                # A host that does not tell its slots answers one request at a time at least.
                "slots": max(1, instance.parallel or host.slots),
                "contextLength": instance.context_length,
                "sizeBytes": instance_bytes(instance) or None,
                "idleTtlSeconds": instance.idle_ttl_s,
            }
            for instance in host.loaded
        ],
        "load": loading,
        "queue": sum(host.waiting.values()),
        "waiting": dict(host.waiting),
    }


def model_objects(catalog: Catalog, active: ModelKey | None) -> list[Object]:
    """Every model of the fleet: who has it, where it is loaded, how soon it could answer."""
    snapshot = catalog.snapshot()
    found: list[Object] = []
    for option in catalog.options():
        key = option.key
        holders = snapshot.holders(key)
        known = next((host.models[key] for host in holders if key in host.models), None)
        loaded = [
            {
                "host": host.name,
                "instanceId": instance.identifier,
                "contextLength": instance.context_length,
            }
            for host in holders
            for instance in host.loaded
            if instance.model_key == key
        ]
        found.append(
            {
                "modelKey": key,
                "displayName": (known.display_name if known else "") or key,
                "kind": known.kind if known else "llm",
                "sizeBytes": option.size_bytes,
                "architecture": known.architecture if known else "",
                "quantization": known.quantization if known else "",
                "vision": known.vision if known else False,
                "toolUse": known.tool_use if known else False,
                "hosts": list(option.hosts),
                "loaded": loaded,
                "maxContextLength": known.max_context_length if known else None,
                "secondsUntilWarm": 0.0 if option.is_warm else _rounded(option.seconds),
                "state": option.mark,
                "active": key == active,
            }
        )
    return found


def flight_object(flight: Flight, began: str, now: float) -> Object:
    """One request as it stands, or as it ended.

    Args:
        flight: The request.
        began: Wall time of its beginning.
        now: On the event loop's clock; of one that ended it is not looked at.
    """
    now = now if flight.ended_at is None else flight.ended_at
    used, by = flight.receipt, flight.by
    tokens = flight.count() if used is None else used.usage.completion_tokens
    answered_s = None if flight.first_at is None else now - flight.first_at
    if used is not None:
        answered_s = used.timed.seconds
    speed = None
    # One token, or several in one read, were shown as a thousand a second, and for good.
    if answered_s is not None and answered_s >= TIMED_S and tokens >= MEASURABLE_REPLY:
        # The first token began the time; the rest were timed.
        speed = (tokens - 1) / answered_s
    first_s = None if flight.first_at is None else flight.first_at - flight.began_at
    return {
        "id": flight.id,
        "key": str(flight.user).partition(":")[2],
        "endpoint": flight.form,
        "stream": flight.is_stream,
        "model": by.model if by is not None else flight.model,
        "began": began,
        "seconds": round(now - flight.began_at, 3),
        "state": flight.state,
        "outcome": None,
        "status": None,
        **_place_object(flight),
        "firstTokenSeconds": _rounded(first_s),
        "inputTokens": None,
        "outputTokens": None if flight.state == "answering" and used is None else tokens,
        "tokensPerSecond": _rounded(speed),
    }


def ended_object(flight: Flight, began: str, status: int) -> Object:
    """One request after its end, with what it used."""
    told, used = flight_object(flight, began, 0.0), flight.receipt
    # Of an answer that broke off nobody told it.
    usage = used.usage if used is not None and used.usage.prompt_tokens else None
    # Of whoever left a line nobody has noted how long it stood there.
    timing = used.timing if used is not None and flight.sent_at is not None else None
    return {
        **{name: value for name, value in told.items() if name not in ("state", "wait")},
        "outcome": flight.outcome,
        "status": status,
        "inputTokens": usage.prompt_tokens if usage else None,
        "cachedTokens": usage.cached_tokens if usage else None,
        "untilAskedSeconds": _rounded(timing.until_asked_s) if timing else None,
        "queueSeconds": _rounded(timing.queue_s) if timing else None,
        "loadSeconds": _rounded(timing.load_s) if timing else None,
        "costUsd": used.cost_micro_usd / 1e6 if used else 0.0,
        "route": route_object(flight.route, flight.by),
    }


def route_object(route: Route, by: Candidate | None = None) -> Object:
    """Who was chosen and why, and who was not."""
    chosen = by or next(iter(route.candidates), None)
    return {
        "host": chosen.where if chosen else None,
        "provider": chosen is not None and chosen.host is None,
        "reason": (chosen.reason if chosen else "") or route.reason,
        "predicted": _rounded(chosen.seconds) if chosen else None,
        "rejected": [{"host": r.where, "reason": r.reason} for r in route.rejected],
    }


def _place_object(flight: Flight) -> Object:
    """Where a request is: who answers, or what is waited for."""
    # Between two hosts it is at none; once it ended, whoever was asked last is told.
    is_between = flight.state == "routing" and flight.outcome is None
    by = None if is_between else flight.by
    told: Object = {"host": by.where if by else None, "provider": False, "wait": None}
    match flight.step:
        case Queued(where=where, position=place, seconds=left_s):
            is_cloud = any(each.provider == where for each in flight.route.candidates)
            wait = {"place": place, "secondsLeft": left_s}
            return {"host": where, "provider": is_cloud, "wait": wait}
        case Evicting(host=host, evicted=evicted):
            return told | {"host": host, "wait": {"evicting": list(evicted)}}
        case Waking(host=host, seconds_left=left_s):
            return told | {"host": host, "wait": {"waking": True, "secondsLeft": left_s}}
        case Loading(host=host, fraction=fraction, seconds_left=left_s):
            wait = {"progress": round(fraction, 3), "secondsLeft": _rounded(left_s)}
            return told | {"host": host, "wait": wait}
        case None:
            return told | {"provider": by is not None and by.host is None}


def fleet_objects(snapshot: FleetSnapshot) -> list[Object]:
    """Every host."""
    return [host_object(host, snapshot.taken_at) for host in snapshot.hosts.values()]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
