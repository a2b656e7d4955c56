"""What people read, made once for every face: progress, footers, receipts, failures, tables."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from bot.chat.standing import instead_words, shortly, standing_words
from bot.chat.usage import UsageReport
from bot.chat.walk import Readiness
from bot.domain.chat import LOST_S, Candidate, Receipt, Rejection, Seam, Timing, Turn
from bot.domain.cloud import BudgetNews, CloudEvent, ProviderNews, ProviderStanding, UsageLine
from bot.domain.errors import BotError
from bot.domain.events import (
    Evicting,
    FleetEvent,
    Loading,
    Offered,
    Progress,
    Queued,
    Reading,
    Resuming,
    Silence,
    Stopped,
    Waking,
)
from bot.domain.hosts import AWAY, Drain, HostSnapshot, Instance
from bot.domain.ids import AUTO, ModelKey, ProviderName, UserId
from bot.policy.budget import dollars_text, span_of, whose
from bot.policy.choice import as_others_read
from bot.policy.foresight import foretold
from bot.policy.names import shown_name
from bot.policy.outages import OutageRecord
from bot.policy.placement import CANNOT_LOAD
from bot.policy.retry import ROWS

_BAR_CELLS = 16
_TOLD_S = 0.05
"""Of less, "0.0 s" would be told."""

LATE_SHARE, LEAST_LATE_S = 0.2, 2.0
"""A wait is called late once it is over what was foretold by this share, and these seconds."""


def seconds_text(seconds: float) -> str:
    """A duration as people say it: ``0.4 s``, ``12 s``, ``3 min 05 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 120:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s"


def bytes_text(size: int | None) -> str:
    """A size in GB as LM Studio shows it, ``?`` when unknown."""
    # GB of 10^9, since a model of 5 GB there must not be 4.7 here.
    return "?" if size is None else f"{size / 1e9:.1f} GB"


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 model``, ``2 models``."""
    # `1 models` reads like a fault.
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def serving_text(hosts: Sequence[HostSnapshot]) -> str:
    """How it stands, as systemd's status line says it."""
    return (
        f"serving; {sum(host.is_serving and host.tells for host in hosts)} of {len(hosts)} hosts up"
    )


def host_title(host: HostSnapshot) -> str:
    """A host's name, and its address where that is something else."""
    return host.name if host.name == host.address else f"{host.name} ({host.address})"


def bar(fraction: float, cells: int = _BAR_CELLS) -> str:
    """A progress bar of ``cells`` characters."""
    full = round(max(0.0, min(1.0, fraction)) * cells)
    return "█" * full + "░" * (cells - full)


def progress_line(step: Progress) -> str:
    """One line: place in the queue, what is evicted, or how far a load is."""
    match step:
        case Queued(where=where, model=model, position=position, seconds=seconds):
            eta = f" · about {seconds_text(seconds)}" if seconds else ""
            if where is None:
                # It may be somebody else's that was replied to.
                what = "the answer" if position == 1 else f"{position} answers"
                return f"⏳ Waiting for {what} that this goes on from"
            if position == 1 and step.finishing is not None:
                return (
                    f"⏳ You're next: {where} is finishing an answer with `{step.finishing}`{eta}"
                )
            return f"⏳ Waiting for `{model}` on {where}: place {position} in the queue{eta}"
        case Evicting(host=host, model=model, evicted=evicted):
            # Its own smaller copy leaves: called "making room", it read as if it were given up.
            if set(evicted) == {model}:
                return f"🔁 Reloading `{model}` on {host} with room for a longer text"
            names = ", ".join(f"`{key}`" for key in evicted)
            return f"📤 Making room for `{model}` on {host}: unloading {names}"
        case Waking(host=host, model=model, seconds_left=left):
            eta = f" · about {seconds_text(left)}" if left else " · it takes longer than usual"
            return f"⏰ Waking {host}, which has `{model}`{eta}"
        case Loading(host=host, model=model, fraction=fraction):
            far = f"`{bar(fraction)}` {fraction:.0%}"
            return " · ".join((f"📦 Loading `{model}` on {host}\n{far}", *left_words(step)))


def left_words(step: Loading) -> list[str]:
    """What is known of a load's end: how long it still takes, or that it does not get on."""
    if step.is_held:
        so_far = seconds_text(step.elapsed_s)
        if step.stands_s is not None:
            return [f"another Lantern stands still in its load ({so_far})"]
        return [f"an earlier load ends first ({so_far})"]
    left, usual = step.seconds_left, step.usual_s
    # `100% · 0.0 s left` says nothing twice.
    words = [f"{seconds_text(left)} left"] if left and left >= 0.1 else []
    if step.stands_s is not None:
        words = [f"stands still for {seconds_text(step.stands_s)}"]
    return words + ([f"longer than usual (~{seconds_text(usual)})"] if usual else [])


def readiness_text(ready: Readiness) -> str:
    """How a load ended, never called ready where the wanted model is not in memory."""
    # `Ready` was once said of a model that nobody could load, because a walk that ended at a
    # provider or at nobody looked like one that had nothing to load.
    by, why = ready.by, standing_words(ready.failed)
    wanted = f"`{ready.model}`" if ready.provider is None else f"☁ {ready.provider}"
    if by is None:
        return f"❌ Nobody can answer with {wanted} right now{f': {why}' if why else '.'}"
    if ready.provider is not None and by.provider == ready.provider:
        return f"✅ {candidate_title(by)} answers from now on."
    if ready.provider is None and ready.is_as_wished:
        after = "" if ready.waited_s is None else f" after {seconds_text(ready.waited_s)}"
        return f"✅ Ready: `{by.model}` is in memory on {by.where}{after}."
    if ready.provider is None and not any(r.model == ready.model for r in ready.failed):
        return f"⚠ {candidate_title(by)} goes before {wanted} here and answers first."
    # "zai answers instead" read as if something had been asked, while a choice alone was made.
    can = f"{wanted} can be {'loaded' if ready.provider is None else 'asked'}"
    until = "a host can answer" if wanted == f"`{AUTO}`" else can
    return f"⚠ Until {until}, {candidate_title(by)} answers here{f': {why}' if why else '.'}"


def unready_lines(ready: Readiness, tell: Callable[[str], str] = shortly) -> str:
    """Why each host or provider could not, a line each; models other than the wanted are named.

    ``tell`` makes a reason fit its reader.
    """
    failed = [replace(rejection, reason=tell(rejection.reason)) for rejection in ready.failed]
    # One that was asked twice is told once, and named once.
    own = (
        (r, r.reason if r.reason.startswith(f"{r.where} ") else f"{r.where}: {r.reason}")
        for r in failed
    )
    told = (line if r.model == ready.model else rejection_line(r) for r, line in own)
    return "\n".join(f"• {line}" for line in dict.fromkeys(told))


def silence_line(step: Silence) -> str:
    """One line under an answer whose text has paused."""
    return f"⏳ no word for {step.seconds:.0f} s; it may still go on"


def aside_line(event: Offered | Silence | Resuming) -> str:
    """One line about an answer under way, for a face that shows each only once."""
    match event:
        case Offered():
            return offer_text(event)
        case Silence():
            return silence_line(event)
        case Resuming():
            return resuming_line(event)


def resuming_line(step: Resuming, status: object = None) -> str:
    """One line under an answer whose host was lost, until another's first word.

    Args:
        step: Who was lost, and who is asked.
        status: What was said last of whoever is asked.
    """
    match status:
        case Queued(position=position):
            how = f": place {position} in its queue"
        case Loading(fraction=fraction, seconds_left=left):
            eta = f" · {seconds_text(left)} left" if left and left >= 0.1 else ""
            how = f": loading {fraction:.0%}{eta}"
        case _:
            how = " …"
    return f"↪ {step.lost} was lost; going on at {step.candidate.where}{how}"


def reading_line(step: Reading, elapsed_s: float) -> str:
    """One line while the model reads the prompt; the percent is from measured speed."""
    # Of a host that hung it was said for a minute and a half that it was reading.
    if step.doubt_s is not None and elapsed_s >= step.doubt_s:
        where = step.candidate.where
        return f"⏳ {where} has not begun its answer after {elapsed_s:.0f} s; it may still come"
    if step.expected_s is None or step.expected_s <= 0:
        return f"📖 {step.candidate.where} is reading {step.prompt_tokens:,} tokens …"
    # A guess may run out before the reading does: never 100 % of what goes on.
    percent = min(0.99, elapsed_s / step.expected_s)
    return f"📖 {step.candidate.where} is reading {step.prompt_tokens:,} tokens … {percent:.0%}"


def cost_text(micro_usd: int) -> str:
    """Money as people say it: cents below a dollar."""
    if micro_usd >= 1_000_000:
        return f"${micro_usd / 1_000_000:.2f}"
    return f"{micro_usd / 10_000:.2g} ¢"


def blind_text(model: ModelKey, seer: Candidate | None) -> str:
    """Said where pictures were left out for a model that cannot see, and who could have."""
    words = f"`{model}` cannot see pictures, so your words alone were answered"
    if seer is None:
        return f"{words}; no model here can see them."
    if seer.provider is None:
        return f"{words}; `{seer.model}` on {seer.where} can see them."
    likely = seer.likely_micro_usd
    price = "price unknown" if likely is None else f"about {cost_text(likely)}"
    return f"{words}; ☁ {seer.where} can see them, {price}."


def footer(receipt: Receipt) -> str:
    """Who answered, where, how much, how fast; one line without markup."""
    # First what it cost and that it left the LAN: whatever is cut, this is read.
    mark = cloud_mark(receipt)
    parts = [mark] if mark else []
    parts.extend(filter(None, _by_whom(receipt)))
    # A greeting is nobody's work.
    parts.extend(_usage_parts(receipt) if receipt.model is not None else ())
    if receipt.finish == "length":
        parts.append("cut at its length limit")
    # Refused before anybody was asked, nobody declined.
    if receipt.finish == "refused" and receipt.model is not None:
        parts.append("declined to go on")
    if receipt.from_cache:
        parts.append("♻ from the cache")
    return " · ".join(parts)


def _by_whom(receipt: Receipt) -> Iterator[str]:
    """The models, then the hosts that gave its words; of each kind the last ones' stands last."""
    joined = (seam.host for seam in receipt.seams if seam.pause_s is not None)
    host = receipt.host if receipt.provider is None else None
    models = (*(by.model for by in receipt.before), receipt.model)
    hosts = (*(by.host for by in receipt.before), *joined, host)
    for *earlier, last in (models, hosts):
        names = [str(name) for name in dict.fromkeys(earlier) if name and name != last]
        yield " → ".join(names if last is None else [*names, str(last)])


def names_in(receipt: Receipt | None, mark: str = "") -> frozenset[str]:
    """What a footer names: parts of it that are nobody's words, whatever they spell.

    Args:
        receipt: Whose footer it is.
        mark: Of providers that gave words, where no receipt tells of them.
    """
    marks = f"{mark} · {receipt_mark(receipt)}".split(" · ")
    by_whom = () if receipt is None else _by_whom(receipt)
    return frozenset(filter(None, (*by_whom, *(each.removeprefix("☁ ") for each in marks))))


def cloud_mark(receipt: Receipt) -> str:
    """Who answered beyond the LAN and what the question cost; empty where nothing left."""
    parts = [receipt_mark(receipt)] if receipt_mark(receipt) else []
    # Also of calls that failed before a host of ours answered.
    if receipt.cost_micro_usd:
        parts.append(_spent_text(receipt))
    return " · ".join(parts)


def _spent_text(receipt: Receipt) -> str:
    about = "~" if receipt.is_cost_estimated else ""
    return about + cost_text(receipt.cost_micro_usd)


def receipt_mark(receipt: Receipt | None) -> str:
    """What stands with an answer's words: every provider that gave some of them."""
    if receipt is None:
        return ""
    whose = (*(candidate.provider for candidate in receipt.before), receipt.provider)
    return " · ".join(provider_mark(name) for name in dict.fromkeys(whose) if name is not None)


def provider_mark(provider: ProviderName | None) -> str:
    """What stands with a provider's words, everywhere; empty for a host's."""
    return "" if provider is None else f"☁ {provider}"


def _usage_parts(receipt: Receipt) -> list[str]:
    parts: list[str] = []
    # The wait is counted from the question, queue and load included: that is what a person feels.
    usage, timing = receipt.usage, receipt.timing
    if usage.completion_tokens:
        about = "~" if usage.estimated else ""
        parts.append(about + counted(usage.completion_tokens, "token"))
        if (speed := receipt.tokens_per_s) is not None:
            parts.append(f"{speed:.0f} tok/s")
    if timing.first_token_s is not None:
        parts.append(f"{seconds_text(timing.wait_s)} to first token")
    # "0.1 s to first token" was no comfort to who had watched half a minute of thinking.
    if timing.thinking_s >= 1:
        parts.append(f"thought for {seconds_text(timing.thinking_s)}")
    return parts


def candidate_title(candidate: Candidate) -> str:
    """Who answers, in short: a model on a host, or a provider."""
    if candidate.provider is not None:
        return f"☁ {candidate.provider}"
    return f"`{candidate.model}` on {candidate.where}"


def offer_text(offer: Offered, step: Progress | None = None, waited_s: float = 0.0) -> str:
    """One line: the wait expected for a load, and the ways offered instead of it.

    Args:
        offer: As it was made.
        step: How things stand now; its own estimate goes before the one of the offer.
        waited_s: Since then.
    """
    parts = [_here_text(offer.here.seconds or 0.0, step, waited_s)]
    if offer.warm is not None:
        parts.append(f"`{offer.warm.model}` now")
    if offer.cloud is not None:
        likely = offer.cloud.likely_micro_usd
        price = "price unknown" if likely is None else f"about {cost_text(likely)}"
        parts.append(f"☁ {offer.cloud.where}, {price}")
    return "🕰 " + " · ".join(parts)


def _here_text(foretold_s: float, step: Progress | None, waited_s: float) -> str:
    left_s, is_standing = foretold_s - waited_s, False
    if isinstance(step, Loading):
        # It stood at "here in ~15 s" for as long as the load took.
        left_s = left_s if step.seconds_left is None else step.seconds_left
        # "Here in a moment" was said of one that did not get on, for 48 s.
        is_standing = step.stands_s is not None
    if left_s >= 1 and not is_standing:
        return f"here in ~{seconds_text(left_s)}"
    # Told from the last second on, it was said of each load that came in time, just where its asker
    # decides whether to pay.
    is_late = waited_s - foretold_s > max(LEAST_LATE_S, LATE_SHARE * foretold_s)
    return "here later than expected" if is_late or is_standing else "here in a moment"


def offer_labels(offer: Offered) -> tuple[str, str]:
    """Of the buttons that take what is in memory and the cloud: ``small-8b now``, ``zai ≈ 0.2 ¢``.

    Each is empty where that way is not offered.
    """
    warm = cloud = ""
    if offer.warm is not None:
        warm = f"{str(offer.warm.model).rpartition('/')[2][:60]} now"
    if offer.cloud is not None:
        likely = offer.cloud.likely_micro_usd
        cloud = offer.cloud.where + (f" ≈ {cost_text(likely)}" if likely else "")
    return warm, cloud


def stopped_text(event: Stopped, *, has_text: bool = True) -> str:
    """Said under an answer that is not whole, or in place of one that never began."""
    if event.by_asker:
        # With its question gone, others in the room could not tell why.
        return " ".join(filter(None, ("⏹ Stopped.", event.reason)))
    if not has_text:
        return f"⚠ {event.reason}"
    return f"⚠ The answer was cut: {event.reason} The text so far is kept."


def error_text(error: BotError) -> str:
    """What happened, what was tried, what to do."""
    return f"❌ {error.user_message}"


def candidate_line(candidate: Candidate) -> str:
    """One line of a route."""
    seconds = f" ~{seconds_text(candidate.seconds)}" if candidate.seconds is not None else ""
    mark = "☁ " if candidate.provider is not None else ""
    return f"{mark}{candidate.where} (`{candidate.model}`){seconds}: {candidate.reason}"


def rejection_line(rejection: Rejection) -> str:
    """One line of what a route left out, or of who was tried and for how long."""
    spent = f" after {seconds_text(rejection.spent_s)}" if rejection.spent_s >= _TOLD_S else ""
    return f"{rejection.where} (`{rejection.model}`){spent}: {rejection.reason}"


def why_text(turn: Turn, reader: UserId | None = None) -> str:
    """For one reply: who answered and why, who was rejected, what ended it, where the time went.

    Args:
        turn: As it is stored.
        reader: Who is told, where that may be somebody else than who asked.
    """
    receipt = turn.receipt
    if receipt is None or turn.status == "running":
        return "That reply is still being made."
    # Where nobody answered and something was paid all the same, this once read "Answered by:
    # 0.0084 ¢"; and a provider that declined at once was said to have answered.
    by = f"{'Answered by' if turn.reply_text else 'Asked'}: {footer(receipt)}"
    if receipt.model is None:
        by = (
            f"Nobody answered; what was tried cost {_spent_text(receipt)}."
            if receipt.cost_micro_usd
            else "Nobody answered."
        )
    lines = [
        " · ".join(filter(None, (f"**{shown_name(receipt.persona)}**", receipt.choice_reason))),
        receipt.route.reason,
        instead_words(receipt) if turn.reply_text else "",
        by,
        *_listed("Candidates, best first:", map(candidate_line, receipt.route.candidates)),
        *_listed("Left for one that was sooner:", map(rejection_line, receipt.left)),
        *_listed("Tried and failed:", map(rejection_line, receipt.attempts)),
        *_listed("Left out:", map(rejection_line, receipt.route.rejected)),
        *(f"Pressed: {press}" for press in receipt.presses),
    ]
    if receipt.finish == "length":
        lines.append("Ended at its length limit (finish reason `length`); Continue goes on.")
    lines.extend(map(_seam_line, receipt.seams))
    if cause := receipt.cause or receipt.ending:
        lines.append(f"{'Broke off' if turn.reply_text else 'Failed'}: {cause}")
    lines.append(_time_line(receipt.timing))
    if (told := foretold(receipt)) is not None:
        predicted_s, actual_s = map(seconds_text, told)
        # Who was asked late was not predicted for the whole wait.
        since = " once asked" if receipt.timing.until_asked_s >= LOST_S else ""
        lines.append(f"First word{since}: {predicted_s} predicted, {actual_s} in fact")
    lines.extend(f"Note: {notice}" for notice in receipt.notices)
    text = "\n".join(filter(None, lines))
    return text if reader in (None, turn.user) else as_others_read(text)


def _seam_line(seam: Seam) -> str:
    said = f"Lost in the middle: {seam.host}, after about {counted(seam.tokens, 'token')}"
    went_on = (
        "" if seam.pause_s is None else f" The next went on {seconds_text(seam.pause_s)} later."
    )
    return f"{said}: {seam.reason}{went_on}"


def _listed(head: str, lines: Iterable[str]) -> list[str]:
    told = [f"• {line}" for line in lines]
    return [head, *told] if told else []


def _time_line(timing: Timing) -> str:
    # A zero tells nothing: three of five parts were `0.0 s` under most answers.
    spent = {
        "until asked": timing.until_asked_s if timing.until_asked_s >= LOST_S else 0.0,
        "queue": timing.queue_s,
        "load": timing.load_s,
        "prefill": timing.first_token_s or 0.0,
        "thinking": timing.thinking_s,
        "generation": timing.generation_s - timing.thinking_s,
    }
    parts = [f"{what} {seconds_text(s)}" for what, s in spent.items() if s >= _TOLD_S]
    return f"Time: {' · '.join(parts)}" if parts else ""


def instance_line(instance: Instance, now: float) -> str:
    """One resident model of a host."""
    marks = ["own" if instance.own else "foreign"]
    if instance.pinned:
        marks.append("pinned")
    if instance.leases:
        marks.append(f"{instance.leases} answering")
    elif instance.idle_since is not None:
        marks.append(f"idle {seconds_text(max(0.0, now - instance.idle_since))}")
    if instance.slowdown > 1.0:
        marks.append(f"{instance.slowdown:.0f} times slower than usual")
    if instance.context_length is not None:
        marks.append(f"context {instance.context_length:,}")
    return f"`{instance.identifier}` ({', '.join(marks)})"


def fleet_notice(event: FleetEvent) -> str:
    """What the owners are told of a host; nothing of what is no news to them."""
    match event.what:
        case "model slow":
            return (
                f"🐌 `{event.model}` on {event.host} has become far slower: {event.reason}. Part "
                "of it may not have fitted on the graphics card. Questions go elsewhere where "
                f"they can; `/fleet unload {event.model}` lets it be loaded anew."
            )
        case "model quick":
            return f"🟢 `{event.model}` on {event.host} is as fast as usual again: {event.reason}."
        case "host resumed" if event.reason:
            return f"🟢 {event.host} takes new turns again: {event.reason}."
        case _:
            return ""


def state_text(host: HostSnapshot, now: float) -> str:
    """How a host stands, why, and how long it drains."""
    why = f": {host.reason}" if host.reason and not host.tells else ""
    if host.interface == "/v1" and host.state not in AWAY:
        why = f": {CANNOT_LOAD[host.interface]}"
    if host.silent_since is not None:
        why = f" · silent for {seconds_text(now - host.silent_since)}{why}"
    drains = ""
    if host.drained_until is not None:
        left_s = max(0.0, host.drained_until - now)
        until = "until it is resumed" if left_s == math.inf else f"{seconds_text(left_s)} more"
        if host.state == "draining":
            return f"draining {until}{why}"
        drains = f" (draining {until})"
    return f"{host.state}{why}{drains}"


def unstored_text(drain: Drain, reason: str) -> str:
    """What is said beside a drain, or its end, where a reason kept it from being stored."""
    if not reason:
        return ""
    after = "it is not drained any more" if drain.is_on else "it may drain again"
    return f" This is not stored: after a restart of Lantern {after}. {reason}"


def host_lines(host: HostSnapshot, now: float) -> tuple[str, ...]:
    """One host for a status page: a head line, then what is in its memory."""
    mark = {
        "up": "🟢",
        "draining": "🟡",
        "unknown": "⚪",
        "down": "🔴",
        "asleep": "😴",
        "waking": "⏰",
    }[host.state]
    mark = mark if host.silent_since is None else "🟡"
    address = "" if host.name == host.address else f" {host.address}"
    lines = [f"{mark} **{host.name}**{address} · {state_text(host, now)}"]
    if host.state in ("up", "draining"):
        on_disk = counted(len(host.models), "model")
        sizes = [i.size_bytes for i in host.instances if i.size_bytes is not None]
        used = f"{len(host.instances)} loaded, {bytes_text(sum(sizes))}"
        whole = "" if host.memory_bytes is None else f" of {bytes_text(host.memory_bytes)}"
        lines[0] += f" · {on_disk} on disk · {used}{whole}"
        # Of a host that is away nobody knows what it still holds.
        lines.extend(f"└ {instance_line(instance, now)}" for instance in host.instances)
    if host.state == "down" and host.next_probe_at is not None and host.next_probe_at > now:
        lines[0] += f" · looked at again in {seconds_text(host.next_probe_at - now)}"
    if host.load is not None:
        guess = ", before anybody asks for it" if host.load.is_guess else ""
        lines.append(f"└ 📦 `{host.load.model_key}` loading {host.load.fraction:.0%}{guess}")
    for key, limits in host.limits.items():
        if limits.failure and now < limits.failed_until:
            left = seconds_text(limits.failed_until - now)
            why = shortly(limits.failure).rstrip(".")
            lines.append(f"└ ⚠️ `{key}` did not load, tried again in {left}: {why}")
    waiting = sum(host.waiting.values())
    if waiting:
        lines.append(f"└ ⏳ {waiting} waiting")
    return tuple(lines)


def provider_lines(standing: ProviderStanding, *, is_admin: bool) -> Iterator[str]:
    """One provider for a status page: may it be asked, who waits for it, what it cost.

    Why it is out, each of its keys and what was spent are its owner's business: others read
    whether it is available.
    """
    mark = "🔴" if standing.reason else "🟡" if standing.limited_s else "🟢"
    text = _standing_text(standing, is_admin=is_admin)
    yield f"{mark} ☁ **{standing.name}** · `{standing.model}` · {text}"
    for each in standing.deployments if is_admin else ():
        yield f"└ {each.name} · {_standing_text(each, is_admin=True)}"


def _standing_text(standing: ProviderStanding, *, is_admin: bool) -> str:
    is_out, is_limited = bool(standing.reason), standing.limited_s > 0
    parts = ["resting" if is_out or is_limited else "available"]
    if is_admin and is_out:
        # Of several keys each has a line of its own, with these very words.
        count = len(standing.deployments)
        why = standing.reason.removeprefix(f"{standing.name} ").rstrip(".")
        parts = [f"out: all {count} of them" if count else f"out: {why}"]
    elif is_admin and is_limited:
        parts = [f"limited for {seconds_text(standing.limited_s)}"]
    parts += [f"{standing.running} answering"] if standing.running else []
    parts += [f"{standing.waiting} waiting"] if standing.waiting else []
    for account in standing.accounts if is_admin else ():
        spent, cap = account.spent_micro_usd, account.cap_micro_usd
        when = "today" if span_of(account) == "daily" else "this month"
        limit = "" if cap is None else f" of {dollars_text(cap)}"
        parts.append(f"{dollars_text(spent)}{limit} {when}")
    return " · ".join(parts)


def usage_text(report: UsageReport) -> str:
    """A period's tokens, speed and money, with what answering at home has saved."""
    total = report.total
    first, last = report.period.first, report.period.last
    lines = [
        f"**{first if first == last else f'{first} to {last}'}**: {_turns_words(total)}, "
        f"{total.prompt_tokens:,} tokens read, {total.completion_tokens:,} written"
    ]
    if total.tokens_per_s:
        lines.append(f"Speed: {total.tokens_per_s:.0f} tok/s on average")
    lines.append(f"Cost: {_line_cost(total)}{_cost_notes(total)}")
    if report.avoided_micro_usd:
        lines.append(
            f"Saved by answering here: {dollars_text(report.avoided_micro_usd)} "
            f"(at {report.avoided_by}'s price)"
        )
    for account in report.limits:
        left, cap = account.left_micro_usd, account.cap_micro_usd
        head = whose(account).capitalize()
        if left is not None and cap is not None:
            lines.append(f"{head}: {dollars_text(left)} of {dollars_text(cap)} left")
        elif account.payer == "all" and span_of(account) == "daily":
            lines.append(f"{head}: {dollars_text(account.spent_micro_usd)} spent, no limit")
    lines.extend(
        f"• ☁ {line.name}: {counted(line.cloud_answers, 'answer')}, "
        + ("plan" if line.plan_calls == line.cloud_calls else _line_cost(line))
        for line in report.providers
    )
    lines.extend(
        f"• `{line.name}`: {_turns_words(line)}, {counted(line.completion_tokens, 'token')} written"
        + (f", {_line_cost(line)}" if line.cost_micro_usd else "")
        for line in report.lines
    )
    return "\n".join(lines)


def _turns_words(line: UsageLine) -> str:
    parts = (
        (line.local_turns, counted(line.local_turns, "local answer")),
        (line.cloud_answers, counted(line.cloud_answers, "cloud answer")),
        (line.cached_turns, f"{counted(line.cached_turns, 'answer')} from the cache"),
    )
    return " + ".join(words for number, words in parts if number) or "no answers"


def _line_cost(line: UsageLine) -> str:
    return f"{'~' if line.assumed_micro_usd else ''}{dollars_text(line.cost_micro_usd)}"


def _cost_notes(line: UsageLine) -> str:
    notes: list[str] = []
    if line.reserved_micro_usd:
        notes.append(f"{dollars_text(line.reserved_micro_usd)} held for requests under way")
    if line.assumed_micro_usd:
        notes.append(
            f"{dollars_text(line.assumed_micro_usd)} of it counted here, not told by the provider"
        )
    if unanswered := line.cloud_calls - line.cloud_answers:
        notes.append(f"with {counted(unanswered, 'request')} that brought no answer")
    if line.plan_calls:
        notes.append(f"{counted(line.plan_calls, 'request')} on a plan")
    if line.unknown_price_calls:
        requests = counted(line.unknown_price_calls, "request")
        notes.append(f"{requests} at an unknown price")
    return f" ({'; '.join(notes)})" if notes else ""


def outage_notice(outage: OutageRecord, now: float) -> str:
    """One message for the owners: a provider is out, is back, or was out for a while."""
    name, back_at = f"☁ **{outage.name}**", outage.back_at
    lasted = seconds_text((now if back_at is None else back_at) - outage.began)
    # "Went elsewhere" was untrue of those that nobody answered.
    missed = (
        f" It left {counted(outage.elsewhere, 'question')} to others." if outage.elsewhere else ""
    )
    if back_at is None and ROWS[outage.kind].is_out:
        return f"{name} is out: {outage.reason}{missed}"
    if back_at is None:
        return f"{name} has not answered for {lasted}: {outage.reason}{missed}"
    if outage.is_told:
        return f"{name} answers again, for the first time in {lasted}.{missed}"
    often = f" ({outage.times} times)" if outage.times > 1 else ""
    return f"{name} answers again. It was out for {lasted}{often}: {outage.reason}{missed}"


def cloud_notice(event: CloudEvent) -> str:
    """One message for the owners, of what ``outage_notice`` does not tell."""
    match event:
        case ProviderNews(name=name, reason=reason):
            return f"☁ **{name}** does not take our requests: {reason} Look at its settings."
        case BudgetNews(what=what, account=account):
            spent, cap = account.spent_micro_usd, account.cap_micro_usd or 0
            head = f"💰 {whose(account).capitalize()} of {dollars_text(cap)} ({account.period})"
            if what == "alert":
                return (
                    f"{head}: {spent / cap if cap else 1.0:.0%} is spent ({dollars_text(spent)})."
                )
            goes_on = "Other providers and your own hosts" if account.name else "Your own hosts"
            place = f"providers.{account.name}" if account.name else "budget"
            return (
                f"{head} does not suffice for another answer. {goes_on} go on; "
                f"`{place}.{span_of(account)}_usd` raises the limit."
            )
