"""Faults in mid-stream: nothing crashes, is lost or doubled; work stops or goes on elsewhere."""

import asyncio

from bench.discord.rig import Rig
from bench.discord.stage import SHARED, Stage, host
from bench.discord.standin import Message

LONGEST_S = 3.5
SIZE = 900
WRITES = r"(POST|PATCH) /(channels|webhooks)"
BURSTS: dict[str, dict[str, object]] = {
    "502 for 4 s": {"kind": "status", "status": 502, "seconds": 4},
    "503 for 4 s": {"kind": "status", "status": 503, "seconds": 4},
    "500 as HTML": {"kind": "status", "status": 500, "html": True, "seconds": 2},
    "ten resets": {"kind": "reset", "count": 10},
    "ten resets after it was taken": {"kind": "reset_after", "count": 10},
    "slow answers": {"kind": "slow", "delay": 2.5, "seconds": 8},
}

STAGE = Stage(
    hosts=tuple(host(f"h{n}", SHARED, tokens_per_s=40.0, parallel=6) for n in range(3)),
    channels=(
        *(
            "general",
            "said",
            "commanded",
            "doomed1",
            "doomed2",
            "threads",
            "moment",
            "unseen",
            "mute",
        ),
        *("cut1", "cut2", "cut3", "burst1", "burst2", "burst3", "token", "bar"),
    ),
    config="discord: {default_persona: sage}\n",
    latency={"rest_ms": 40, "jitter_ms": 30, "gateway_ms": 20},
    limited=2,
    # Edits of an archived thread, and a callback that was sent again as its answer was lost.
    refused=(50083, 40060),
    logged=("Attempting a reconnect",),
)


async def _stream(
    rig: Rig, user: str, where: str, tag: str, size: int = 600, words: int = 12
) -> Message:
    """A counted answer of which some can be read; by a command where the tag says so."""
    text = f"Go [[count {size} {tag}]]"
    if tag.endswith("chat"):
        message = await rig.chat(user, where, text)
    else:
        message = await rig.reply(await rig.say(user, where, text))
    await rig.grown(tag, words)
    return message


async def _stops(rig: Rig, what: str, timeout_s: float = 20) -> None:
    await rig.sees(f"{what}: the generation stops", lambda: rig.generating == 0, timeout_s)


async def _still_answers(rig: Rig, where: str, tag: str) -> None:
    await rig.ask("bob", where, f"Still there? [[count 5 {tag}]]")
    rig.check(f"it still answers in {where} after that", rig.is_whole(tag, 5), rig.said(tag))


async def message_deleted(rig: Rig) -> None:
    for where, tag in (("#said", "mdsay"), ("#commanded", "mdchat")):
        message = await _stream(rig, "bob", where, tag)
        await rig.discord.delete(message=message.id)
        await _stops(rig, f"message deleted ({tag})")
        await asyncio.sleep(1.5)
        rig.check(
            f"message deleted ({tag}): it does not come again", not rig.said(tag), rig.said(tag)
        )
        await _still_answers(rig, where, f"{tag}after")
    hook = {"match": r"PATCH /channels/\d+/messages/", "do": "delete", "nth": 3}
    await rig.discord.on(**hook, args={"message": "$message"})
    message = await rig.reply(await rig.say("bob", "#said", "Go [[count 600 mdedit]]"))
    await rig.until(lambda: message.seen["deleted"], "its end at the third edit")
    await _stops(rig, "message deleted as an edit arrives")


async def first_of_several_deleted(rig: Rig) -> None:
    message = await _stream(rig, "bob", "#said", "several", 500, 250)
    await rig.until(lambda: sum("severalx" in m.text for m in rig.discord.mine()) > 1, "a second")
    await rig.discord.delete(message=message.id)
    await rig.until(lambda: rig.said("several")[-1:] == [499], "the rest")
    await rig.settled()
    left = rig.said("several")
    is_rest = left == list(range(left[0], 500)) and left[0] > 50
    rig.check("of several messages the others go on without the deleted one", is_rest, left[:3])


async def channel_deleted(rig: Rig) -> None:
    for where, tag in (("#doomed1", "cdsay"), ("#doomed2", "cdchat")):
        await _stream(rig, "bob", where, tag)
        await rig.discord.delete_channel(channel=where)
        await _stops(rig, f"channel deleted ({tag})")
    await _still_answers(rig, "#general", "cdafter")


async def _thread(rig: Rig, name: str) -> str:
    """A thread whose first answer is there."""
    await rig.run("bob", "#threads", "thread", message=f"{name} [[count 5 {name}]]")
    await rig.until(lambda: rig.is_whole(name, 5), "the first answer of a thread")
    await rig.settled()
    threads = await rig.discord.threads(guild="Home")
    return next(thread["id"] for thread in threads if thread["name"].startswith(name))


async def _in_thread(rig: Rig, thread: str, tag: str) -> None:
    await rig.discord.send(user="bob", channel=thread, content=f"Go [[count 400 {tag}]]")
    await rig.grown(tag)


async def thread_archived(rig: Rig) -> None:
    thread = await _thread(rig, "archived")
    await _in_thread(rig, thread, "arc")
    await rig.discord.archive_thread(thread=thread)
    await rig.hears("thread archived: the answer goes on, whole", "arc", 400)


async def thread_locked(rig: Rig) -> None:
    """By somebody who opens it again while the answer still waits for that."""
    thread = await _thread(rig, "locked")
    await _in_thread(rig, thread, "lock")
    await rig.discord.archive_thread(thread=thread, locked=True)
    await asyncio.sleep(3)
    await rig.discord.archive_thread(thread=thread, archived=False)
    await rig.hears("thread locked, and opened again: the answer is whole", "lock", 400, 150)


def _is_working(rig: Rig) -> bool:
    return any(message.is_working for message in rig.discord.mine())


async def permission_revoked(rig: Rig) -> None:
    await _stream(rig, "bob", "#moment", "moment", SIZE)
    await rig.discord.set_overwrite(channel="#moment", target="lantern", deny=["send_messages"])
    await asyncio.sleep(3)
    await rig.discord.set_overwrite(channel="#moment", target="lantern")
    await rig.hears("revoked for 3 s: the answer is whole", "moment", SIZE)
    await rig.settled()
    await _stream(rig, "bob", "#unseen", "unseen", SIZE)
    await rig.discord.set_overwrite(channel="#unseen", target="lantern", deny=["view_channel"])
    await _stops(rig, "the channel may not be seen any more", 90)
    await rig.discord.set_overwrite(channel="#unseen", target="lantern")
    await _stream(rig, "bob", "#mute", "mute", 700)
    await rig.discord.set_overwrite(channel="#mute", target="lantern", deny=["send_messages"])
    await _stops(rig, "nothing may be sent any more", 90)
    await asyncio.sleep(4)
    said = rig.said("mute")
    rig.check(
        "nothing may be sent: what was said stands", said == list(range(len(said))), len(said)
    )
    await rig.discord.set_overwrite(channel="#mute", target="lantern")
    await rig.sees("closed once it may write again", lambda: not _is_working(rig), 150)


async def gateway_cut(rig: Rig) -> None:
    tags = {"gw1say": "#cut1", "gw2chat": "#cut2", "gw3say": "#cut3"}
    for tag, where in tags.items():
        await _stream(rig, "carol" if "3" in tag else "bob", where, tag, SIZE)
    await rig.discord.gateway_down(seconds=20)
    await asyncio.sleep(2)
    question = await rig.say("dave", "#general", "Asked while cut [[count 5 gwcut]]")
    for tag in tags:
        await rig.hears(f"gateway cut for 20 s: {tag} is whole", tag, SIZE)
    longest = max(max(rig.gaps_s(tag)) for tag in tags)
    rig.check(
        "gateway cut for 20 s: no gap while words come", longest < LONGEST_S, round(longest, 2)
    )
    await _answered_once(rig, "who asked while it was cut", question)
    await rig.discord.gateway_invalid()
    await asyncio.sleep(1)
    question = await rig.say("dave", "#general", "Asked in no session [[count 5 gwnone]]")
    await _answered_once(rig, "who asked as the session was lost", question)
    for cut in ("gateway_reconnect", "gateway_drop"):
        await getattr(rig.discord, cut)()
        question = await rig.say("dave", "#general", f"Asked in {cut} [[count 5 {cut[8:]}]]")
        await _answered_once(rig, f"who asked at a {cut}", question)


async def _answered_once(rig: Rig, who: str, question: str) -> None:
    message = await rig.ended(await rig.reply(question))
    replies = [m for m in rig.discord.mine() if m.answers == question]
    rig.check(f"{who} is answered or told, once", len(replies) == 1, message.text)


async def calls_fail(rig: Rig) -> None:
    for number, (name, fault) in enumerate(BURSTS.items()):
        tags = {f"b{number}say": "#burst1", f"b{number}chat": "#burst2", f"b{number}two": "#burst3"}
        users = ("bob", "carol", "dave")
        for user, (tag, where) in zip(users, tags.items(), strict=True):
            await _stream(rig, user, where, tag, 420)
        await rig.discord.rest_fault(match=WRITES, **fault)
        await rig.say("alice", "#general", f"Asked meanwhile [[count 30 b{number}new]]")
        for tag in tags:
            await rig.hears(f"{name}: {tag} is whole", tag, 420)
        await rig.hears(f"{name}: who asks meanwhile is answered", f"b{number}new", 30)
        await rig.discord.faults_clear()
        await rig.settled()
        longest = max(max(rig.gaps_s(tag)) for tag in tags)
        rig.check(f"{name}: words come again", longest < 12, f"longest gap {longest:.1f} s")
    await rig.discord.rest_fault(
        kind="rate_limit", match="PATCH /channels", count=2, retry_after=1.5
    )
    await _stream(rig, "bob", "#burst1", "limited", 200)
    await rig.hears("429s it is not to blame for: whole", "limited", 200)
    await rig.discord.faults_clear()
    await rig.settled()
    await rig.discord.rest_fault(kind="reset_after", match="callback", count=1)
    await rig.run("bob", "#burst1", "chat", "none", message="[[count 30 unheard]]")
    await rig.hears("a first response whose answer was lost", "unheard", 30)
    await rig.settled()


async def token_gone(rig: Rig) -> None:
    """An interaction's token lives six seconds here."""
    await rig.discord.clock(token_life_s=6)
    await _stream(rig, "bob", "#token", "tokchat", SIZE)
    await rig.hears("token gone: goes on by plain edits, whole", "tokchat", SIZE)
    await rig.settled()
    longest = max(rig.gaps_s("tokchat"))
    rig.check("token gone: no gap while words come", longest < LONGEST_S, round(longest, 2))
    mine = rig.discord.mine(rig.channel("#token"))
    await rig.press("bob", next(m for m in reversed(mine) if "retry" in m.acts), "retry")

    def is_second() -> bool:
        mine = rig.discord.mine(rig.channel("#token"))
        return any("2/2" in m.labels for m in mine) and not any(m.is_working for m in mine)

    await rig.sees("token gone: Retry of several messages, in place", is_second)
    rig.check("token gone: the second answer is whole", rig.is_whole("tokchat", SIZE))
    for one in rig.hosts:
        one.faults.stall_load(0.5)
    await rig.run("alice", "#bar", "fleet unload", model="qwen/qwen3-8b", even_foreign=True)
    load = await rig.run("alice", "#bar", "fleet load", "ack", model="qwen/qwen3-8b", host="h0")
    bar = await rig.message(load)
    await rig.until(lambda: "%" in bar.text, "a bar")
    await asyncio.sleep(8)
    for one in rig.hosts:
        one.faults.clear()
    await rig.sees("a load longer than the token shows its end", lambda: "Ready" in bar.text)
    await rig.discord.clock(token_life_s=900)


SCENES = (
    *(message_deleted, first_of_several_deleted, channel_deleted, thread_archived, thread_locked),
    *(permission_revoked, gateway_cut, calls_fail, token_gone),
)
