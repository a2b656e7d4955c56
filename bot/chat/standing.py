"""One calm line for readers: who could not answer, and who did instead.

What hosts and providers say of themselves stands in ``/why`` and in the log.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial

from bot.domain.chat import Receipt, Rejection, Route
from bot.domain.errors import BRIEFLY, FailureKind
from bot.domain.hosts import FleetSnapshot, HostSnapshot
from bot.domain.ids import AUTO, ModelKey

_NAMED = 3
"""So many of one standing are named; more are counted."""

_SHORTLY = 160
"""Characters of a host's own words in a reply or on a status page."""

_FEW_S = 5.0
"""Called a few seconds: the longest pause between two looks at a host that is merely off."""

_ABOUT_MEMORY = (BRIEFLY[FailureKind.DOES_NOT_FIT], BRIEFLY[FailureKind.LOAD_FAILED])
_OURS = ("does not fit: ", "no model can serve: ")
"""What routing's own words begin with, where a model has no room."""
_ABSENT = BRIEFLY[FailureKind.NOT_THERE]

_ADDRESS = re.compile(r"\S*:\d+|[\d.]+|[\[\]\da-fA-F:]*:[\[\]\da-fA-F:]*")
"""What a host without a name of its own goes by."""

_ADDRESS_IN = re.compile(
    r"https?://\S+|\d+(?:\.\d+){3}(?::\d+)?|\[[\da-fA-F:.]+\](?::\d+)?|[\w.-]+:\d{2,5}\b"
)


def instead_words(receipt: Receipt) -> str:
    """Why somebody else answered than was to be expected; empty where nobody did, or all is well.

    ``☁ alpha and beta are off; zai answered.`` ``↪ alpha was lost in the middle; beta went on.``
    """
    by, route = receipt.provider or receipt.host, receipt.route
    if by is None or receipt.from_cache:
        return ""
    # The footer has both names, and can be switched off: that two have spoken is told all the same.
    if lost := [str(seam.host) for seam in receipt.seams if seam.pause_s is not None]:
        was = "was" if len(lost) == 1 else "were"
        # "a machine was lost; a machine went on" read as if it were the same one.
        is_counted = all(_ADDRESS.fullmatch(name) for name in (*lost, str(by)))
        next_one = "another" if is_counted else _who([str(by)])
        return f"↪ {_who(lost)} {was} lost in the middle; {next_one} went on."
    standing = _standing_of((*route.rejected, *receipt.attempts))
    is_not_chosen = route.chosen not in (None, receipt.provider)
    if receipt.provider is None or (is_not_chosen and not receipt.presses):
        # Among hosts a fallback goes unseen; that the chosen provider was left does not.
        told = {w: b for (w, is_cloud), b in standing.items() if is_cloud and w == route.chosen}
    elif route.prefers_cloud or receipt.presses:
        return ""
    else:
        told = {where: b for (where, is_cloud), b in standing.items() if not is_cloud}
        told = {**_slow(route), **told}
    why = _grouped(told)
    return f"☁ {why}; {_who([str(by)])} answered." if why else ""


def private_words(why: str) -> str:
    """That earlier words keep a question here, and what keeps them."""
    return f"🔒 These words stay on the LAN ({why})."


def unasked_words(provider: str, why: str) -> str:
    """That words did not go to the provider that was asked for by name, and what keeps them."""
    return f"🔒 ☁ {provider} was not asked ({why})."


def nobody_words(
    route: Route,
    attempts: Iterable[Rejection],
    *,
    model: ModelKey,
    chosen: str = "",
    kept_home: str = "",
    away: str = "",
) -> str:
    """That nobody could answer, who stands how, and where to read more.

    Args:
        route: With those who were rejected.
        attempts: Who was tried.
        model: What was wanted.
        chosen: Why it is that one alone, and the way back; empty where others may answer as well.
        kept_home: Why no provider may be asked; empty where any may.
        away: Since when hosts are out, as ``away_words`` says it.
    """
    failed = (*route.rejected, *attempts)
    standing = _standing_of(failed)
    more = "".join(f" {words}" for words in (away, chosen) if words)
    more += f" These words stay on the LAN ({kept_home})." if kept_home else ""
    if not standing:
        none = "is set up" if model == AUTO else f"has `{model}`; `/model` shows what there is"
        return f"No machine here {none}.{more} (`/why`)"
    who = "Nobody" if any(is_cloud for _, is_cloud in standing) else "No machine"
    # A host with another model stood free beside it, which read as a fault of the machines.
    by = f" with `{model}`" if chosen else ""
    return f"{who} can answer{by} right now: {standing_words(failed)}{more} (`/why`)"


def looking_words(hosts: Iterable[HostSnapshot]) -> str:
    """That hosts which are out are looked at once more; empty where none is."""
    names = [str(host.name) for host in hosts if host.state in ("unknown", "down")]
    if not names:
        return ""
    return f"🔎 Looking whether {_who(names)} {'is' if len(names) == 1 else 'are'} back …"


def away_words(fleet: FleetSnapshot) -> str:
    """Since when all hosts are out, and when each is looked at by; empty where one is not."""
    hosts = fleet.hosts.values()
    lost = [host.away_since for host in hosts if host.away_since is not None]
    if not lost or len(lost) < len(hosts):
        return ""
    # Of several the one lost last: since then nobody could answer.
    so_s = fleet.taken_at - max(lost)
    # "Every few seconds" was said of one that may sleep, or failed its requests, too: those are
    # left alone for up to a minute, or five.
    left_s = max((host.next_probe_at or 0.0) for host in hosts) - fleet.taken_at
    within = "a few seconds" if left_s <= _FEW_S else _span(left_s)
    again = f"Lantern looks again within {within}, and with each question."
    return again if so_s < 1.0 else f"That has been so for {_span(so_s)}; {again}"


def standing_words(failed: Iterable[Rejection]) -> str:
    """How these stand, a sentence or two; empty where there is no news.

    ``alpha and beta are off, gamma is busy.``
    """
    out = tuple(failed)
    why = _grouped({where: brief for (where, _), brief in _standing_of(out).items()})
    # A host that is there and cannot load it says best what would help; each reason once, and
    # without an address: these are somebody else's words, or ours with the name it goes by.
    # And of words that had to stay here by the time they were to be sent, the reason is ours.
    told = (r for r in out if _brief(r) in _ABOUT_MEMORY or _was_kept(r))
    own = dict.fromkeys(
        _ADDRESS_IN.sub(partial(_unnamed, r.where), shortly(r.reason)) for r in told
    )
    # Ours are no sentences: "alpha is too full for it. does not fit: needs …".
    ours = [words for words in own if words.startswith(_OURS)]
    why = "; ".join((why, *(words.removeprefix(_OURS[0]) for words in ours)))
    ends = (
        ("" if words.endswith("…") else ".", words.rstrip("."))
        for words in (why, *(words for words in own if words not in ours))
        if words
    )
    return " ".join(f"{words}{end}" for end, words in ends)


def shortly(reason: str) -> str:
    """A host's own words in one short line; the whole stands in ``/why`` and in the log."""
    # Engines give whole pages, with the path of every file they looked at.
    line = " ".join(reason.split())
    return line if len(line) <= _SHORTLY else f"{line[:_SHORTLY].rpartition(' ')[0]} …"


def _unnamed(where: str, found: re.Match[str]) -> str:
    # "It does not fit on …: " read as if the end of a sentence were missing.
    return "this machine" if found[0] == where else "…"


def _was_kept(out: Rejection) -> bool:
    return out.is_cloud and out.kind is FailureKind.CANCELLED


def _brief(out: Rejection) -> str:
    return out.brief or ("" if out.kind is None else BRIEFLY[out.kind])


def _standing_of(failed: Iterable[Rejection]) -> dict[tuple[str, bool], str]:
    """How each host and provider stands, once; the last word on each, where it says more."""
    found: dict[tuple[str, bool], str] = {}
    for out in failed:
        # A host is judged for each model: that it lacks one is the least of its reasons.
        key = (out.where, out.is_cloud)
        brief = _brief(out)
        if brief and (brief != _ABSENT or key not in found):
            found[key] = brief
    # Of a model that some host has, the others' lack of it is no news.
    if any(brief != _ABSENT for (_, is_cloud), brief in found.items() if not is_cloud):
        found = {key: brief for key, brief in found.items() if brief != _ABSENT}
    return found


def _slow(route: Route) -> dict[str, str]:
    """Hosts that could serve and were not waited for."""
    found: dict[str, str] = {}
    for candidate in route.candidates:
        if candidate.host is not None and (seconds := candidate.seconds) is not None:
            found[candidate.where] = f"~{_span(seconds)} away"
    return found


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _grouped(briefs: Mapping[str, str]) -> str:
    groups: dict[str, list[str]] = {}
    for where, brief in briefs.items():
        groups.setdefault(brief, []).append(where)
    return ", ".join(
        f"{_who(names)} {'is' if len(names) == 1 else 'are'} {brief}"
        for brief, names in groups.items()
    )


def _who(names: list[str]) -> str:
    """Names as one reads them: ``alpha, beta and 2 more``; addresses, all of hosts, are counted."""
    named = [name for name in names if not _ADDRESS.fullmatch(name)][:_NAMED]
    rest = len(names) - len(named)
    if rest and named:
        named.append(f"{rest} more")
    elif rest:
        named.append(f"{rest} machines" if rest > 1 else "a machine")
    *first, last = named
    return f"{', '.join(first)} and {last}" if first else last
