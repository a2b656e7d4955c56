"""Everything Lantern raises on purpose, told apart by what the caller does next.

``RequestRefused``: tell the asker. ``Unavailable``: try the next candidate. ``Interrupted``: keep
the text, offer Retry. ``ConfigError``: stop the start. ``Bug``: a broken promise of our own.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum


# By what the caller does next, not by status code: 429 is a pause at one provider, an empty
# purse at another, and a full plan at a third.
class FailureKind(StrEnum):
    """Why a host or provider could not serve, one member per row of the error table."""

    AUTH = "auth"
    NO_MONEY = "no money"
    PLAN_LIMIT = "plan limit"
    RATE_LIMIT = "rate limit"
    OVERLOAD = "overload"
    SERVER = "server error"
    CONNECT = "unreachable"
    TIMEOUT = "timeout"
    CUT = "cut"
    STALL = "stall"
    TOO_LONG = "too long"
    BAD_REQUEST = "bad request"
    EMPTY = "empty answer"
    WRONG_MODEL = "wrong model"
    GARBAGE = "garbage"
    NOT_THERE = "not there"
    NO_PATH = "no such path"
    DOES_NOT_FIT = "does not fit"
    LOAD_FAILED = "load failed"
    BUSY = "busy"
    BUDGET = "budget spent"
    CANCELLED = "cancelled"


# What a host or provider says of itself names addresses, ports and bills, which are nobody's
# business in a public channel: readers get these words, whoever asks gets the others by /why.
BRIEFLY: Mapping[FailureKind, str] = {
    FailureKind.AUTH: "not available",
    FailureKind.NO_MONEY: "not available",
    FailureKind.PLAN_LIMIT: "not available",
    FailureKind.RATE_LIMIT: "busy",
    FailureKind.OVERLOAD: "busy",
    FailureKind.SERVER: "in trouble",
    FailureKind.CONNECT: "off",
    FailureKind.TIMEOUT: "not answering",
    FailureKind.CUT: "in trouble",
    FailureKind.STALL: "not answering",
    FailureKind.TOO_LONG: "too small for so long a text",
    FailureKind.BAD_REQUEST: "in trouble",
    FailureKind.EMPTY: "in trouble",
    FailureKind.WRONG_MODEL: "in trouble",
    FailureKind.GARBAGE: "in trouble",
    FailureKind.NOT_THERE: "without this model",
    FailureKind.NO_PATH: "too old for it",
    FailureKind.DOES_NOT_FIT: "too full for it",
    FailureKind.LOAD_FAILED: "unable to load it",
    FailureKind.BUSY: "busy",
    FailureKind.BUDGET: "over the budget",
    FailureKind.CANCELLED: "not asked",
}
"""How a host or provider stands, as readers are told: what follows "is" or "are"."""


class BotError(Exception):
    """An expected failure; ``user_message`` says what happened, what was tried, what to do."""

    http_status = 500

    def __init__(self, user_message: str) -> None:
        super().__init__(user_message)
        self.user_message = user_message


class ConfigError(BotError):
    """Wrong settings; raised only at start and by ``check``."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class DatabaseFault(ConfigError):
    """The database may not be opened where the settings have it: told of as a fault of its own."""


class RequestRefused(BotError):
    """The asker's doing: shown to them, never retried."""

    http_status = 400


_LONGEST_NAME = 100
"""Of a name somebody typed; Discord takes 6,000 characters of it, and a client any number."""


class UnknownName(RequestRefused):
    """A model, persona or host that nobody knows; names the nearest ones."""

    http_status = 404

    def __init__(
        self,
        kind: str,
        name: str,
        nearest: Sequence[str],
        known: Sequence[str] = (),
        unasked: Sequence[str] = (),
        *,
        listed: str = "",
        is_unclear: bool = False,
    ) -> None:
        """``known`` is shown where nothing is near; ``unasked`` are hosts that may have it.

        ``listed`` is where a program finds all of them. With ``is_unclear`` each of ``nearest`` may
        be meant.
        """
        typed = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        # A typo is mended by one near name; a stranger needs to see what there is.
        shown = ", ".join(f"`{n}`" for n in nearest or known)
        hint = f" {'Nearest' if nearest else 'Known here'}: {shown}." if shown else ""
        hint = hint or (f" `{listed}` lists them." if listed else "")
        where = " on the hosts that answer" if unasked else ""
        # What only a host that is down has was denied, and something else named in its place.
        rest = f" {', '.join(unasked)} could not be asked, and may have it." if unasked else ""
        if is_unclear:
            # "There is no model `qwen3`" was said beside two that a part of the name finds.
            super().__init__(f"`{typed}` fits more than one {kind}: {shown}. Say more of it.")
        elif not name:
            super().__init__(f"Say which {kind}: its name is empty.{hint}")
        else:
            super().__init__(f"There is no {kind} `{typed}`{where}.{hint}{rest}")
        self.kind = kind
        self.name = name
        self.nearest = tuple(nearest)


class NotPermitted(RequestRefused):
    """The asker may not do this here."""

    http_status = 403


# Told apart because each face has its own way to insist: `even_foreign`, `foreign:yes`,
# `--foreign`; a bare refusal left people without one.
class ForeignInstance(NotPermitted):
    """Somebody else loaded it; each face says how to unload it all the same."""


# Told apart because there is nobody to tell: an answer to nothing stood in the channel.
class QuestionDeleted(RequestRefused):
    """Its asker deleted it before anything was begun for it."""


# Told apart because where every message is a question it is said once, not under each of them.
class TokensSpent(RequestRefused):
    """The asker has no tokens left today."""

    http_status = 429

    def __init__(self, user_message: str, left_s: float) -> None:
        """``left_s`` are the seconds until the next day begins."""
        super().__init__(user_message)
        self.left_s = left_s


class PromptTooLong(RequestRefused):
    """Even the last message alone does not fit the model's context window."""

    http_status = 413

    def __init__(self, user_message: str, needed: int = 0) -> None:
        """``needed`` are the tokens of what must stay and of the answer."""
        super().__init__(user_message)
        self.needed = needed


class WordsGone(RequestRefused):
    """What was about to be sent holds words that were taken back; made anew it may be."""


class RequestCancelled(RequestRefused):
    """An admin ended a client's request."""

    http_status = 499


class KeyEnded(RequestRefused):
    """The key that a request came by was revoked, or is over, before anybody was sent it."""

    http_status = 401


class Refused(RequestRefused):
    """The model or its provider declined to answer; never shopped around."""

    http_status = 422


class Unavailable(BotError):
    """This candidate cannot serve now; the next one may."""

    http_status = 503

    def __init__(
        self,
        user_message: str,
        kind: FailureKind,
        *,
        retry_after_s: float | None = None,
        code: str | None = None,
        brief: str = "",
    ) -> None:
        super().__init__(user_message)
        self.kind = kind
        self.brief = brief
        """For readers, where there is more to it than ``BRIEFLY`` says of the kind."""
        self.retry_after_s = retry_after_s
        """Seconds the other side asked us to wait, when it said so."""
        self.code = code
        """The other side's own error code, for the log and ``/why``."""


# A class of its own because it is caught: a lost host loses its connection, while any other
# failure leaves it be. The six other kinds that had a class were caught by nobody.
class HostUnreachable(Unavailable):
    """The host refused, hung, cut the line or answered garbage."""

    def __init__(self, user_message: str, kind: FailureKind = FailureKind.CONNECT) -> None:
        super().__init__(user_message, kind)


_JUDGED = frozenset({FailureKind.BAD_REQUEST, FailureKind.TOO_LONG, FailureKind.NO_PATH})
"""Of the request itself: asked the same again, it says the same."""

_BROKE = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.TIMEOUT,
        FailureKind.CUT,
        FailureKind.STALL,
        FailureKind.SERVER,
        FailureKind.GARBAGE,
        FailureKind.AUTH,
    }
)
"""Of the host: it has not judged the request."""


class NoCandidates(BotError):
    """Every candidate was tried or rejected; the message says briefly who stands how."""

    http_status = 503

    def __init__(
        self,
        user_message: str,
        kinds: Sequence[FailureKind] = (),
        details: str = "",
        *,
        retry_after_s: float | None = None,
        is_loading: bool = False,
        renews_in_s: float | None = None,
    ) -> None:
        super().__init__(user_message)
        self.kinds = tuple(kinds)
        """Why those that were tried failed."""
        self.details = details
        """Each one's own reason, for the log."""
        self.retry_after_s = retry_after_s
        """Seconds after which somebody is predicted to answer."""
        self.is_loading = is_loading
        """The wait was given up while the model was being loaded; the load goes on."""
        self.renews_in_s = renews_in_s
        """After how long a spent budget begins anew, where one was in the way; infinite where it
        allows too little even then."""

    @property
    def is_askers_fault(self) -> bool:
        """Is it the request itself that nobody takes, so that it would be refused again?"""
        kinds = set(self.kinds)
        if kinds <= _JUDGED:
            return bool(kinds)
        # One that broke may read more, or have the path, once it is back; what one host refuses to
        # read it would refuse too.
        is_refused = FailureKind.BAD_REQUEST in kinds and FailureKind.TOO_LONG not in kinds
        return is_refused and kinds <= _JUDGED | _BROKE


# Not `Unavailable` either: whoever was asked the same again would repeat or contradict what was
# shown. Only another host with the same model is asked, and to go on from the last word.
class Interrupted(BotError):
    """The answer broke after its first word and nobody could go on; its text so far is kept."""

    http_status = 502

    def __init__(self, user_message: str, kind: FailureKind) -> None:
        super().__init__(user_message)
        self.kind = kind


class StoreUnavailable(BotError):
    """The database cannot be read or written now."""

    http_status = 503


# As a plain StoreUnavailable a damaged database ended `run` with 1: PM2 and systemd started it
# again and again, and no start mends a file.
class StoreUnusable(StoreUnavailable):
    """The database stays so until its owner acts: it is damaged, or may not be opened."""


class Bug(BotError):
    """A broken promise of our own."""
