"""What a board shows: hosts, their memory, models and queues, the day's cost, a picture of it."""

from collections.abc import Sequence

from bot.chat import words
from bot.chat.usage import UsageReport
from bot.documents.day_chart import day_chart
from bot.domain.cloud import LastDay, ProviderStanding
from bot.domain.hosts import AWAY, FleetSnapshot, HostSnapshot

BOARD_EVERY_S = 60.0
"""Least seconds between two looks at a board. Most are over an hour old, and of edits of such
Discord takes few; a channel's answers need its other edits."""

PICTURE_EVERY_S = 600.0
"""Least seconds between two pictures of a board: each edit sends all of it again."""

_LONGEST = 1900
"""Characters, so that the last line still goes below."""

_MARKS = {
    "up": "🟢",
    "draining": "🟡",
    "unknown": "⚪",
    "asleep": "💤",
    "waking": "⏰",
    "down": "🔴",
}


def board_text(
    snapshot: FleetSnapshot, clouds: Sequence[ProviderStanding], today: UsageReport | None
) -> str:
    """The whole board, of counts and names alone: nothing that anybody said stands on it.

    Args:
        snapshot: The fleet now.
        clouds: Every provider.
        today: What this server used today; None while the ledger cannot be read.
    """
    lines = ["### The fleet"]
    for nth, host in enumerate(snapshot.hosts.values(), 1):
        lines.extend(_host_lines(host, nth, snapshot.taken_at))
    for standing in clouds:
        lines.extend(words.provider_lines(standing, is_admin=False))
    if today is not None:
        # Its first line is the day's; the models are listed above, as they stand.
        head, *_ = words.usage_text(today).splitlines()
        cost = f"Cost here today: {words.cost_text(today.total.cost_micro_usd)}"
        saved = today.avoided_micro_usd
        lines += [head, cost + (f" · saved {words.cost_text(saved)}" if saved else "")]
    shown, room = list[str](), _LONGEST
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            shown.append(
                f"… and {words.counted(len(lines) - len(shown), 'line')} more: `/fleet status`"
            )
            break
        shown.append(line)
    return "\n".join(shown)


def board_picture(day: LastDay) -> tuple[bytes, str] | None:
    """A server's last 24 hours as a PNG, and in words for whoever cannot see it.

    None where nothing was answered. It takes a tenth of a second, which belongs into a thread.
    """
    local, cloud, cached, tokens, cost = (
        sum(getattr(hour, name) for hour in day.hours)
        for name in ("local", "cloud", "cached", "tokens", "cost_micro_usd")
    )
    if not (answers := local + cloud + cached):
        return None
    read_and_written = f"{tokens / 1e6:.1f} M" if tokens >= 1e6 else f"{tokens:,}"
    said = [words.counted(answers, "answer"), f"{read_and_written} tokens"]
    said += [words.cost_text(cost).replace("¢", "cents")] if cost else []
    shares = zip(
        (local, cloud, cached), ("by own hosts", "by providers", "given again"), strict=True
    )
    who = ", ".join(f"{number:,} {how}" for number, how in shares if number)
    busiest = max(day.hours, key=lambda hour: hour.local + hour.cloud + hour.cached)
    at = (day.starts_at.hour + busiest.nth) % 24
    alt = f"The last 24 hours: {', '.join(said)}; {who}; most of them from {at:02}:00 on."
    return day_chart(day, " · ".join(said)), alt


def _host_lines(host: HostSnapshot, nth: int, now: float) -> list[str]:
    # An address is for those who ask; here it would stand before a whole server for months.
    name = f"host {nth}" if host.name == host.address else host.name
    head = f"{_MARKS[host.state] if host.silent_since is None else '🟡'} **{name}**"
    if host.state in AWAY:
        # Of a host that is away nobody knows what it still holds.
        return [f"{head} · {host.state}"]
    used, whole = sum(i.size_bytes or 0 for i in host.instances), host.memory_bytes
    memory = f"{words.bytes_text(used)} in use"
    if whole:
        memory = f"`{words.bar(used / whole, 10)}` {words.bytes_text(used)} of "
        memory += words.bytes_text(whole)
    lines = [f"{head} · {memory}{' · draining' if host.state == 'draining' else ''}"]
    if host.silent_since is not None:
        lines[0] += f" · silent for {words.seconds_text(now - host.silent_since)}"
    for instance in host.instances:
        busy = f" · {instance.leases} answering" if instance.leases else ""
        lines.append(f"└ `{instance.identifier}`{busy}")
    if host.load is not None:
        guess = ", before anybody asks for it" if host.load.is_guess else ""
        lines.append(f"└ 📦 `{host.load.model_key}` loading {host.load.fraction:.0%}{guess}")
    if waiting := sum(host.waiting.values()):
        lines.append(f"└ ⏳ {waiting} waiting")
    return lines
