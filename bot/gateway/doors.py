"""Who may come in: peer address, Host, key, scope, in this order, before a body is read."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from ipaddress import IPv4Network, IPv6Network

import structlog
from aiohttp import web

from bot.domain.errors import StoreUnavailable
from bot.domain.ids import AUTO, UserId
from bot.gateway.errors import Problem
from bot.policy.http_doors import (
    Address,
    client_address,
    is_known_host,
    is_of_other_site,
    is_within,
)
from bot.policy.keys import ApiKey, KeyScope, is_right, may_ask_for, public_part
from bot.policy.ratelimit import Bucket, RateRule, full_after_s, take
from bot.store.keys import KeyStore

KEYS_S = 1.0
"""A key that was added or revoked counts after so long."""

NOTED_S = 60.0
"""A key's last use is written this often."""

NOTE_WITHIN_S = 0.5
"""Longer nobody waits for it: the disk may be busy, and the write goes on."""

_OF_PROXIES = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Via")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DoorRules:
    """The settings of the doors, as plain values."""

    allow: tuple[IPv4Network | IPv6Network, ...]
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    host_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who was let in."""

    name: str
    """The key's, or ``loopback`` where none is configured."""
    key: ApiKey | None = field(default=None, repr=False)
    limits: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers that tell what its key has left; none where it has no limit."""

    @property
    def user(self) -> UserId:
        """Whose limits count, and who takes turns in a queue."""
        return UserId(f"gateway:{self.name}")

    @property
    def models(self) -> tuple[str, ...]:
        """Patterns of the models it may ask for; empty is every one."""
        return () if self.key is None else self.key.models

    def may_ask_for(self, name: str, models: Sequence[str] = ()) -> bool:
        """Is a model, or a persona with these models, among those the key is for?"""
        # Where anything may answer, only a key for everything will do.
        asked, *behind = ["" if model == AUTO else model for model in (name, *models)]
        return may_ask_for(self.models, asked, behind)


_LOOPBACK = Caller("loopback")


class Doors:
    """Lets requests in, or says which door was closed and how it is opened."""

    def __init__(self, rules: DoorRules, keys: KeyStore, utcnow: Callable[[], datetime]) -> None:
        self._rules = rules
        # Each request asks for the same few.
        self._is_allowed = lru_cache(1024)(partial(is_within, networks=rules.allow))
        self._is_known_host = lru_cache(1024)(partial(is_known_host, names=rules.host_names))
        self._keys = keys
        self._utcnow = utcnow
        self._known: dict[str, ApiKey] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()
        self._buckets: dict[str, Bucket] = {}
        self._noted_at: dict[str, float] = {}

    async def admit(
        self, request: web.Request, scope: KeyScope | None, *, again: bool = False
    ) -> Caller:
        """Who asks.

        Args:
            request: As it came; its body is not touched.
            scope: What its path is for; None is open to every peer that is let in.
            again: It was let in, and its answer goes on: of what its key has left nothing is taken.

        Raises:
            Problem: it may not come in.
        """
        address = self.check_where_from(request)
        host, fetch_site = request.headers.get("Host", ""), request.headers.get("Sec-Fetch-Site")
        # Keys come in headers alone, which no page can forge; but without any key this machine's
        # own browser is let in, whatever page it shows.
        if scope == "admin" and is_of_other_site(request.headers.get("Origin"), fetch_site, host):
            raise Problem(403, "Other sites may not act here.", "insufficient_permissions")
        if scope is None:
            return Caller("nobody")
        try:
            known = await self._all()
        except StoreUnavailable:
            # A disk in trouble must not blind whoever looks for the trouble.
            if not again:
                raise
            known = self._known
        if not known:
            return _without_key(address, request)
        given = _given(request)
        now_ms = int(self._utcnow().timestamp() * 1000)
        key = known.get(public_part(given) or "")
        if not is_right(given, key, now_ms) or key is None:
            words = (
                "A key is needed: send `Authorization: Bearer lantern_…`. "
                "`lantern keys add NAME` makes one."
                if not given
                else "This key is not known, was revoked, or is over."
            )
            challenge = {"WWW-Authenticate": 'Bearer realm="lantern"'}
            raise Problem(401, words, "invalid_api_key", headers=challenge)
        if scope not in key.scopes:
            words = f"The key `{key.name}` has not the scope `{scope}`."
            raise Problem(403, words, "insufficient_permissions")
        if again:
            return Caller(key.name, key)
        limits = {} if key.rate is None else self._take_turn(key, key.rate)
        await self._note(key, now_ms)
        return Caller(key.name, key, limits)

    def check_where_from(self, request: web.Request) -> Address:
        """The address a request really comes from.

        Raises:
            Problem: nothing may come from there, or it asks for a Host that this is not.
        """
        forwarded = request.headers.getall("X-Forwarded-For", [])
        trusted = self._rules.trusted_proxies
        address = client_address(request.remote or "", forwarded, trusted)
        host = request.headers.get("Host", "")
        name = host[:100].encode("ascii", "replace").decode()
        if address is None or not self._is_allowed(address):
            words = (
                f"{address or 'An address that cannot be told'} may not come in to `{name}`. "
                "`gateway.allow` lists the networks that may."
            )
            raise Problem(403, words, "ip_not_allowed")
        # A name that a foreign page had rebound to this machine would bring that page in.
        if not self._is_known_host(host):
            words = f"The Host `{name}` is not known here. Add it to `gateway.host_names`."
            raise Problem(421, words, "ip_not_allowed")
        return address

    async def _all(self) -> dict[str, ApiKey]:
        """The keys by public part, a second old at most."""
        now = asyncio.get_running_loop().time()
        # Asked at every request: a flood of them would be a flood at the disk.
        if self._read_at is not None and now - self._read_at < KEYS_S:
            return self._known
        # One read for everybody who comes meanwhile.
        async with self._reading:
            if self._read_at is None or now - self._read_at >= KEYS_S:
                self._known = {key.id: key for key in await self._keys.all()}
                self._read_at = asyncio.get_running_loop().time()
        return self._known

    def _take_turn(self, key: ApiKey, rate: RateRule) -> dict[str, str]:
        now = asyncio.get_running_loop().time()
        bucket, wait_s = take(self._buckets.get(key.id), rate, now)
        self._buckets[key.id] = bucket
        limits = {
            "x-ratelimit-limit-requests": str(rate.count),
            "x-ratelimit-remaining-requests": str(int(bucket.left)),
            "x-ratelimit-reset-requests": f"{math.ceil(full_after_s(bucket, rate))}s",
        }
        if wait_s:
            # Rounded up: whoever comes again a moment too soon is refused again.
            after_s = math.ceil(wait_s)
            words = f"The key `{key.name}` may ask again in {after_s} s."
            headers = {**limits, "Retry-After": str(after_s)}
            raise Problem(429, words, "rate_limit_exceeded", "rate_limit_exceeded", None, headers)
        return limits

    async def _note(self, key: ApiKey, now_ms: int) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._noted_at.get(key.id, -NOTED_S) < NOTED_S:
            return
        self._noted_at[key.id] = now
        # Statistics: no request fails for them.
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTE_WITHIN_S):
                    await self._keys.used(key.id, now_ms)
        except StoreUnavailable as error:
            _log.warning("key's last use not noted", key=key.name, reason=error.user_message)


def _without_key(address: Address, request: web.Request) -> Caller:
    """Where no key was made: this machine alone."""
    challenge = {"WWW-Authenticate": 'Bearer realm="lantern"'}
    make = "`lantern keys add NAME --scope inference` makes one."
    if not address.is_loopback:
        words = f"Without a key only this machine may ask. {make}"
        raise Problem(401, words, "invalid_api_key", headers=challenge)
    # A proxy beside Lantern makes the whole world look like this machine.
    if any(map(request.headers.__contains__, _OF_PROXIES)):
        words = f"Without a key nobody may ask by way of a proxy. {make}"
        raise Problem(401, words, "invalid_api_key", headers=challenge)
    return _LOOPBACK


def _given(request: web.Request) -> str:
    """The key a request shows: in a header, never in an address that ends up in logs."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    # Where Anthropic's clients put it.
    return request.headers.get("x-api-key", "").strip()
