"""Pages in browsers: none may ask, but those configured, and these /v1 alone."""

from pathlib import Path

from rows import each_told

from bot.gateway.server import GatewayRules
from tests.gateway.gate import LOOPBACK, chat, gate
from tests.helpers.house import QWEN, sim

PAGE = "https://chat.lan"
OPEN = GatewayRules(doors=LOOPBACK, cors_origins=frozenset({PAGE}))
CHAT = "/v1/chat/completions"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


def allowed(headers: dict[str, str]) -> list[str]:
    return [name for name in headers if name.startswith("access-control")]


async def test_a_configured_page_may_ask_and_read_what_it_needs(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), rules=OPEN) as it:
        key = await it.key("page")
        for body in (chat(QWEN.key, max_tokens=1), chat(QWEN.key, max_tokens=1, stream=True)):
            answer = await it.ask(CHAT, body, Authorization=key, Origin=PAGE)
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == PAGE
            exposed = answer.headers["access-control-expose-headers"].lower()
            assert {"x-lantern-route", "x-request-id", "request-id"} <= set(exposed.split(", "))
            assert "access-control-allow-credentials" not in answer.headers
            assert answer.headers["vary"] == "Origin"
        # What went wrong must be readable for the page as well.
        for refused in (
            await it.ask(CHAT, b"{", Authorization=key, Origin=PAGE),
            await it.ask("/v1/nothing", Authorization=key, Origin=PAGE),
            await it.ask(CHAT, b"{}", Origin=PAGE),
        ):
            assert refused.headers["access-control-allow-origin"] == PAGE


async def test_a_browser_asks_without_a_key_whether_its_page_may(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), rules=OPEN) as it:
        await it.key("page")
        more = {
            "Access-Control-Request-Headers": "authorization, x-stainless-os,cookie,x-stainless-é"
        }
        answer = await it.ask(CHAT, method="OPTIONS", Origin=PAGE, **(PREFLIGHT | more))
        assert answer.status == 204
        assert answer.body == b""
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["access-control-allow-methods"] == "GET, POST"
        assert answer.headers["access-control-allow-headers"].split(", ") == [
            "authorization",
            "content-type",
            "x-api-key",
            "x-stainless-os",
        ]
        assert "access-control-allow-credentials" not in answer.headers
        assert (await it.ask(CHAT, method="OPTIONS", Origin=PAGE)).status == 401
        foreign = await it.ask(CHAT, method="OPTIONS", Origin=PAGE, Host="evil.lan", **PREFLIGHT)
        assert foreign.status == 421


async def test_nobody_and_nothing_else(tmp_path: Path) -> None:
    others = [
        (CHAT, "https://evil.lan"),
        (CHAT, "https://chat.lan.evil.lan"),
        (CHAT, "http://chat.lan"),
        (CHAT, "https://chat.lan:444"),
        (CHAT, "https://CHAT.lan"),
        (CHAT, "null"),
        (CHAT, ""),
        ("/admin/models", PAGE),
        ("/v1", PAGE),
        ("/", PAGE),
        ("/metrics", PAGE),
    ]
    async with gate(tmp_path, sim("one", QWEN), rules=OPEN) as it:
        await it.key("page")
        with each_told() as row:
            for path, origin in others:
                with row(path=path, origin=origin):
                    asked = await it.ask(path, method="OPTIONS", Origin=origin, **PREFLIGHT)
                    assert asked.status in (401, 403, 405)
                    assert allowed(asked.headers) == []
                    assert allowed((await it.ask(path, b"{}", Origin=origin)).headers) == []


async def test_no_page_at_all_unless_one_is_configured(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        asked = await it.ask(CHAT, method="OPTIONS", Origin=PAGE, **PREFLIGHT)
        assert asked.status == 405
        assert allowed(asked.headers) == []
        answer = await it.ask(CHAT, chat(QWEN.key, max_tokens=1), Origin=PAGE)
        assert answer.status == 200
        assert allowed(answer.headers) == []
