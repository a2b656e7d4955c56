"""Two things at once: many in one channel, changes while a turn waits, hosts lost, presses."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from bench.discord.rig import Rig, each
from bench.discord.stage import SEES, SHARED, Stage, host
from bench.discord.standin import Message
from bot.sim.host import SimHost
from bot.sim.journal import LoadStarted, PredictionStarted
from bot.sim.models import GB

STAGE = Stage(
    hosts=(
        host("h0", SHARED, SEES, load_bytes_per_s=2.0 * GB),
        host("h1", SHARED, load_bytes_per_s=2.0 * GB),
    ),
    channels=(
        *("general", "four", "during", "private", "away", "barred", "changed", "lost", "probed"),
        *("seam", "presses", "deleted", "drained"),
    ),
    config="discord: {default_persona: sage}\nhealth: {interval: 1s, timeout: 1s}\n"
    "routing: {when_slow: wait}\n",
    latency={"rest_ms": 25, "jitter_ms": 15, "gateway_ms": 10},
    has_provider=True,
)


async def _empty(rig: Rig) -> None:
    """The model leaves every memory."""
    given = {"model": "qwen/qwen3-8b"}
    await rig.run("alice", "#general", "fleet unload", even_foreign=True, **given)


async def _waiting(rig: Rig, where: str, tag: str, size: int = 20) -> Message:
    """A question that waits for a load which stands still."""
    for one in rig.hosts:
        one.faults.stall_load(0.4, times=None)
    message = await rig.reply(await rig.say("bob", where, f"Who answers? [[count {size} {tag}]]"))
    await rig.until(lambda: "cancel" in message.acts, "a Cancel")
    return message


async def _up(rig: Rig, *hosts: SimHost) -> None:
    """Hosts are there again, and seen to be."""
    for one in hosts:
        one.faults.clear()
        await one.start()
    async with asyncio.timeout(60):
        while True:
            status = (await rig.run("alice", "#general", "fleet status")).text
            if all(f"🟢 **{one.config.name}**" in status for one in rig.hosts):
                return
            await asyncio.sleep(0.5)


@asynccontextmanager
async def _down(rig: Rig) -> AsyncGenerator[None]:
    """Every host is away."""
    for one in rig.hosts:
        await one.stop()
    yield
    await _up(rig, *rig.hosts)


async def four_in_a_channel(rig: Rig) -> None:
    await rig.ask("bob", "#general", "Warm up [[count 3 warm]]")
    users = ("bob", "carol", "dave", "alice")
    for n, user in enumerate(users):
        await rig.say(user, "#four", f"At once {n} [[count {60 + n} four{n}]]")
    for n in range(4):
        await rig.hears(f"four at once: answer {n} is whole", f"four{n}", 60 + n)
    await rig.settled()
    await rig.ask("bob", "#four", "What was said? [[count 3 sum]]")
    last = rig.prompts()[-1]
    known = all(f"At once {n}" in last and f"four{n}x5." in last for n in range(4))
    rig.check("what comes next knows all four and their answers", known, last[-300:])


async def during_an_answer(rig: Rig) -> None:
    await rig.say("bob", "#during", "First [[count 200 first]]")
    await rig.grown("first")
    await rig.say("bob", "#during", "Of the same person [[count 30 second]]")
    await rig.say("carol", "#during", "Of another [[count 30 third]]")
    talk = (await rig.discord.send(user="carol", channel="#during", content="Just talk"))["id"]
    for tag, size in (("first", 200), ("second", 30), ("third", 30)):
        await rig.hears(f"questions during an answer: the {tag} is whole", tag, size)
    await rig.settled()
    prompt = next(text for text in rig.prompts() if text.rstrip().endswith("[[count 30 second]]"))
    rig.check("one's second question knows one's first answer", "firstx199." in prompt)
    left = [m for m in rig.discord.mine() if m.answers == talk]
    rig.check("plain talk is left alone", not left)


async def lost_in_the_middle(rig: Rig) -> None:
    for name in ("h0", "h1"):
        given = {"model": "qwen/qwen3-8b", "host": name}
        await rig.ended(
            await rig.message(await rig.run("alice", "#general", "fleet load", **given))
        )
    await rig.say("bob", "#seam", "Go [[count 300 seam]]")
    await rig.grown("seam", 40)

    def last_asked(one: SimHost) -> float:
        return max((event.at for event in one.journal.of(PredictionStarted)), default=0.0)

    busy = max(rig.hosts, key=last_asked)
    await busy.stop()
    await rig.hears("host lost in the middle: another goes on, whole", "seam", 300)
    await _up(rig, busy)


async def lost_in_a_load(rig: Rig) -> None:
    await _empty(rig)
    message = await _waiting(rig, "#lost", "lost", 40)
    await rig.until(lambda: "%" in message.text, "a bar")
    busy = next(one for one in rig.hosts if one.config.name in message.text)
    await busy.stop()
    for one in rig.hosts:
        one.faults.clear()
    await rig.hears("host lost in a load: the turn goes on elsewhere, whole", "lost", 40)
    await _up(rig, busy)


async def probes_hang_in_a_load(rig: Rig) -> None:
    await _empty(rig)
    for one in rig.hosts:
        one.journal.clear()
    message = await rig.reply(await rig.say("bob", "#probed", "Go [[count 30 probed]]"))
    await rig.until(lambda: "%" in message.text, "a bar")
    for one in rig.hosts:
        one.faults.hang(path="/api")
    await asyncio.sleep(3.5)
    for one in rig.hosts:
        one.faults.clear()
    await rig.hears("probes hang in a load: whole", "probed", 30)
    loads = sum(len(one.journal.of(LoadStarted)) for one in rig.hosts)
    rig.check("probes hang in a load: one load", loads == 1, loads)


async def private_while_it_waits(rig: Rig) -> None:
    assert rig.provider is not None
    await _empty(rig)
    bought = len(rig.provider.journal.calls)
    message = await _waiting(rig, "#private", "private")
    await rig.run("alice", "#private", "settings", local_only="on", scope="channel")
    async with _down(rig):
        await rig.ended(message)
        sent = len(rig.provider.journal.calls) - bought
        rig.check("local_only while it waits: nothing goes to a provider", not sent, message.text)
        is_said = "❌" in message.text and "retry" in message.acts
        rig.check("local_only while it waits: says why, offers Retry", is_said, message.text)
    async with _down(rig):
        message = await rig.ask("bob", "#away", "May leave [[count 20 away]]")
        rig.check("hosts away, not private: a provider answers", rig.is_whole("away", 20))
        rig.check("and its answer is marked", "☁" in message.text, message.text[-80:])


async def barred_while_it_waits(rig: Rig) -> None:
    await _empty(rig)
    message = await _waiting(rig, "#barred", "barred")
    panel = await rig.message(await rig.run("alice", "#barred", "settings", scope="channel"))
    for name, value in (("footer", "off"), ("answered", "carol")):
        menu = next(number for number in panel.ids if number.endswith(f":{name}"))
        asked = {"user": "alice", "message": panel.id, "custom_id": menu}
        await rig.discord.select(**asked, values=[value])
        await asyncio.sleep(0.5)
        await rig.discord.look()
    for one in rig.hosts:
        one.faults.clear()
    await rig.ended(message)
    is_told = not rig.said("barred") and message.text.strip()
    rig.check("who may not ask any more is told, not answered", is_told, message.text[-200:])


async def persona_changes_while_it_waits(rig: Rig) -> None:
    await _empty(rig)
    await _waiting(rig, "#changed", "changed")
    await rig.run("alice", "#changed", "persona", "ack", name="default", scope="channel")
    await asyncio.sleep(1)
    for one in rig.hosts:
        one.faults.clear()
    await rig.hears("another persona while it waits: whole", "changed", 20)
    await rig.settled()


async def many_presses(rig: Rig) -> None:
    message = await rig.ask("bob", "#presses", "Go [[count 80 press]]")
    for _ in range(3):
        users = ("bob", "carol", "bob", "dave")
        await each(rig.press(user, message, "retry") for user in users)
        await rig.ended(message)
        await asyncio.sleep(0.4)
    channel = rig.channel("#presses")
    at_rest = lambda: not message.is_working and rig.is_whole("press", 80, channel)  # noqa: E731
    await rig.sees("Retry by four at once, thrice: whole, in its place", at_rest)
    presses = (("bob", "older"), ("carol", "retry"), ("dave", "older"), ("bob", "other"))
    await each(rig.press(user, message, act) for user, act in presses)
    await rig.sees("◀, Retry and Other model at once: whole", at_rest)
    for n in range(4):
        question = await rig.say("bob", "#presses", f"Go [[count 150 stop{n}]]")
        message = await rig.reply(question)
        await rig.grown(f"stop{n}", 0)
        await asyncio.sleep(0.05 * n)
        await each(
            (
                rig.press("bob", message, "stop"),
                rig.run("bob", "#presses", "stop"),
                rig.discord.edit(user="bob", message=question, content="Something else"),
            )
        )
        await rig.ended(message)
        said = rig.said(f"stop{n}")
        rig.check(f"stopped two ways and edited, {n}", said == list(range(len(said))), len(said))


async def deleted_in_a_load(rig: Rig) -> None:
    await _empty(rig)
    message = await _waiting(rig, "#deleted", "question")
    assert message.answers is not None
    await rig.discord.delete(user="bob", message=message.answers)
    gone = lambda: message.seen["deleted"] or not message.is_working  # noqa: E731
    await rig.sees("question deleted in its load: its answer ends", gone)
    message = await _waiting(rig, "#deleted", "reply")
    await rig.discord.delete(message=message.id)
    for one in rig.hosts:
        one.faults.clear()
    await asyncio.sleep(5)
    said = rig.said("question") + rig.said("reply")
    rig.check("a reply deleted in its load does not come again", not said, said)


async def told_to_stop(rig: Rig) -> None:
    await rig.say("bob", "#drained", "Go [[count 40 short]]")
    await rig.say("carol", "#drained", "Go [[count 3000 long]]")
    await rig.grown("long")
    code = await rig.stop()
    rig.check("SIGTERM in mid-stream: exit 0", code == 0, code)
    rig.check("SIGTERM: short answers are finished first", rig.is_whole("short", 40))
    await rig.start()
    await rig.settled()
    said = rig.said("long")
    rig.check(
        "SIGTERM: nothing of the long one is doubled", said == list(range(len(said))), len(said)
    )
    last = rig.discord.mine(rig.channel("#drained"))[-1]
    offered = {"retry", "continue"} & set(last.acts)
    rig.check("SIGTERM: the long one can be gone on with", offered, last.text[-80:])


SCENES = (
    *(four_in_a_channel, during_an_answer, lost_in_the_middle, lost_in_a_load),
    *(probes_hang_in_a_load, private_while_it_waits, barred_while_it_waits),
    *(persona_changes_while_it_waits, many_presses, deleted_in_a_load, told_to_stop),
)
