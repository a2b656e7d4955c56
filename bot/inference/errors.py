"""One classifier for the errors of every server: status, headers and body become a verdict."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus

from bot.domain.errors import FailureKind as Failure
from bot.inference.complaints import Complaint, complaint_of
from bot.inference.faults import Kind, Verdict
from bot.inference.retry_after import reset_in_s, retry_after_s

_CODES: dict[Kind, str] = {
    Failure.AUTH: "invalid_api_key authentication_error permission_error unauthorized"
    " 1000 1001 1002 1003 1004 1005 1110 1111 1112 1121 1220 1311",
    Failure.NO_MONEY: "insufficient_quota credit_balance_exhausted"
    " organization_spend_limit_exceeded project_spend_limit_exceeded"
    " organization_usage_limit_exceeded billing_hard_limit_reached"
    " billing_error enforced_spend_limit_reached 1113",
    Failure.PLAN_LIMIT: "1308 1309 1310 1313 1316 1317 1318 1319 1320 1321",
    Failure.RATE_LIMIT: "rate_limit_exceeded slow_down rate_limit_error 1302 1303 1304",
    Failure.OVERLOAD: "server_is_overloaded overloaded_error unavailable_error 1305",
    Failure.SERVER: "server_error api_error timeout_error 1120 1200 1230 1234",
    Failure.TOO_LONG: "context_length_exceeded request_too_large exceed_context_size_error 1261",
    "refused": "invalid_prompt content_filter content_policy_violation 1300 1301",
    Failure.NOT_THERE: "model_not_found not_found_error 1211",
    Failure.BAD_REQUEST: "unsupported_parameter unsupported_value unknown_parameter"
    " 1210 1212 1213 1214 1215 1221 1222",
}
"""Z.AI's numbers collide with nobody's, so one table serves every wire and gateways in between."""

_KINDS: dict[str, Kind] = {code: kind for kind, codes in _CODES.items() for code in codes.split()}

_STATUSES: dict[int, Kind] = {
    401: Failure.AUTH,
    402: Failure.NO_MONEY,
    403: Failure.AUTH,
    404: Failure.NOT_THERE,
    408: Failure.TIMEOUT,
    409: Failure.SERVER,
    413: Failure.TOO_LONG,
    429: Failure.RATE_LIMIT,
    503: Failure.OVERLOAD,
    529: Failure.OVERLOAD,
}

_PHRASES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        Failure.LOAD_FAILED,
        re.compile(r"failed to load|error loading model|model loading was stopped", re.I),
    ),
    (
        Failure.TOO_LONG,
        re.compile(
            r"n_keep|prompt is too long|prompt too long|tokens to keep from the initial prompt"
            r"|keep the first \d+ tokens|context (?:length|window|size)|exceeds the .{0,20}context",
            re.I,
        ),
    ),
    (
        Failure.NO_MONEY,
        re.compile(
            r"credit balance is too low|insufficient (?:balance|credits|quota)|api usage limits",
            re.I,
        ),
    ),
    (
        Failure.NOT_THERE,
        re.compile(
            r"no models? (?:is |are )?(?:currently )?loaded|model unloaded"
            r"|model .{0,80}not (?:found|loaded)",
            re.I,
        ),
    ),
)
"""Last resort, where no code is given: LM Studio says these in words, Anthropic a spent limit."""

_STATUS_SPEAKS_FIRST = frozenset({401, 402, 403, 408})
_STATUS_IS_ENOUGH = frozenset({401, 402, 408, 429})
"""Believed even from a body that is not JSON; others come from an edge before a broken server."""

_SECOND_MEANING = {
    "1113": "no balance, or the key belongs to another endpoint of this provider",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """What came instead of a stream of deltas."""

    status: int
    """200 for an error inside a stream."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """By lower-case name."""


def classify(answer: Answered, *, is_local: bool, now: datetime | None = None) -> Verdict:
    """Return what an answer that is no stream means."""
    try:
        value: object = json.loads(answer.body)
    except (ValueError, RecursionError):
        return _not_json(answer, now)
    complaint = complaint_of(value)
    if complaint is None and _is_success(answer.status):
        return Verdict(Failure.GARBAGE, "not a stream of events")
    default = _by_status(_effective_status(answer.status, complaint))
    return _verdict(answer, complaint or Complaint(), default, is_local=is_local, now=now)


def classify_event(
    event: Mapping[str, object], *, is_local: bool, now: datetime | None = None
) -> Verdict | None:
    """Return what an error event inside a stream means; None when the event is no error."""
    complaint = complaint_of(event)
    if complaint is None:
        return None
    status = _effective_status(200, complaint)
    default = Failure.CUT if status == HTTPStatus.OK else _by_status(status)
    return _verdict(Answered(status), complaint, default, is_local=is_local, now=now)


def _verdict(
    answer: Answered, complaint: Complaint, default: Kind, *, is_local: bool, now: datetime | None
) -> Verdict:
    status = _effective_status(answer.status, complaint)
    kind = _kind(status, complaint, default)
    if kind is Failure.NOT_THERE and not is_local:
        kind = Failure.BAD_REQUEST  # a provider lacks a model because the settings name a wrong one
    wait_s = retry_after_s(answer.headers, now)
    if kind in (Failure.PLAN_LIMIT, Failure.NO_MONEY):
        wait_s = reset_in_s(complaint.message, answer.headers, now) or wait_s
    code = complaint.codes[0] if complaint.codes else _status_code(status)
    return Verdict(kind, _reason(status, complaint), wait_s, code)


def _kind(status: int, complaint: Complaint, default: Kind) -> Kind:
    if complaint.was_flagged:
        return "refused"
    for code in complaint.codes:
        if code in _KINDS:
            return _KINDS[code]
    if status in _STATUS_SPEAKS_FIRST:
        return default
    for kind, phrase in _PHRASES:
        if phrase.search(complaint.message):
            return kind
    return default


def _effective_status(status: int, complaint: Complaint | None) -> int:
    """Return the HTTP status, or the one repeated as a code: in a stream it is all there is."""
    for code in complaint.codes if complaint else ():
        if code.isdecimal() and HTTPStatus.BAD_REQUEST <= int(code) < 600:
            return int(code)
    return status


def _by_status(status: int) -> Kind:
    if status in _STATUSES:
        return _STATUSES[status]
    is_askers_fault = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return Failure.BAD_REQUEST if is_askers_fault else Failure.SERVER


def _not_json(answer: Answered, now: datetime | None) -> Verdict:
    if _is_success(answer.status):
        return Verdict(Failure.GARBAGE, "not a stream of events")
    kind = _STATUSES[answer.status] if answer.status in _STATUS_IS_ENOUGH else Failure.SERVER
    wait_s = retry_after_s(answer.headers, now)
    return Verdict(kind, _status_words(answer.status), wait_s, _status_code(answer.status))


def _reason(status: int, complaint: Complaint) -> str:
    hint = next((_SECOND_MEANING[code] for code in complaint.codes if code in _SECOND_MEANING), "")
    if hint:
        return f"{hint} ({complaint.message})"
    return complaint.message or _status_words(status)


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _status_code(status: int) -> str | None:
    return None if status == HTTPStatus.OK else str(status)


def _status_words(status: int) -> str:
    return "" if status == HTTPStatus.OK else f"HTTP {status}"
