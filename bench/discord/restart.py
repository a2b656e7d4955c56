"""Killed with -9 in a load, a queue and a stream, and started again: nobody is left untold."""

import asyncio
from dataclasses import dataclass

from bench.discord.rig import Rig, each
from bench.discord.stage import SHARED, Stage, host
from bench.discord.standin import Message
from bot.sim.models import GB

KILLS = 7
EACH = 3
"""Questions under way at a kill."""

STAGE = Stage(
    hosts=tuple(host(f"h{n}", SHARED, tokens_per_s=80.0, load_bytes_per_s=2.0 * GB) for n in "01"),
    channels=("a", "b", "c", "d"),
    config="discord: {default_persona: sage, rate_limit: null}\n",
    # A command that reached nobody says so itself, in Discord's own words.
    failed=KILLS * EACH,
    # What the dead one had edited within five seconds the next one does not know.
    limited=KILLS,
)


@dataclass(frozen=True, slots=True)
class Question:
    """Something that was asked before a kill."""

    tag: str
    size: int
    id: str
    """Of the message, or of the command's interaction."""
    where: str
    channel: str
    at: float
    is_command: bool


async def in_a_load(rig: Rig) -> None:
    for one in rig.hosts:
        one.faults.stall_load(0.4, times=None)
    message = await rig.reply(await rig.say("bob", "#a", "Go [[count 30 load]]"))
    await rig.until(lambda: "cancel" in message.acts, "a Cancel")
    await rig.kill()
    for one in rig.hosts:
        one.faults.clear()
    await rig.start()
    await _is_closed(rig, "killed in a load", message)


async def in_a_queue(rig: Rig) -> None:
    """Ten questions for eight slots."""
    people = ("bob", "carol", "dave")
    for n in range(10):
        await rig.say(people[n % 3], f"#{'abcd'[n % 4]}", f"Go [[count 600 queue{n}q]]")
    working = lambda: [m for m in rig.discord.mine() if m.is_working]  # noqa: E731
    await rig.until(lambda: len(working()) == 10, "ten replies")
    waiting = next((m for m in working() if "cancel" in m.acts), working()[0])
    await rig.kill()
    await rig.start()
    await _is_closed(rig, "killed in a queue", waiting)


async def in_a_stream(rig: Rig) -> None:
    message = await rig.reply(await rig.say("bob", "#b", "Go [[count 400 stream]]"))
    await rig.grown("stream", 60)
    # Shown within milliseconds here; what is noted as an edit begins is stored within 50.
    await asyncio.sleep(0.1)
    await rig.kill()
    await rig.start()
    await _is_closed(rig, "killed in a stream", message)
    said = rig.said("stream")
    rig.check("killed in a stream: what was shown is kept", len(said) > 60, len(said))
    last = next(m for m in reversed(rig.discord.mine()) if "streamx" in m.text)
    await rig.press("bob", last, "continue")
    await rig.hears("Continue after a kill goes on, whole", "stream", 400)


async def _is_closed(rig: Rig, when: str, message: Message) -> None:
    no_work = lambda: not any(m.is_working for m in rig.discord.mine(hidden=True))  # noqa: E731
    await rig.sees(f"{when}: no spinner, no live Stop", no_work)
    # An answer that grew into several messages has its buttons under the last.
    acts = {act for m in rig.discord.mine(message.channel) if m.id >= message.id for act in m.acts}
    is_told = message.text.strip() and {"retry", "continue"} & acts
    rig.check(f"{when}: told, and can go on or again", is_told, message.text[-100:])


async def at_any_moment(rig: Rig) -> None:
    """At moments spread over the life of an answer, with messages, commands, presses under way."""
    asked: list[Question] = []
    for number in range(KILLS):
        asked += [await _asked(rig, number * EACH + n) for n in range(EACH)]
        ended = [m for m in rig.discord.mine() if "retry" in m.acts]
        if number % 2 and ended:
            await each([rig.press("bob", ended[number % len(ended)], "retry", "none")])
        await asyncio.sleep((number * 0.618 % 1) ** 2 * 2.5)
        await rig.kill()
        await rig.start()
        await rig.settled()
        # What is told of questions the dying process never read comes after its open replies.
        await asyncio.sleep(2)
    untold = [q.tag for q in asked if not await _is_told(rig, q)]
    rig.check(f"{KILLS} kills, {len(asked)} questions: 0 untold", not untold, untold)
    twice = [q.tag for q in asked if sum(m.answers == q.id for m in rig.discord.mine()) > 1]
    rig.check(f"{KILLS} kills: none told twice", not twice, twice)
    broken = [q.tag for q in asked if (said := rig.said(q.tag)) != list(range(len(said)))]
    rig.check(f"{KILLS} kills: no word lost or doubled", not broken, broken)
    for question in [q for q in asked if q.size > 60 and not q.where.startswith("dm")][:3]:
        mine = [m for m in rig.discord.mine() if f"{question.tag}x" in m.text]
        if mine and "continue" in mine[-1].acts:
            await rig.press("bob", mine[-1], "continue")
            await rig.hears("Continue after a kill goes on, whole", question.tag, question.size)


async def _asked(rig: Rig, number: int) -> Question:
    """Something asked by one of three, in one of five places, one of three lengths."""
    user, where = (
        ("bob", "carol", "dave")[number % 3],
        ("#a", "#b", "dm:lantern", "#c", "#d")[number % 5],
    )
    tag, size = f"q{number}kill", (60, 3, 400, 400)[number % 4]
    text, is_command = f"Go [[count {size} {tag}]]", number % 3 == 1
    now = (await rig.discord.now())["t"]
    if is_command:
        given = {"channel": where, "name": "chat", "options": {"message": text}}
        made = await rig.discord.command(user=user, **given, wait="none")
        channel = ""
    else:
        mention = None if where.startswith("dm") else "lantern"
        made = await rig.discord.send(user=user, channel=where, content=text, mention=mention)
        channel = made["channel"]
    await asyncio.sleep((0.0, 0.05, 0.2)[number % 3])
    return Question(tag, size, made["id"], where, channel, now, is_command)


async def _is_told(rig: Rig, question: Question) -> bool:
    """Was something said of it: an answer, an end, or, of a command, Discord's own words?"""
    if question.is_command:
        shown = await rig.discord.interaction(id=question.id)
        is_answered = shown["message"] and shown["message"]["text"]
        return bool(shown["failed"] or not shown["acked"] or is_answered)
    if question.where.startswith("dm"):
        mine = rig.discord.mine(question.channel)
        return any(m.history[-1]["t"] > question.at and m.text.strip() for m in mine)
    return any(m.answers == question.id and m.text.strip() for m in rig.discord.mine())


SCENES = (in_a_load, in_a_queue, in_a_stream, at_any_moment)
