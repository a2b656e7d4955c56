"""What a client is told where nobody could answer, by why each of those asked could not."""

from math import inf

import pytest

from bot.chat.flights import outcome_of
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
from bot.gateway.errors import NEVER_AGAIN, problem_of
from tests.gateway.gate import kind_of

K = FailureKind
QUOTA = "insufficient_quota"


@pytest.mark.parametrize(
    ("kinds", "status", "code"),
    [
        ((), 503, "no_host"),
        ((K.BUSY,), 503, "overloaded"),
        ((K.BUSY, K.BAD_REQUEST), 503, "overloaded"),
        ((K.CONNECT,), 502, "upstream_error"),
        # A host that broke has judged nothing; the one that read the request refused it.
        ((K.BAD_REQUEST,), 400, None),
        ((K.CONNECT, K.BAD_REQUEST), 400, None),
        ((K.BAD_REQUEST, K.TIMEOUT, K.CUT, K.STALL, K.SERVER, K.GARBAGE, K.AUTH), 400, None),
        ((K.BAD_REQUEST, K.NO_PATH), 400, None),
        ((K.BAD_REQUEST, K.NO_PATH, K.CONNECT), 400, None),
        ((K.BAD_REQUEST, K.TOO_LONG), 400, None),
        ((K.BAD_REQUEST, K.TOO_LONG, K.NO_PATH), 400, None),
        ((K.BAD_REQUEST, K.TOO_LONG, K.CONNECT), 502, "upstream_error"),
        # These may well take it the next time.
        ((K.BAD_REQUEST, K.WRONG_MODEL), 502, "upstream_error"),
        ((K.BAD_REQUEST, K.OVERLOAD), 502, "upstream_error"),
        ((K.TOO_LONG,), 400, "context_length_exceeded"),
        # The other may read more, once it is back.
        ((K.TOO_LONG, K.CONNECT), 502, "upstream_error"),
        # Whoever has the path would read a shorter one.
        ((K.TOO_LONG, K.NO_PATH), 400, "context_length_exceeded"),
        ((K.TOO_LONG, K.NO_PATH, K.CUT), 502, "upstream_error"),
        ((K.LOAD_FAILED, K.CONNECT), 503, "model_load_failed"),
        ((K.NO_PATH,), 400, "unsupported_endpoint"),
        ((K.NO_PATH, K.CONNECT), 502, "upstream_error"),
        ((K.BUDGET, K.CONNECT), 429, "insufficient_quota"),
    ],
)
def test_the_status_says_whether_it_is_worth_asking_again(
    kinds: tuple[FailureKind, ...], status: int, code: str | None
) -> None:
    error = NoCandidates("Nobody.", kinds)
    found = problem_of(error)
    assert (found.status, found.code) == (status, code)
    # What is its client's own fault is counted as no failure of a host.
    assert outcome_of(error) == ("refused" if status == 400 else "failed")
    assert found.type == kind_of(status, code)


@pytest.mark.parametrize("kinds", [(), (K.BUSY,)])
@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "5"), (0.0, "1"), (0.1, "1"), (1.1, "2"), (120.0, "120"), (120.1, "120")],
)
def test_it_says_when_to_ask_again_and_never_later_than_clients_obey(
    kinds: tuple[FailureKind, ...], seconds: float | None, told: str
) -> None:
    found = problem_of(NoCandidates("Nobody.", kinds, retry_after_s=seconds))
    assert found.headers == {"Retry-After": told}


@pytest.mark.parametrize(
    ("error", "status", "code", "param", "headers"),
    [
        (UnknownName("model", "qwen", ()), 404, "model_not_found", "model", {}),
        (Refused("It declined."), 400, "content_filter", "messages", {}),
        (RequestCancelled("An admin ended it."), 499, "cancelled", None, {}),
        (KeyEnded("It was revoked."), 401, "invalid_api_key", None, {}),
        (NotPermitted("Not yours."), 403, "insufficient_permissions", None, {}),
        (RequestRefused("No."), 400, None, None, {}),
        (Interrupted("It broke off.", K.CUT), 502, "upstream_error", None, {}),
        (Unavailable("It is gone.", K.CONNECT), 502, "upstream_error", None, {}),
        # A disk that is full has room again: clients come back by themselves.
        (StoreUnavailable("The disk is full."), 503, "overloaded", None, {"Retry-After": "5"}),
        (BotError("Ours."), 500, "internal_error", None, {}),
        (ValueError("a secret"), 500, "internal_error", None, {}),
        (NoCandidates("No.", (K.BUDGET,)), 429, QUOTA, None, {"Retry-After": "3600"}),
        # More than a whole day of it: tomorrow it would be refused as well.
        (NoCandidates("No.", (K.BUDGET,), renews_in_s=inf), 429, QUOTA, None, NEVER_AGAIN),
        (NoCandidates("No.", (K.LOAD_FAILED,)), 503, "model_load_failed", None, NEVER_AGAIN),
    ],
)
def test_each_error_has_its_status_code_and_field(
    error: Exception,
    status: int,
    code: str | None,
    param: str | None,
    headers: dict[str, str],
) -> None:
    found = problem_of(error)
    assert (found.status, found.code, found.param, found.headers) == (status, code, param, headers)
    assert found.type == kind_of(status, code)
    assert "secret" not in found.message
