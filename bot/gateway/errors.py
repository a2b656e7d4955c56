"""What goes wrong, in OpenAI's error object; all four keys, always, whatever the status."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from bot.domain.errors import (
    BotError,
    FailureKind,
    Interrupted,
    KeyEnded,
    NoCandidates,
    NotPermitted,
    Refused,
    RequestCancelled,
    RequestRefused,
    StoreUnavailable,
    Unavailable,
    UnknownName,
)

RETRY_S = 5
"""Told where nobody knows better; every official client comes again by itself after it."""
MOST_RETRY_S = 120
"""openai-python obeys no longer wait: it would give up."""
QUOTA_S = 3600
"""A spent budget is whole again at midnight; nobody knows whose."""

_BAD, _SERVER = "invalid_request_error", "server_error"
# Official clients repeat 408, 409, 429 and all from 500 on: a repeated load is a second load.
NEVER_AGAIN = {"x-should-retry": "false"}


# Not frozen: contextlib writes an exception's traceback.
@dataclass(eq=False)
class Problem(Exception):
    """One refusal or failure, as a client is told it."""

    status: int
    message: str
    code: str | None = None
    type: str = _BAD
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def body(self) -> dict[str, object]:
        """OpenAI's object."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def answer(self, *, is_anthropic: bool = False) -> web.Response:
        """The whole HTTP answer."""
        body = self.anthropic() if is_anthropic else self.body()
        return web.Response(
            status=self.status,
            body=json.dumps(body).encode(),
            content_type="application/json",
            headers=self.headers,
        )

    def anthropic(self) -> dict[str, object]:
        """Anthropic's object, for its own path."""
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            413: "request_too_large",
            429: "rate_limit_error",
            503: "overloaded_error",
        }
        kind = kinds.get(self.status, "api_error" if self.status >= 500 else kinds[400])
        return {"type": "error", "error": {"type": kind, "message": self.message}}


_ROWS: tuple[tuple[type[BotError], int, str | None, str | None], ...] = (
    (UnknownName, 404, "model_not_found", "model"),
    (Refused, 400, "content_filter", "messages"),
    # What official clients repeat by themselves would come again as soon as it was ended.
    (RequestCancelled, 499, "cancelled", None),
    (KeyEnded, 401, "invalid_api_key", None),
    (NotPermitted, 403, "insufficient_permissions", None),
    (RequestRefused, 400, None, None),
    (Interrupted, 502, "upstream_error", None),
    (Unavailable, 502, "upstream_error", None),
    (StoreUnavailable, 503, "overloaded", None),
    (BotError, 500, "internal_error", None),
)
"""Status, code and parameter; the first class that fits counts."""


def problem_of(error: BaseException) -> Problem:
    """What a client is told of an error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, NoCandidates):
        return _nobody(error)
    for kind, status, code, param in _ROWS:
        if isinstance(error, kind):
            is_ours = status >= 500
            headers = _after(None) if status == 503 else {}
            type_ = _SERVER if is_ours else _BAD
            return Problem(status, error.user_message, code, type_, param, headers)
    words = "Something went wrong inside Lantern; it is logged."
    return Problem(500, words, "internal_error", _SERVER)


def _nobody(error: NoCandidates) -> Problem:
    kinds, words, after = set(error.kinds), error.user_message, _after(error.retry_after_s)
    if kinds & {FailureKind.BUSY}:
        # One who was only busy may answer the next time, whatever the others failed of.
        code = "model_loading" if error.is_loading else "overloaded"
        return Problem(503, words, code, _SERVER, headers=after)
    if kinds & {FailureKind.LOAD_FAILED, FailureKind.DOES_NOT_FIT}:
        return Problem(503, words, "model_load_failed", _SERVER, headers=NEVER_AGAIN)
    if kinds & {FailureKind.BUDGET}:
        quota = "insufficient_quota"
        if error.renews_in_s == math.inf:
            # A whole day of it is too little: what was asked would be refused then as well.
            return Problem(429, words, quota, quota, headers=NEVER_AGAIN)
        wait_s = QUOTA_S if error.renews_in_s is None else math.ceil(error.renews_in_s)
        return Problem(429, words, quota, quota, headers={"Retry-After": str(wait_s)})
    if error.is_askers_fault:
        # Whoever read it refused it: repeated three times by each client, it was refused again.
        if FailureKind.BAD_REQUEST in kinds:
            return Problem(400, words)
        if FailureKind.TOO_LONG in kinds:
            # Also where the others have not the path: a shorter one would be answered.
            return Problem(400, words, "context_length_exceeded", param="messages")
        return Problem(400, words, "unsupported_endpoint")
    if kinds:
        return Problem(502, words, "upstream_error", _SERVER)
    return Problem(503, words, "no_host", _SERVER, headers=after)


def _after(seconds: float | None) -> dict[str, str]:
    wait_s = RETRY_S if seconds is None else min(MOST_RETRY_S, max(1, math.ceil(seconds)))
    return {"Retry-After": str(wait_s)}
