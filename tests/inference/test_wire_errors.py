import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import FailureKind as Failure
from bot.inference.errors import Answered, classify, classify_event, reset_in_s, retry_after_s
from bot.inference.wire import Verdict

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def said(body: object, status: int, *, is_local: bool = False, **headers: str) -> Verdict:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    lower = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(Answered(status, raw, lower), is_local=is_local, now=NOW)


def zai(code: object, status: int, message: str = "…") -> tuple[object, int]:
    return {"error": {"code": code, "message": message}}, status


def openai(
    code: str | None, status: int, kind: str = "invalid_request_error"
) -> tuple[object, int]:
    return {"error": {"message": "…", "type": kind, "param": None, "code": code}}, status


def anthropic(
    kind: str, status: int, message: str = "…", error_code: str | None = None
) -> tuple[object, int]:
    details = {"error_code": error_code} if error_code else None
    error = {"type": kind, "message": message, "details": details}
    return {"type": "error", "error": error, "request_id": "req_1"}, status


CLOUD: list[tuple[object, int, object]] = [
    # auth
    (*zai("1000", 401), Failure.AUTH),
    (*zai("1001", 401), Failure.AUTH),
    (*zai("1002", 401), Failure.AUTH),
    (*zai("1003", 401), Failure.AUTH),
    (*zai("1004", 401), Failure.AUTH),
    (*zai("401", 401, "token expired or incorrect"), Failure.AUTH),
    (*zai(401, 200, "token expired or incorrect"), Failure.AUTH),
    (*zai("1110", 429), Failure.AUTH),
    (*zai("1112", 429), Failure.AUTH),
    (*zai("1121", 429), Failure.AUTH),
    (*zai("1220", 403), Failure.AUTH),
    (*openai("invalid_api_key", 401), Failure.AUTH),
    (*anthropic("authentication_error", 401), Failure.AUTH),
    (*anthropic("permission_error", 403), Failure.AUTH),
    ({}, 403, Failure.AUTH),
    # no money
    (*zai("1113", 429), Failure.NO_MONEY),
    (*zai(1113, 429), Failure.NO_MONEY),
    (*openai("credit_balance_exhausted", 429, "insufficient_quota"), Failure.NO_MONEY),
    (*openai("organization_spend_limit_exceeded", 429, "insufficient_quota"), Failure.NO_MONEY),
    (*openai("project_spend_limit_exceeded", 429, "insufficient_quota"), Failure.NO_MONEY),
    (*openai("organization_usage_limit_exceeded", 429, "insufficient_quota"), Failure.NO_MONEY),
    (*openai("insufficient_quota", 429, "insufficient_quota"), Failure.NO_MONEY),
    (*openai(None, 429, "insufficient_quota"), Failure.NO_MONEY),
    (*anthropic("billing_error", 402), Failure.NO_MONEY),
    (
        *anthropic("rate_limit_error", 429, "…", "enforced_spend_limit_reached"),
        Failure.NO_MONEY,
    ),
    (
        *anthropic("invalid_request_error", 400, "Your credit balance is too low to go on."),
        Failure.NO_MONEY,
    ),
    (
        *anthropic(
            "invalid_request_error", 400, "You have reached your specified API usage limits."
        ),
        Failure.NO_MONEY,
    ),
    ({"error": {"code": 402, "message": "Insufficient credits"}}, 402, Failure.NO_MONEY),
    # plan limit
    (*zai("1308", 429), Failure.PLAN_LIMIT),
    (*zai("1309", 429), Failure.PLAN_LIMIT),
    (*zai("1310", 429), Failure.PLAN_LIMIT),
    (*zai(1313, 429), Failure.PLAN_LIMIT),
    # rate limit
    (*zai("1302", 429), Failure.RATE_LIMIT),
    (*zai("1303", 429), Failure.RATE_LIMIT),
    (*openai("rate_limit_exceeded", 429, "tokens"), Failure.RATE_LIMIT),
    (*openai("slow_down", 429), Failure.RATE_LIMIT),
    (*anthropic("rate_limit_error", 429), Failure.RATE_LIMIT),
    ({"error": {"code": 429, "message": "Too many"}}, 429, Failure.RATE_LIMIT),
    ("<html>Too many requests</html>", 429, Failure.RATE_LIMIT),
    # overload
    (*zai("1305", 429), Failure.OVERLOAD),
    (*openai("server_is_overloaded", 503, "server_error"), Failure.OVERLOAD),
    (*anthropic("overloaded_error", 529), Failure.OVERLOAD),
    ({"error": {"code": 503, "message": "no provider"}}, 503, Failure.OVERLOAD),
    # server
    (*zai("1234", 500), Failure.SERVER),
    (*openai("server_error", 500, "server_error"), Failure.SERVER),
    (*anthropic("api_error", 500), Failure.SERVER),
    (*anthropic("timeout_error", 504), Failure.SERVER),
    ({"error": {"code": 502, "message": "upstream"}}, 502, Failure.SERVER),
    ("<html>Bad gateway</html>", 502, Failure.SERVER),
    ("<html>Service unavailable</html>", 503, Failure.SERVER),
    ("<!doctype html><title>405</title>", 405, Failure.SERVER),
    ("", 500, Failure.SERVER),
    ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, 200, Failure.SERVER),
    ("", 302, Failure.BAD_REQUEST),
    ({"error": {"type": "conflict", "message": "…"}}, 409, Failure.SERVER),
    # timeout of the upstream
    ({"error": {"code": 408, "message": "timed out"}}, 408, Failure.TIMEOUT),
    # too long
    (*zai("1261", 400), Failure.TOO_LONG),
    (*openai("context_length_exceeded", 400), Failure.TOO_LONG),
    (
        *anthropic(
            "invalid_request_error", 400, "prompt is too long: 210000 tokens > 200000 maximum"
        ),
        Failure.TOO_LONG,
    ),
    (*anthropic("request_too_large", 413), Failure.TOO_LONG),
    ("<html>413 Request Entity Too Large</html>", 413, Failure.TOO_LONG),
    ("", 413, Failure.TOO_LONG),
    (
        {"object": "error", "message": "This model's maximum context length is 4096", "code": 400},
        400,
        Failure.TOO_LONG,
    ),
    # bad request
    (*zai("1210", 400), Failure.BAD_REQUEST),
    (*zai("1211", 400), Failure.BAD_REQUEST),
    (*zai("1213", 400), Failure.BAD_REQUEST),
    (*zai("1214", 400), Failure.BAD_REQUEST),
    (*openai("unsupported_parameter", 400), Failure.BAD_REQUEST),
    (*openai("model_not_found", 404), Failure.BAD_REQUEST),
    (
        *anthropic("invalid_request_error", 400, "foo: Extra inputs are not permitted"),
        Failure.BAD_REQUEST,
    ),
    (*anthropic("not_found_error", 404), Failure.BAD_REQUEST),
    (
        {"detail": [{"loc": ["body"], "msg": "Field required", "input": {}}]},
        422,
        Failure.BAD_REQUEST,
    ),
    # refused
    (*zai("1301", 400), "refused"),
    (*openai("invalid_prompt", 400), "refused"),
    (*openai("content_filter", 400), "refused"),
    (
        *anthropic("invalid_request_error", 400, "Output blocked by content filtering policy"),
        "refused",
    ),
    (
        {"error": {"message": "Your request was rejected as a result of our safety system."}},
        400,
        "refused",
    ),
    (
        {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"]}}},
        403,
        "refused",
    ),
    # no answer at all
    ("<html>Welcome</html>", 200, Failure.GARBAGE),
    ("[]", 200, Failure.GARBAGE),
    ({"id": "1", "choices": [{"message": {"content": "hi"}}]}, 200, Failure.GARBAGE),
]


@pytest.mark.parametrize(("body", "status", "kind"), CLOUD)
def test_a_providers_error_is_told_by_its_code_before_its_status(
    body: object, status: int, kind: object
) -> None:
    assert said(body, status).kind == kind


LOCAL = [
    (
        {"error": {"type": "invalid_request", "code": "invalid_api_key", "message": "token"}},
        401,
        Failure.AUTH,
    ),
    (
        {"error": {"type": "invalid_request_error", "code": "model_not_found", "message": "no"}},
        404,
        Failure.NOT_THERE,
    ),
    (
        {"error": {"message": "No models loaded. Please load a model.", "code": None}},
        404,
        Failure.NOT_THERE,
    ),
    ({"error": "Model unloaded."}, 400, Failure.NOT_THERE),
    ({"error": {"message": 'model "x" not found, try pulling it first'}}, 400, Failure.NOT_THERE),
    (
        {
            "error": "The number of tokens to keep from the initial prompt is greater than the"
            " context length (n_keep >= n_ctx)"
        },
        400,
        Failure.TOO_LONG,
    ),
    (
        {"error": "Trying to keep the first 5000 tokens when context overflows"},
        400,
        Failure.TOO_LONG,
    ),
    (
        {"error": {"code": 400, "message": "…", "type": "exceed_context_size_error"}},
        400,
        Failure.TOO_LONG,
    ),
    (
        {"error": "Failed to load model: lower the context length, insufficient system resources"},
        400,
        Failure.LOAD_FAILED,
    ),
    ({"error": "Unexpected endpoint or method. (POST /v1/chat/completions)"}, 200, Failure.SERVER),
    ({"error": "Unexpected endpoint or method. (POST /v1/responses)"}, 200, Failure.NO_PATH),
    (
        {"error": {"type": "api_error", "message": "greater than the context length (n_keep: 9)"}},
        500,
        Failure.TOO_LONG,
    ),
    ({"error": "Internal server error"}, 500, Failure.SERVER),
    ({"error": {"message": "Loading model", "type": "unavailable_error"}}, 503, Failure.OVERLOAD),
    ({"error": "'messages' field is required"}, 400, Failure.BAD_REQUEST),
    (
        {"error": "Assistant response prefill is incompatible with enable_thinking."},
        500,
        Failure.BAD_REQUEST,
    ),
    ({"error": "Error rendering prompt with jinja template: x"}, 500, Failure.BAD_REQUEST),
    ({"error": "Failed to parse the prompt template"}, 500, Failure.BAD_REQUEST),
    ({"error": "No user query found in messages."}, 500, Failure.BAD_REQUEST),
    ({"error": "The ninja broke"}, 500, Failure.SERVER),
    ("\x00<<garbage>> }{", 200, Failure.GARBAGE),
    ("Cannot POST /v1/chat/completions", 404, Failure.SERVER),
    ("[" * 100_000, 500, Failure.SERVER),
]


@pytest.mark.parametrize(("body", "status", "kind"), LOCAL)
def test_a_local_hosts_error_is_told_by_code_status_and_last_by_its_words(
    body: object, status: int, kind: object
) -> None:
    assert said(body, status, is_local=True).kind == kind


EVENTS: list[tuple[dict[str, object], object]] = [
    ({"error": {"message": "Compute error."}, "message": "Compute error."}, Failure.CUT),
    ({"error": {"code": "1305", "message": "busy"}}, Failure.OVERLOAD),
    ({"error": {"code": 502, "message": "Upstream"}, "choices": []}, Failure.SERVER),
    ({"error": {"code": 429, "message": "slow"}}, Failure.RATE_LIMIT),
    ({"error": "tokens to keep from the initial prompt (n_keep >= n_ctx)"}, Failure.TOO_LONG),
    ({"error": {"code": "CONTEXT_LENGTH_EXCEEDED", "message": "…"}}, Failure.TOO_LONG),
    ({"error_type": "context_length_exceeded", "error_message": "…"}, Failure.TOO_LONG),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "…"}}, Failure.OVERLOAD),
    ({"object": "error", "message": "engine died", "code": 500}, Failure.SERVER),
    ({"error": {"code": "1301", "message": "…"}}, "refused"),
]


@pytest.mark.parametrize(("event", "kind"), EVENTS)
def test_an_error_inside_a_stream_is_a_cut_unless_it_says_more(
    event: dict[str, object], kind: object
) -> None:
    verdict = classify_event(event, is_local=True)
    assert verdict is not None
    assert verdict.kind == kind


@pytest.mark.parametrize(
    "event", [{}, {"choices": [], "message": "x"}, {"error": None}, {"message": {}}]
)
def test_an_event_that_complains_of_nothing_is_no_error(event: dict[str, object]) -> None:
    assert classify_event(event, is_local=True) is None


def test_the_verdict_keeps_the_code_and_the_reason_of_the_other_side() -> None:
    verdict = said(*zai("1305", 429, "The service is busy"))
    assert (verdict.code, verdict.reason) == ("1305", "The service is busy")
    assert said("", 502).code == "502"
    assert said({"error": "x"}, 200).code is None


def test_a_status_that_speaks_for_itself_is_believed_before_any_words() -> None:
    assert said({"error": {"message": "model x not found"}}, 401).kind is Failure.AUTH


def test_a_code_is_no_status_beyond_those_of_http_and_never_a_truth() -> None:
    assert said({"error": {"code": "999", "message": "…"}}, 429).kind is Failure.RATE_LIMIT
    assert said({"error": {"code": "600", "message": "…"}}, 429).kind is Failure.RATE_LIMIT
    assert said({"error": {"code": "0500", "message": "…"}}, 429).kind is Failure.RATE_LIMIT
    # Python reads no number of so many digits, and raised.
    assert said({"error": {"code": "9" * 5000, "message": "…"}}, 429).kind is Failure.RATE_LIMIT
    assert said({"error": {"code": True, "type": "overloaded_error"}}, 529).code == (
        "overloaded_error"
    )


@pytest.mark.parametrize("body", ["<html>Moved</html>", "", {"message": "Moved"}])
@pytest.mark.parametrize(("status", "kind"), [(300, 0), (399, 0), (299, 1), (400, 2)])
def test_a_redirect_is_a_wrong_address_of_a_provider_and_a_fault_of_a_host(
    body: object, status: int, kind: int
) -> None:
    if kind == 0:
        away = said(body, status)
        assert away.kind is Failure.BAD_REQUEST
        assert away.reason == ("Moved" if body == {"message": "Moved"} else REDIRECT % status)
        assert said(body, status, is_local=True).kind is Failure.SERVER
    else:
        assert "redirect" not in said(body, status).reason


REDIRECT = "HTTP %d, a redirect, which is not followed"


def test_the_most_telling_code_comes_first() -> None:
    body, status = anthropic("rate_limit_error", 429, "…", "enforced_spend_limit_reached")
    assert said(body, status).code == "enforced_spend_limit_reached"


def test_a_code_written_before_the_text_is_read() -> None:
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "[1310][Limit]"}}
    # The type is a code too, and it says less: the number must not be lost behind it.
    assert said(body, 429).kind is Failure.PLAN_LIMIT


def test_a_wrong_endpoint_for_the_key_is_named_beside_an_empty_balance() -> None:
    assert "another endpoint" in said(*zai("1113", 429, "Insufficient balance")).reason


HEADERS: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"retry-after": "7"}, 7.0),
    ({"retry-after": "0.5"}, 0.5),
    ({"retry-after": "-3"}, None),
    ({"retry-after": "0"}, 0.0),
    ({"retry-after": "2678400"}, 2678400.0),
    ({"retry-after": "2678401"}, None),
    ({"retry-after": "1e300"}, None),
    ({"retry-after-ms": "-1", "retry-after": "7"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": ""}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after-ms": "1500"}, 1.5),
    ({"retry-after-ms": "1500", "retry-after": "60"}, 1.5),
    ({"retry-after-ms": "x", "retry-after": "60"}, 60.0),
    ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, 30.0),
    ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
    ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
    # Each raised what nobody expected of a date.
    ({"retry-after": "Fri, 20 Nov 99999999999999999999 12:00:30 GMT"}, None),
    ({"retry-after": "Fri, 20 Nov 2026 12:00:30 +99999999999999999999"}, None),
    (
        {"retry-after": "Fri, 20 Nov 2026 10:00:10 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"},
        10.0,
    ),
]


@pytest.mark.parametrize(("headers", "seconds"), HEADERS)
def test_the_wait_asked_for_is_read_from_the_headers(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers, NOW) == seconds


def test_a_date_means_nothing_without_a_clock() -> None:
    assert retry_after_s({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}) is None


@given(st.text(max_size=40))
def test_no_header_breaks_the_reading(value: str) -> None:
    seconds = retry_after_s({"retry-after": value, "retry-after-ms": value, "date": value}, NOW)
    assert seconds is None or seconds >= 0


def test_the_wait_reaches_the_verdict() -> None:
    assert said(*zai("1302", 429), retry_after="4").retry_after_s == 4.0
    assert said("<html>", 429, retry_after="4").retry_after_s == 4.0


RESETS = [
    # Z.AI writes Beijing time: 22:00 there is 14:00 UTC.
    ("Usage limit reached for 5 hour. Your limit will reset at 2026-11-20 22:00:00", 7200.0),
    ("You will regain access on 2026-12-01 at 00:00 UTC.", 10.5 * 86400),
    ("Your limit will reset at 2026-11-20 13:00:00", None),
    ("Your limit will reset at 2026-99-99 13:00:00", None),
    ("Your limit will reset soon", None),
    ("Your limit will reset at 9999-12-31 22:00:00", None),
]


@pytest.mark.parametrize(("message", "seconds"), RESETS)
def test_a_plans_reset_time_is_read_from_its_text(message: str, seconds: float | None) -> None:
    assert reset_in_s(message, {}, NOW) == seconds
    assert said(*zai("1308", 429, message)).retry_after_s == seconds
