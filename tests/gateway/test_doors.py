"""Who is let in, in which order the doors stand, and what those outside are told."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from itertools import product
from pathlib import Path
from typing import cast

import pytest
from rows import each_told

from bot.app import utcnow
from bot.domain.errors import ConfigError
from bot.gateway import doors
from bot.gateway.connections import ConnectionLimits
from bot.gateway.doors import DoorRules
from bot.gateway.pages import PREFIX
from bot.gateway.server import GatewayRules, gateway
from bot.policy.keys import ApiKey
from bot.policy.ratelimit import RateRule
from bot.sim.journal import PredictionStarted
from bot.store.keys import KeyStore
from tests.gateway.gate import LOOPBACK, Gate, chat, gate
from tests.gateway.raw import GUARD_S, at, read_reply, request
from tests.helpers.house import GEMMA, QWEN, house, sim

LOCAL = (ip_network("127.0.0.0/8"),)
CHAT = "/v1/chat/completions"
LARGE = 1 << 20
PROXIED = GatewayRules(
    doors=DoorRules((ip_network("10.0.0.0/8"),), LOCAL, ("box.lan",)),
    max_body=LARGE,
    limits=ConnectionLimits(lingering_s=0.1),
)

OUTSIDE = "X-Forwarded-For: 203.0.113.9"
INSIDE = "X-Forwarded-For: 203.0.113.9, 10.0.0.9"
TEXT, JSON = "Content-Type: text/plain", "Content-Type: application/json"
HUGE, SMALL = f"Content-Length: {LARGE + 1}", "Content-Length: 1"


async def first_reply(base: str, data: bytes) -> tuple[int, str]:
    """Status and code of what is said before a body was sent."""
    async with asyncio.timeout(GUARD_S):
        reader, writer = await asyncio.open_connection(*at(base))
        writer.write(data)
        reply = await read_reply(reader)
        writer.close()
    assert reply is not None
    return reply.status, "" if reply.status == 100 else str(reply.error["code"])


async def test_each_door_is_asked_before_the_next_and_all_before_the_body(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), rules=PROXIED) as it:
        metrics = f"Authorization: {await it.key('scraper', 'metrics')}"
        good = f"Authorization: {await it.key('editor')}"
        wrong = f"Authorization: Bearer lantern_{'x' * 40}"
        steps = [
            (OUTSIDE, "evil.lan", wrong, "/v1/no", TEXT, HUGE, 403, "ip_not_allowed"),
            (INSIDE, "evil.lan", wrong, "/v1/no", TEXT, HUGE, 421, "ip_not_allowed"),
            (INSIDE, "box.lan", wrong, "/v1/no", TEXT, HUGE, 401, "invalid_api_key"),
            (INSIDE, "box.lan", metrics, "/v1/no", TEXT, HUGE, 403, "insufficient_permissions"),
            (INSIDE, "box.lan", good, "/v1/no", TEXT, HUGE, 404, "unknown_url"),
            (INSIDE, "box.lan", good, CHAT, TEXT, HUGE, 415, "None"),
            (INSIDE, "box.lan", good, CHAT, JSON, HUGE, 413, "request_too_large"),
            (INSIDE, "box.lan", good, CHAT, JSON, SMALL, 100, ""),
        ]
        for whence, host, key, path, kind, size, status, code in steps:
            data = request(path, whence, key, kind, size, "Expect: 100-continue", host=host)
            assert await first_reply(it.base, data) == (status, code)


async def test_a_body_that_was_waited_for_is_answered(tmp_path: Path) -> None:
    body = json.dumps(chat(QWEN.key, max_tokens=2)).encode()
    async with gate(tmp_path, sim("one", QWEN)) as it, asyncio.timeout(GUARD_S):
        reader, writer = await asyncio.open_connection(*at(it.base))
        for _ in range(2):
            writer.write(
                request(CHAT, JSON, f"Content-Length: {len(body)}", "Expect: 100-Continue")
            )
            called = await read_reply(reader)
            assert called is not None
            assert called.status == 100
            writer.write(body)
            answer = await read_reply(reader)
            assert answer is not None
            assert answer.status == 200
            # Whatever is added to every answer is added here as well.
            assert answer.headers["server"] == "Lantern"
        writer.close()


async def test_a_key_is_shown_in_a_header_alone(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        bearer = await it.key("editor")
        key = bearer.removeprefix("Bearer ")
        good = [
            {"Authorization": bearer},
            {"authorization": f"bearer {key}"},
            {"Authorization": f"BEARER   {key} "},
            {"x-api-key": key},
            {"X-API-KEY": f" {key} "},
            {"Authorization": "Basic Zm9v", "x-api-key": key},
            {"Authorization": "Bearer ", "x-api-key": key},
        ]
        for headers in good:
            assert (await it.ask("/v1/models", method="GET", **headers)).status == 200
        bad: list[tuple[str, dict[str, str]]] = [
            ("/v1/models", {}),
            (f"/v1/models?key={key}&api_key={key}&access_token={key}", {}),
            ("/v1/models", {"Cookie": f"key={key}; Authorization={bearer}"}),
            ("/v1/models", {"Authorization": key}),
            ("/v1/models", {"Authorization": f"Basic {key}"}),
            ("/v1/models", {"Authorization": f"Bearer {key[:-1]}"}),
            ("/v1/models", {"Authorization": f"Bearer {key}x"}),
            ("/v1/models", {"Authorization": f"Bearer {key.swapcase()}"}),
            ("/v1/models", {"Authorization": f"Bearer {key[:16]}{'x' * 32}"}),
            # What is shown first counts; a right key behind a wrong one opens nothing.
            ("/v1/models", {"Authorization": f"Bearer lantern_{'x' * 40}", "x-api-key": key}),
        ]
        for path, headers in bad:
            answer = await it.ask(path, method="GET", **headers)
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            assert answer.error["type"] == "invalid_request_error"
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert key[16:] not in answer.body.decode()


async def test_a_key_that_was_revoked_or_is_over_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        keys = KeyStore(it.house.lantern.database)
        bearer, other = await it.key("editor"), await it.key("other")
        assert (await it.ask("/v1/models", method="GET", Authorization=bearer)).status == 200
        await keys.revoke("editor")
        # Known for a second more at most: what was read lately spares a read for each request.
        monkeypatch.setattr(doors, "KEYS_S", 0.0)
        assert (await it.ask("/v1/models", method="GET", Authorization=bearer)).status == 401
        assert (await it.ask("/v1/models", method="GET", Authorization=other)).status == 200
        now = utcnow()
        for name, expires, status in (
            ("past", now - timedelta(seconds=1), 401),
            ("coming", now + timedelta(hours=1), 200),
        ):
            shown = await it.key(name)
            [key] = [key for key in await keys.all() if key.name == name]
            await keys.revoke(name)
            await keys.add(replace(key, expires_at_ms=int(expires.timestamp() * 1000)))
            answer = await it.ask("/v1/models", method="GET", Authorization=shown)
            assert answer.status == status


async def test_keys_are_read_once_a_second_by_however_many(tmp_path: Path) -> None:
    assert doors.KEYS_S <= 1.0
    async with gate(tmp_path, sim("one", QWEN)) as it:
        bearer = await it.key("editor")
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(it.ask("/v1/models", method="GET", Authorization=bearer))
                for _ in range(20)
            ]
        assert {task.result().status for task in asked} == {200}
        [key] = await KeyStore(it.house.lantern.database).all()
        assert key.last_used_ms is not None


async def test_a_locked_database_holds_up_nobody_for_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "NOTE_WITHIN_S", 0.0)
    async with gate(tmp_path, sim("one", QWEN)) as it:
        bearer, database = await it.key("editor"), it.house.lantern.database
        with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            # Below the half minute for which a write waits for a lock.
            async with asyncio.timeout(15):
                answer = await it.ask("/v1/models", method="GET", Authorization=bearer)
            assert answer.status == 200
            other.execute("ROLLBACK")
        # Writes go one after the other: what was asked for before has come to its end.
        await database.write(lambda connection: None)
        [key] = await KeyStore(database).all()
        assert key.last_used_ms is not None


@pytest.mark.parametrize(
    ("patterns", "models", "may_chat"),
    [
        (
            ("*",),
            [GEMMA.key, QWEN.key, "any", "calm", "sage"],
            {QWEN.key, "calm", "sage", "any", ""},
        ),
        (("qwen/*",), [QWEN.key, "calm"], {QWEN.key, "calm"}),
        (("sage",), ["sage"], {"sage"}),
        (("a*",), ["any"], {"any"}),
        (("mistral/*",), [], set[str]()),
    ],
)
async def test_a_key_is_for_the_models_it_names(
    tmp_path: Path, patterns: tuple[str, ...], models: list[str], may_chat: set[str]
) -> None:
    personas = {
        "calm": f"model: {QWEN.key}",
        "sage": f"model: {QWEN.key}\nalternatives: [{GEMMA.key}]",
        "any": "system_prompt: whoever",
    }
    async with gate(tmp_path, sim("one", QWEN, GEMMA), personas=personas) as it:
        bearer = await it.key("narrow", models=patterns)
        listed = await it.ask("/v1/models", method="GET", Authorization=bearer)
        data = cast(list[dict[str, str]], listed.json["data"])
        listed_names = {entry["id"] for entry in data} - {"default"}
        assert listed_names == set(models)
        for name in (QWEN.key, "calm", "sage", "any", ""):
            body = chat(name or None, max_tokens=1)
            answer = await it.ask(CHAT, body, Authorization=bearer)
            assert (answer.status == 200) is (name in may_chat), name
            if name not in may_chat:
                assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
                assert answer.error["param"] == "model"
            if not name and name not in may_chat:
                assert answer.error["message"] == (
                    "The request names no model, and the key `narrow` is not for every model. "
                    "Name one that `GET /v1/models` lists."
                )
        # No word of a model that is not for it.
        unknown = await it.ask(CHAT, chat("gemma-3-4c"), Authorization=bearer)
        assert (GEMMA.key in str(unknown.error["message"])) is (GEMMA.key in models)
        asked = it.house.hosts["one"].journal.of(PredictionStarted)
        assert len(asked) == len(may_chat)


async def test_only_a_key_with_a_limit_is_told_of_it(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        free = await it.key("free")
        keys = KeyStore(it.house.lantern.database)
        limited = await it.key("limited")
        [key] = [key for key in await keys.all() if key.name == "limited"]
        await keys.revoke("limited")
        await keys.add(replace(key, rate=RateRule(2, 3600.0)))
        body = chat(QWEN.key, max_tokens=1, stream=True)
        for left in ("1", "0"):
            answer = await it.ask(CHAT, body, Authorization=limited)
            assert answer.status == 200
            assert answer.headers["x-ratelimit-limit-requests"] == "2"
            assert answer.headers["x-ratelimit-remaining-requests"] == left
        assert answer.headers["x-ratelimit-reset-requests"] == "3600s"
        refused = await it.ask(CHAT, body, Authorization=limited)
        assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
        assert refused.error["type"] == "rate_limit_exceeded"
        assert 1700 < int(refused.headers["retry-after"]) <= 1800
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        unlimited = await it.ask(CHAT, body, Authorization=free)
        assert unlimited.status == 200
        assert not any("ratelimit" in name for name in unlimited.headers)


async def test_what_the_door_lets_in_counts_for_a_rate_and_what_it_turns_away_does_not(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        keys = KeyStore(it.house.lantern.database)
        limited = await it.key("limited")
        [key] = await keys.all()
        await keys.revoke("limited")
        await keys.add(replace(key, rate=RateRule(3, 3600.0)))
        unknown, nothing = chat("nobody/has-this"), chat(QWEN.key, max_tokens=1)
        wanted: list[tuple[str, object, int, str | None]] = [
            ("/v1/models", None, 200, "2"),
            ("/admin/keys", None, 403, None),
            (CHAT, unknown, 404, "1"),
            (CHAT, nothing, 200, "0"),
            ("/v1/models", None, 429, "0"),
        ]
        for path, body, status, left in wanted:
            method = "GET" if body is None else "POST"
            answer = await it.ask(path, body, method=method, Authorization=limited)
            told = answer.headers.get("x-ratelimit-remaining-requests")
            assert (path, answer.status, told) == (path, status, left)


async def test_forged_forwarding_lets_nobody_in_or_out(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), rules=PROXIED) as it:
        bearer = await it.key("editor")

        async def status(*lines: str) -> int:
            headers = [f"X-Forwarded-For: {line}" for line in lines]
            data = request("/v1/models", *headers, f"Authorization: {bearer}", method="GET")
            async with asyncio.timeout(GUARD_S):
                reader, writer = await asyncio.open_connection(*at(it.base))
                writer.write(data)
                reply = await read_reply(reader)
                writer.close()
            assert reply is not None
            return reply.status

        assert await status("10.0.0.9") == 200
        assert await status("203.0.113.9", "10.0.0.9") == 200
        assert await status("10.0.0.9", "203.0.113.9") == 403
        assert await status("10.0.0.9, 203.0.113.9") == 403
        assert await status("10.0.0.9, 203.0.113.9, 127.0.0.1") == 403
        assert await status("10.0.0.9, junk") == 403
        assert await status("10.0.0.9,") == 403
        assert await status("") == 403
        # The proxy itself is in no network that may come in.
        assert await status() == 403


async def test_other_forwarding_headers_mean_nothing(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), rules=PROXIED) as it:
        bearer = await it.key("editor")
        for name in ("X-Real-IP", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP"):
            answer = await it.ask(
                "/v1/models", method="GET", Authorization=bearer, **{name: "10.0.0.9"}
            )
            assert (answer.status, answer.error["code"]) == (403, "ip_not_allowed")
            asked_for = it.base.removeprefix("http://")
            assert answer.error["message"] == (
                f"127.0.0.1 may not come in to `{asked_for}`. "
                "`gateway.allow` lists the networks that may."
            )
        answer = await it.ask(
            "/v1/models", method="GET", Authorization=bearer, Forwarded="for=10.0.0.9"
        )
        assert answer.status == 403


async def test_without_a_key_only_this_machine_itself_may_ask(tmp_path: Path) -> None:
    rules = GatewayRules(doors=DoorRules((ip_network("0.0.0.0/0"),), LOCAL))
    async with gate(tmp_path, sim("one", QWEN), rules=rules) as it:
        assert (await it.ask("/v1/models", method="GET")).status == 200
        forwarded = await it.ask("/v1/models", method="GET", X_Forwarded_For="10.0.0.9")
        assert (forwarded.status, forwarded.error["code"]) == (401, "invalid_api_key")
        assert forwarded.headers["www-authenticate"].startswith("Bearer ")
        assert "only this machine may ask" in str(forwarded.error["message"])
        assert "lantern keys add" in str(forwarded.error["message"])
        # Beside a proxy the whole world would look like this machine.
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"):
            answer = await it.ask("/v1/models", method="GET", **{name: "127.0.0.1"})
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_a_foreign_name_is_told_how_it_becomes_known(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        for host in ("evil.example", "evil.example:80", "127.0.0.1.nip.io", ""):
            answer = await it.ask("/v1/models", method="GET", Host=host)
            assert (answer.status, answer.error["code"]) == (421, "ip_not_allowed")
            assert "gateway.host_names" in str(answer.error["message"])
        for host in ("localhost", "LOCALHOST:1", "[::1]:8400", "10.9.8.7"):
            assert (await it.ask("/v1/models", method="GET", Host=host)).status == 200


async def test_no_other_site_acts_on_admin(tmp_path: Path) -> None:
    sites: list[tuple[dict[str, str], bool]] = [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://localhost:8400"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://localhost:3000"}, False),
    ]
    async with gate(tmp_path, sim("one", QWEN)) as it:
        with each_told() as row:
            for headers, is_let_in in sites:
                with row(headers=headers, is_let_in=is_let_in):
                    answer = await it.ask("/admin/nothing", Host="localhost:8400", **headers)
                    told = (404, "unknown_url") if is_let_in else (403, "insufficient_permissions")
                    assert (answer.status, answer.error["code"]) == told
                    # A page that is let in by `cors_origins`, or a client that sends an Origin,
                    # may ask /v1.
                    assert (await it.ask("/v1/models", method="GET", **headers)).status == 200


async def test_a_wider_address_needs_a_key_first(tmp_path: Path) -> None:
    rules = GatewayRules(doors=LOOPBACK, host="0.0.0.0", port=0)
    async with house(tmp_path, sim("one", QWEN)) as built:
        with pytest.raises(ConfigError) as refused:
            async with gateway(built.lantern, rules, utcnow):
                pass
        assert "lantern keys add" in str(refused.value)
        await KeyStore(built.lantern.database).add(ApiKey("a" * 8, "one", "0" * 64))
        async with gateway(built.lantern, rules, utcnow) as base:
            assert base.startswith("http://0.0.0.0:")


async def refused_by(it: Gate, scope: str) -> tuple[int, str]:
    answer = await it.ask("/admin/x", Authorization=scope)
    return answer.status, str(answer.error["code"])


async def test_each_scope_opens_its_own_paths(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        inference, admin = await it.key("i"), await it.key("a", "admin")
        assert await refused_by(it, inference) == (403, "insufficient_permissions")
        assert await refused_by(it, admin) == (404, "unknown_url")
        for path in ("/v1/models", "/nothing", "/adminx"):
            answer = await it.ask(path, method="GET", Authorization=admin)
            assert answer.error["code"] == "insufficient_permissions"
        answer = await it.ask("/metrics", method="GET", Authorization=admin)
        assert answer.error["code"] == "insufficient_permissions"


async def test_no_way_leads_from_an_open_path_behind_a_door(tmp_path: Path) -> None:
    open_paths = (PREFIX, "/healthz/", "/readyz/")
    ways = ("../", "%2e%2e/", "..%2f", "..;/", "/../")
    async with gate(tmp_path, sim("one", QWEN)) as it:
        await it.key("editor")
        with each_told() as row:
            for way in product(open_paths, ways, ("admin/status", "v1/models", "metrics")):
                with row(way=way):
                    data = request("".join(way), method="GET")
                    assert (await first_reply(it.base, data))[0] in (401, 404)


async def test_the_pages_files_come_with_a_strict_policy_and_nothing_else_is_served(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        page = await it.ask("/", method="GET")
        policy = page.headers["content-security-policy"].split("; ")
        wanted = ("default-src", "base-uri", "form-action", "frame-ancestors")
        assert {f"{name} 'none'" for name in wanted} < set(policy)
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in " ".join(policy)
        assert page.headers["x-content-type-options"] == "nosniff"
        again = await it.ask("/", method="GET", If_None_Match=page.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        for wrong in ("/page/../server.py", "/page/%2e%2e/server.py", "/page/vendor/preact.js"):
            assert (await it.ask(wrong, method="GET")).status == 404
