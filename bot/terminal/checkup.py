"""What ``lantern check`` says of the hosts and personas: pure lines from a snapshot."""

from collections.abc import Sequence
from typing import Literal

from bot.chat.words import bytes_text, counted, host_title
from bot.documents.persona_files import without_effect
from bot.domain.errors import FailureKind
from bot.domain.hosts import AWAY, FleetSnapshot, HostSnapshot, Wish
from bot.domain.ids import AUTO, ModelKey, PersonaName
from bot.domain.personas import Persona
from bot.domain.values import value
from bot.policy.names import nearest
from bot.policy.placement import CANNOT_LOAD, Hopeless, place

Mark = Literal["ok", "advice", "warning", "fault"]


@value
class Finding:
    """One finding: well, could be better, something will not work, or ``run`` will not work."""

    mark: Mark
    subject: str
    text: str


def host_findings(host: HostSnapshot) -> tuple[Finding, ...]:
    """What was found on one host, and which LM Studio settings to change."""
    subject = host_title(host)
    if host.state in AWAY:
        return (Finding("warning", subject, _down_text(host)),)
    if host.interface == "/v1":
        # Ollama answers /v1/models too, and was called an old LM Studio that needs an update.
        brand = host.version or "a server that speaks /v1 and none of LM Studio's own interfaces"
        found = f"{brand}: {CANNOT_LOAD['/v1']}; {counted(len(host.models), 'model')} listed"
        return (Finding("warning", subject, found),)
    interface = host.interface if host.interface is not None else "?"
    loaded = ", ".join(str(i.identifier) for i in host.instances) or "nothing"
    listing = {
        True: "/v1/models lists only what is loaded (JIT off)",
        False: "/v1/models lists everything on disk (JIT on)",
        None: "listing mode unknown",
    }[host.lists_only_loaded]
    found = (
        f"LM Studio {host.version or '(version unknown)'} by {interface}; "
        f"{counted(len(host.models), 'model')} on disk; loaded: {loaded}; {listing}; "
        f"token {'given and accepted' if host.has_token else 'not needed'}"
    )
    lines = [Finding("ok", subject, found)]
    lines.extend(Finding("warning", subject, text) for text in _too_small(host))
    lines.extend(Finding("advice", subject, text) for text in _advice(host))
    return tuple(lines)


def _down_text(host: HostSnapshot) -> str:
    reason = (host.reason or "no answer").rstrip(".")
    # What answers 401 is neither switched off nor out of reach: there is nothing to look for there.
    if host.needs_token and host.has_token:
        return f"{reason}. Make a new token there (Developer → Server Settings) and put it in place"
    if host.needs_token:
        return f"{reason}. Name the variable that holds one as token_env of this host"
    return (
        f"{reason}. On that machine: is LM Studio running, is the server started on this port, "
        "and is “Serve on Local Network” on (Developer → Server Settings)?"
    )


def _too_small(host: HostSnapshot) -> list[str]:
    """That by its memory_gb none of its models can ever be loaded to chat with."""
    # Nothing was in memory by now: whether a model fits is asked of the empty host.
    found = {
        key: place(host, [Wish(key)], (), 0.0)
        for key, model in host.models.items()
        if model.kind != "embedding"
    }
    reasons = [
        (str(key), placed.reason)
        for key, placed in found.items()
        # What cannot be loaded for another reason is told by its own advice.
        if isinstance(placed, Hopeless) and placed.kind is FailureKind.DOES_NOT_FIT
    ]
    if not reasons or len(reasons) < len(found):
        return []
    more = f"; nor does any other of its {len(reasons)} chat models" if len(reasons) > 1 else ""
    (key, why) = reasons[0]
    return [f"memory_gb leaves no room to chat: {key} {why}{more}"]


def _advice(host: HostSnapshot) -> list[str]:
    advice: list[str] = []
    if host.interface in CANNOT_LOAD:
        advice.append(f"it is {CANNOT_LOAD[host.interface]}; only what others load there is used")
    elif host.interface != "SDK socket":
        advice.append("the SDK socket is closed: loads work, but show no progress")
    # A request by another program loads its model just in time and puts out what was so loaded.
    if host.lists_only_loaded is False:
        advice.append(
            "just-in-time loading is on: other programs' requests may unload models in use; "
            "switch it off if only Lantern uses this host"
        )
    if not host.has_token:
        advice.append("anyone on the LAN may use this host: an API token would close it (0.4+)")
    if host.memory_bytes is None:
        size = max((m.size_bytes or 0 for m in host.models.values()), default=0)
        largest = f" (largest model: {bytes_text(size)})" if size else ""
        advice.append(
            f"no memory_gb set{largest}: Lantern makes room only when the host refuses a load"
        )
    return advice


def persona_findings(
    snapshot: FleetSnapshot,
    personas: Sequence[Persona],
    problems: Sequence[str],
    default_persona: PersonaName,
    *,
    providers: Sequence[str],
    request_types: Sequence[str],
) -> tuple[Finding, ...]:
    """Personas whose file is broken, that name what is not there, or that nobody wrote.

    Args:
        snapshot: the hosts as they are now.
        personas: everybody on the shelf.
        problems: what is wrong with persona files.
        default_persona: who answers where nobody chose.
        providers: names of the providers that the settings define.
        request_types: names of the orders that the settings define.
    """
    lines = [Finding("warning", "persona file", problem) for problem in problems]
    # A name without a file is served by a plain stand-in, so nothing else would ever tell.
    for persona in personas:
        if persona.name == default_persona != "default" and persona.source == "built in":
            text = "discord.default_persona names it, but no file defines it; a plain one stands in"
            lines.append(Finding("warning", f"persona {persona.name}", text))
    known = {
        *(key for host in snapshot.hosts.values() for key in host.models),
        *(i.model_key for host in snapshot.hosts.values() for i in host.instances),
    }
    for persona in personas:
        lines.append(_persona_line(persona, known))
        subject = f"persona {persona.name}"
        lines += [Finding("advice", subject, words) for words in without_effect(persona)]
        for name in persona.cloud or ():
            if name not in providers:
                text = f"cloud names {name}, which is no provider{_near(name, providers)}"
                lines.append(Finding("warning", subject, text))
        kind = persona.request_type
        if kind is not None and kind not in request_types:
            text = f"request_type is {kind}, which routing.request_types does not have"
            lines.append(Finding("warning", subject, text + _near(kind, request_types)))
    return tuple(lines)


def _near(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known) or tuple(known[:5])
    return f"; nearest: {', '.join(near)}" if near else ""


def _persona_line(persona: Persona, known: set[ModelKey]) -> Finding:
    subject = f"persona {persona.name}"
    wanted = (persona.model, *persona.alternatives)
    # With no host in sight `auto` is as little served as any other model.
    if AUTO in wanted and known:
        return Finding("ok", subject, "takes whatever model can answer soonest")
    there = [key for key in wanted if key in known]
    missing = [key for key in wanted if key not in known and key != AUTO]
    near = dict.fromkeys(name for key in missing for name in nearest(key, sorted(known), 1))
    hint = f"; nearest: {', '.join(near)}" if near else ""
    if not there:
        lacking = " or ".join(missing) or "any model"
        return Finding("warning", subject, f"no host that answers has {lacking}{hint}")
    if missing:
        lacking = ", ".join(missing)
        return Finding("warning", subject, f"uses {there[0]}; no host has {lacking}{hint}")
    return Finding("ok", subject, f"uses {there[0]}")
