"""One classifier for the errors of every server: status, headers and body become a verdict.

The status alone proves little: Z.AI, OpenAI and Anthropic all answer 429 for "no money left", which
no waiting mends, and LM Studio answers 200 for a path it does not know. So the code in the body
speaks first.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from bot.domain.errors import FailureKind as Failure
from bot.domain.values import value
from bot.inference.wire import RefusalKind, Verdict, first_of, is_object, object_of, text_of

_CODES: dict[RefusalKind, str] = {
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
    "refused": "invalid_prompt content_filter content_policy_violation moderation_blocked"
    " responsibleaipolicyviolation 1300 1301",
    Failure.NOT_THERE: "model_not_found not_found_error 1211",
    Failure.BAD_REQUEST: "unsupported_parameter unsupported_value unknown_parameter"
    " 1210 1212 1213 1214 1215 1221 1222",
}
"""Z.AI's numbers collide with nobody's, so one table serves every wire and gateways in between."""

_KINDS: dict[str, RefusalKind] = {
    code: kind for kind, codes in _CODES.items() for code in codes.split()
}

_STATUSES: dict[int, RefusalKind] = {
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

_PHRASES: tuple[tuple[RefusalKind, re.Pattern[str]], ...] = (
    (
        # Anthropic says so with the code of any bad request: taken for one, the question went to
        # the next provider, and the owner was sent to look at his settings.
        "refused",
        re.compile(
            r"content filtering policy|content management policy|rejected .{0,40}safety system"
            r"|flagged .{0,40}(?:moderation|violat)|violat.{0,40}(?:usage|content) polic",
            re.I,
        ),
    ),
    # Only of the paths that older versions lack: of any other one it is a server that is starting.
    (
        Failure.NO_PATH,
        re.compile(r"^unexpected endpoint or method.{0,9}/v1/(?:responses|messages)", re.I),
    ),
    # Of the messages, not of the host: said with a 500, or in a stream, it took one host after the
    # other out.
    (
        Failure.BAD_REQUEST,
        re.compile(r"response prefill|prompt template|\bjinja\b|no user query found", re.I),
    ),
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
# 413 is said by the edge itself, of one question: taken for a fault of the server, three large
# files in a row took the provider or host out for everybody.
_STATUS_IS_ENOUGH = frozenset({401, 402, 408, 413, 429})
"""Believed even from a body that is not JSON; others come from an edge before a broken server."""

_SECOND_MEANING = {
    "1113": "no balance, or the key belongs to another endpoint of this provider",
}
_PREFIX = re.compile(r"\[(\d{3,4})\]")
"""Z.AI's Anthropic-shaped route puts its code before the text: ``[1310][Weekly limit…]``."""
_RESET = re.compile(
    r"(?:reset at|regain access on)\s+"
    r"(\d{4}-\d\d-\d\d)(?: at)?[ T](\d\d:\d\d)(:\d\d)?(\s*(?:UTC|Z))?",
    re.IGNORECASE,
)
_BEIJING = timezone(timedelta(hours=8))
"""Z.AI writes its reset times without a zone, in Beijing time."""
LONGEST_WAIT_S = 31 * 86400.0
"""No limit outlasts its month: a longer wait is nonsense, and who told it would be out for good."""


@value
class Answered:
    """What came instead of a stream of deltas."""

    status: int
    """200 for an error inside a stream."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """By lower-case name."""


@value
class _Complaint:
    """An error body in one form."""

    codes: tuple[str, ...] = ()
    """Machine-readable, lower case, the most telling first."""
    message: str = ""
    was_flagged: bool = False
    """A moderator, not the key, is the reason (OpenRouter says both with 403)."""


def classify(answer: Answered, *, is_local: bool, now: datetime | None = None) -> Verdict:
    """What an answer that is no stream means; ``now`` is aware, for a wait told as a date."""
    is_success = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
    complaint: _Complaint | None = None
    try:
        complaint = _complaint_of(json.loads(answer.body))
    except (ValueError, RecursionError):
        if not is_success:
            # A page of the edge in front of a broken server: its status is seldom the server's.
            is_enough = answer.status in _STATUS_IS_ENOUGH or _is_redirect(answer.status)
            kind = None if is_enough else Failure.SERVER
            return _verdict(answer, _Complaint(), kind, is_local=is_local, now=now)
    if complaint is None and is_success:
        return Verdict(Failure.GARBAGE, "not a stream of events")
    return _verdict(answer, complaint or _Complaint(), None, is_local=is_local, now=now)


def classify_event(
    event: Mapping[str, object], *, is_local: bool, now: datetime | None = None
) -> Verdict | None:
    """What an error event inside a stream means; None when the event is no error."""
    complaint = _complaint_of(event)
    if complaint is None:
        return None
    # In a stream the status was 200 long before: without a code it says that the answer broke off.
    default = Failure.CUT if _status(200, complaint) == HTTPStatus.OK else None
    return _verdict(Answered(200), complaint, default, is_local=is_local, now=now)


def _complaint_of(value: object) -> _Complaint | None:
    """The complaint a JSON value holds; None when it holds none.

    Knows ``{"error": {…}}`` of OpenAI, LM Studio, Z.AI, OpenRouter and Anthropic,
    ``{"error": "text"}`` of LM Studio and Ollama, and bare ``message``, ``msg``,
    ``error_message`` or ``detail`` of vLLM, Z.AI's edge and FastAPI.
    """
    whole = object_of(value)
    error = whole.get("error")
    if is_object(error):
        message = text_of(error.get("message")) or text_of(error.get("msg"))
        prefix = _PREFIX.match(message)
        metadata = object_of(error.get("metadata"))
        was_flagged = "reasons" in metadata or "flagged_input" in metadata
        codes = (*(prefix.groups() if prefix else ()), *_codes(error))
        return _Complaint(codes, message, was_flagged)
    message = text_of(error)
    if not message and "choices" not in whole:
        for name in ("message", "msg", "error_message", "detail"):
            # FastAPI's 422 quotes the rejected input beside `msg`; only `msg` is taken.
            listed = object_of(first_of(whole.get(name))).get("msg")
            message = message or text_of(whole.get(name)) or text_of(listed)
    return _Complaint(_codes(whole), message) if message else None


def _codes(error: Mapping[str, object]) -> tuple[str, ...]:
    # Anthropic's `details.error_code` says more than its type: a spent limit comes with the type of
    # a mere rate limit, and without a time to wait.
    told = object_of(error.get("details")).get("error_code")
    found = (told, error.get("code"), error.get("error_type"), error.get("type"))
    return tuple(
        str(code).strip().lower()
        for code in found
        if isinstance(code, str | int) and not isinstance(code, bool) and str(code).strip()
    )


def _verdict(
    answer: Answered,
    complaint: _Complaint,
    default: RefusalKind | None,
    *,
    is_local: bool,
    now: datetime | None,
) -> Verdict:
    """``default`` is what it means when no code and no words tell; None leaves it to the status."""
    status = _status(answer.status, complaint)
    if default is None:
        is_ours = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        # A host that sends elsewhere is broken; of a provider the settings name a wrong address.
        is_ours = is_ours or (_is_redirect(status) and not is_local)
        default = _STATUSES.get(status, Failure.BAD_REQUEST if is_ours else Failure.SERVER)
    kind = _kind(status, complaint, default)
    if is_local and kind is Failure.SERVER:
        # LM Studio says with Anthropic's code for any fault of a server that a prompt is too long.
        kind = _phrased(complaint) or kind
    if kind is Failure.NOT_THERE and not is_local:
        kind = Failure.BAD_REQUEST  # a provider lacks a model because the settings name a wrong one
    wait_s = retry_after_s(answer.headers, now)
    if kind in (Failure.PLAN_LIMIT, Failure.NO_MONEY):
        wait_s = reset_in_s(complaint.message, answer.headers, now) or wait_s
    status_code, status_words = str(status), f"HTTP {status}"
    if status == HTTPStatus.OK:
        status_code, status_words = None, ""
    elif _is_redirect(status):
        status_words = f"{status_words}, a redirect, which is not followed"
    reason = complaint.message or status_words
    hints = (_SECOND_MEANING[code] for code in complaint.codes if code in _SECOND_MEANING)
    if hint := next(hints, ""):
        reason = f"{hint} ({complaint.message})"
    return Verdict(kind, reason, wait_s, next(iter(complaint.codes), status_code))


def _is_redirect(status: int) -> bool:
    return HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST


def _kind(status: int, complaint: _Complaint, default: RefusalKind) -> RefusalKind:
    if complaint.was_flagged:
        return "refused"
    for code in complaint.codes:
        if code in _KINDS:
            return _KINDS[code]
    if status in _STATUS_SPEAKS_FIRST:
        return default
    return _phrased(complaint) or default


def _phrased(complaint: _Complaint) -> RefusalKind | None:
    """What the words alone tell."""
    return next((kind for kind, words in _PHRASES if words.search(complaint.message)), None)


def _status(status: int, complaint: _Complaint) -> int:
    """The HTTP status, or the one repeated as a code: in a stream it is all there is."""
    for code in complaint.codes:
        # Of three digits: Python reads no number of thousands, and raises.
        if len(code) == 3 and code.isdecimal() and HTTPStatus.BAD_REQUEST <= int(code) < 600:
            return int(code)
    return status


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds asked for by the headers; None when they ask nothing or nonsense.

    Args:
        headers: looked up by lower-case name.
        now: aware; used for an HTTP date when the answer does not carry its own ``date``.
    """
    in_ms = _number(headers.get("retry-after-ms"))
    value = headers.get("retry-after")
    in_s = _number(value) if in_ms is None else in_ms / 1000
    if in_s is None:
        in_s = _until(_http_date(value), headers, now)
    return _believed(in_s)


def reset_in_s(
    message: str, headers: Mapping[str, str], now: datetime | None = None
) -> float | None:
    """The seconds until the reset that a plan's limit names in its text, if any is ahead."""
    found = _RESET.search(message)
    if found is None:
        return None
    day, minute, second, is_utc = found.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{minute}{second or ':00'}")
    except ValueError:
        return None
    seconds = _until(at.replace(tzinfo=UTC if is_utc else _BEIJING), headers, now)
    return _believed(seconds) or None


def _believed(seconds: float | None) -> float | None:
    # Nonsense too: what is less than nothing, and what is no number.
    return seconds if seconds is not None and 0 <= seconds <= LONGEST_WAIT_S else None


def _number(value: str | None) -> float | None:
    try:
        return float(value or "")
    except ValueError:
        return None


def _http_date(value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        at = parsedate_to_datetime(value)
    # Of a year no calendar has, or a zone.
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _until(at: datetime | None, headers: Mapping[str, str], now: datetime | None) -> float | None:
    # The answer's own clock first: it is the one the asked-for time was read from.
    start = _http_date(headers.get("date")) or now
    if at is None or start is None:
        return None
    return max(0.0, (at - start).total_seconds())
