"""Every command, menu, button, form and autocomplete, at least once, in every kind of place."""

import asyncio
import base64
import json
import re

from makers_cards import MAKERS, PICTURE

from bench.discord.rig import Rig, Told
from bench.discord.stage import BIG, SEES, SHARED, TEXTS, Stage, host
from bench.discord.standin import Json, Message
from bot.sim.journal import PredictionStarted
from bot.sim.models import GB
from cogs._view import Act

STAGE = Stage(
    hosts=(
        host("studio", BIG, SHARED, load_bytes_per_s=3.0 * GB, prefill_tokens_per_s=1800.0),
        host("laptop", SEES, SHARED, memory_gb=8, generation="0.3", load_bytes_per_s=2.0 * GB),
    ),
    channels=(
        *("general", "random", "long", "buttons", "again", "quiet", "loads", "cards", "board"),
        *("slow", "open", {"name": "forum", "type": "forum"}, {"name": "voice", "type": "voice"}),
    ),
    config="discord: {default_persona: sage, admin_roles: [crew], dms: everyone}\n"
    "routing: {slow_after: 3s}\neviction: {idle_ttl: 10m}\n",
    users=("alice", "bob", "carol", {"name": "dora", "locale": "de"}),
    latency={"rest_ms": 8, "jitter_ms": 5, "gateway_ms": 3},
    has_provider=True,
    pings=1,
)
TEXTS["table"] = "Here:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\nand \\( x^2 \\) then."
# It may become a table, so nothing of it is shown before its end: then two messages at once.
TEXTS["long"] = "|" + "y|" * 1900


async def _answers(
    rig: Rig, check: str, where: str, tag: str, user: str = "bob", **more: object
) -> None:
    """Checks that a counted question is answered whole there."""
    await rig.say(user, where, f"{check} [[count 6 {tag}]]", **more)
    await rig.hears(check, tag, 6)


# --- talking ------------------------------------------------------------------------------


async def talking(rig: Rig) -> None:
    answer = await rig.ask("bob", "#general", "Hello [[count 30 hello]]")
    rig.check("a mention is answered, as a reply", rig.is_whole("hello", 30) and answer.answers)
    footer = re.search(r"-# .*qwen3-8b.*(studio|laptop)", answer.text)
    rig.check("the footer says model and host", footer, answer.text[-90:])
    await _answers(
        rig, "a reply is answered without a mention", "#general", "rep", "carol", reply_to=answer.id
    )
    told_apart = rig.was_told("Bob: Hello") and rig.was_told("Carol: a reply")
    rig.check("people are told apart", told_apart, rig.prompts()[-1][-200:])
    moon = await rig.discord.send(user="carol", channel="#general", content="The moon is cheese.")
    more = {"reply_to": moon["id"], "mention": "lantern"}
    await _answers(rig, "a mention in a reply to a friend", "#general", "friend", **more)
    rig.check("a reply to a friend brings the friend's words", rig.was_told("The moon is cheese."))
    await rig.ended(await rig.chat("bob", "#general", "By command [[count 12 cmd]]"))
    rig.check("/chat answers", rig.is_whole("cmd", 12))
    file = {"name": "n.txt", "text": "SECRETWORD in a file"}
    await rig.ended(await rig.chat("bob", "#general", "A file [[count 4 fil]]", attachment=file))
    rig.check("/chat reads a text file", rig.was_told("SECRETWORD"))
    options = {"model": "google/gemma-3-4b", "no_cache": True, "priority": "low", "type": "quick"}
    await rig.chat("bob", "#general", "All [[count 4 opt]]", persona="keeper", **options)
    await rig.hears("/chat with every option", "opt", 4)
    answer = await rig.ask("bob", "#general", "[[text table]]")
    rig.check("tables and formulas as Discord can", "│" in answer.text and "x²" in answer.text)


async def places(rig: Rig) -> None:
    await _answers(rig, "a direct message", "dm:lantern", "dm")
    await rig.ended(await rig.chat("bob", "dm:lantern", "In private [[count 9 dmc]]"))
    rig.check("/chat in a direct message", rig.is_whole("dmc", 9))
    given = {"message": "Name this thread [[count 8 thr]]", "persona": "keeper"}
    await rig.run("bob", "#general", "thread", **given)
    await rig.hears("/thread answers in one", "thr", 8)
    thread = await _thread(rig, "Name this")
    rig.check("/thread names it and takes its asker in", "bob" in thread["members"], thread)
    await _answers(rig, "no mention is needed in it", thread["id"], "thm", mention=None)
    await rig.run("carol", "#random", "thread")
    nameless = next(t for t in await _threads(rig) if t["parent"] == rig.channel("#random"))
    await _answers(rig, "What shall this be called", nameless["id"], "thn", "carol", mention=None)
    rig.check("the first words name a thread", await _thread(rig, "What shall this"))
    answer = await rig.ask("bob", "#random", "Remember the word ZEBRA9 [[count 5 onr]]")
    opened = {"channel": "#random", "name": "side talk", "message": answer.id}
    aside = await rig.discord.thread(user="bob", **opened)
    await _answers(rig, "a thread on an answer", aside["id"], "aside", mention=None)
    rig.check(
        "a thread on an answer keeps its context", rig.was_told("ZEBRA9", 1), rig.prompts()[-1]
    )
    post = await rig.discord.thread(user="bob", channel="#forum", name="How to light a lamp")
    await _answers(rig, "a forum's post", post["id"], "post")
    await _answers(rig, "a forum's post, again", post["id"], "more")
    await _answers(rig, "a voice channel's text", "#voice", "voice")


async def _threads(rig: Rig) -> list[Json]:
    return await rig.discord.threads(guild="Home")


async def _thread(rig: Rig, name: str) -> Json:
    return next((t for t in await _threads(rig) if t["name"].startswith(name)), None)


async def abroad(rig: Rig) -> None:
    """Where the bot is no member, but somebody installed it for themselves."""
    await rig.discord.install_app(user="bob", bot="lantern")
    await rig.chat("bob", "Abroad/#lobby", "Abroad [[count 300 abroad]]")
    await rig.hears("user-installed, it answers abroad", "abroad", 300)
    mine = rig.discord.mine(rig.channel("#lobby"))
    await rig.press("bob", next(m for m in reversed(mine) if m.acts), "retry")
    twice = [*range(300), *range(300)]
    await rig.sees(
        "Retry abroad comes in a message of its own", lambda: rig.said("abroad") == twice
    )


async def several_messages(rig: Rig) -> None:
    await rig.chat("bob", "#long", "At length [[text long]]", persona="keeper")
    channel = rig.channel("#long")
    written = lambda: sum(m.text.count("y|") for m in rig.discord.mine(channel))  # noqa: E731
    await rig.sees("an answer of several messages by a command is whole", lambda: written() > 1890)
    await rig.settled()
    await rig.run("alice", "#long", "persona", "ack", name="teller", scope="channel")
    greeted = await rig.message(await rig.run("bob", "#long", "greet", "ack"))
    told = lambda: sum(m.text.count("greetx") for m in rig.discord.mine(channel))  # noqa: E731
    await rig.sees("/greet with a greeting of several messages is whole", lambda: told() >= 170)
    await asyncio.sleep(2)
    rig.check(
        "a greeting of several messages comes to rest",
        len(greeted.history) < 8,
        len(greeted.history),
    )


# --- what is under an answer --------------------------------------------------------------


async def stopping(rig: Rig) -> None:
    answer = await rig.reply(await rig.say("bob", "#buttons", "Long [[count 900 stp]]"))
    await rig.grown("stp")
    other = await rig.press("carol", answer, "stop", "message")
    rig.check("only its asker stops an answer", "asked" in other.text, other.text)
    await rig.press("bob", answer, "stop")
    await rig.ended(answer)
    said = rig.said("stp")
    is_kept = said == list(range(len(said))) and 20 < len(said) < 900
    rig.check("Stop keeps the text", is_kept, f"{len(said)} words, {answer.acts}")
    await rig.press("bob", answer, "continue")
    await rig.until(lambda: len(rig.said("stp")) > len(said) + 20, "more words")
    await rig.run("bob", "#buttons", "stop")
    await rig.settled()
    more = rig.said("stp")
    rig.check("Continue goes on in place", more == list(range(len(more))), (len(said), len(more)))


async def answering_again(rig: Rig) -> None:
    answer = await rig.ask("bob", "#again", "A short one [[count 40 sib]]")
    for act, label in (("retry", "2/2"), ("older", "1/2"), ("newer", "2/2")):
        await rig.press("carol" if act != "retry" else "bob", answer, act)
        await _comes_to(rig, f"{act} shows {label} in place", answer, label)
    number = next(part for part in answer.parts if ":nth" in part.get("custom_id", ""))
    rig.check("the number cannot be pressed", number.get("disabled"))
    for label, wanted, mark in (("3/3", "gemma", "gemma"), ("4/4", "zai", "☁")):
        offered = await rig.message(await rig.press("bob", answer, "other", "message"))
        options = next(part for part in offered.parts if part["type"] == 3)["options"]
        value = next(option["value"] for option in options if wanted in option["label"])
        await rig.discord.select(user="bob", message=offered.id, values=[value])
        await _comes_to(rig, f"Other model: {wanted} answers", answer, label)
        is_it = mark in answer.text and rig.is_whole("sib", 40, rig.channel("#again"))
        rig.check(f"Other model: {wanted}, whole and named", is_it, answer.text[-80:])
    rig.check(
        "Other model offers hosts' models and ☁", len(options) >= 4, [o["label"] for o in options]
    )


async def _comes_to(rig: Rig, check: str, answer: Message, label: str) -> None:
    """Checks that an answer ends in place, as the one with this number."""
    await rig.sees(check, lambda: label in answer.labels and not answer.is_working)


async def thoughts_and_code(rig: Rig) -> None:
    answer = await rig.ask("bob", "#buttons", "Think [[think 60]] [[tokens 20]]")
    shown = await rig.press("carol", answer, "thoughts", "message")
    is_private = "weigh what matters" in shown.text and shown.is_hidden
    rig.check("Thoughts, to whoever asks alone", is_private, shown.text)
    await rig.ask("bob", "#buttons", "Code [[code]] [[tokens 1000]]")
    await rig.settled()
    mine = rig.discord.mine(rig.channel("#buttons"))
    last = next(message for message in reversed(mine) if "code" in message.acts)
    shown = await rig.press("carol", last, "code", "message")
    names = [file["filename"] for file in shown.files]
    rig.check("Code as a file", names and names[0].endswith(".py"), names)


async def changed_questions(rig: Rig) -> None:
    answer = await rig.ask("bob", "#buttons", "First words [[count 10 edi]]")
    bot = next(bot["id"] for bot in (await rig.discord.info())["bots"])
    edited = {"message": answer.answers, "content": f"<@{bot}> Other words [[count 11 edj]]"}
    await rig.discord.edit(user="bob", **edited)
    await rig.sees("an edited question can be answered again", lambda: "edited" in answer.acts)
    await rig.press("bob", answer, "edited")
    await rig.hears("an edited question is answered again", "edj", 11)
    await rig.ended(answer)
    rig.check("and stands beside its first answer", "older" in answer.acts, answer.acts)
    await rig.discord.delete(user="bob", message=answer.answers)
    await rig.sees("a deleted question takes its answer's buttons", lambda: not answer.acts)
    await rig.ask("bob", "#buttons", "After [[count 3 aft]]")
    rig.check("a deleted question leaves the transcript", not rig.was_told("Other words", 1))
    answer = await rig.reply(await rig.say("bob", "#buttons", "Gone soon [[count 900 gon]]"))
    await rig.grown("gon", 10)
    await rig.discord.delete(user="bob", message=answer.answers)
    await rig.sees("deleting a question stops its answer", lambda: not answer.is_working, 20)
    rig.check(
        "a question deleted in mid-answer leaves no button",
        not answer.acts and len(rig.said("gon")) < 800,
        answer.acts,
    )


async def pictures(rig: Rig) -> None:
    file = {"name": "p.png", "b64": base64.b64encode(PICTURE).decode()}
    answer = await rig.ask("bob", "#buttons", "What is this? [[count 5 pic]]", attachments=[file])
    rig.check("a model that cannot see says who can", "see" in answer.acts, answer.text)
    await rig.press("bob", answer, "see")
    await _comes_to(rig, "answered by one that sees", answer, "2/2")
    begun = [e for one in rig.hosts for e in one.journal.of(PredictionStarted)]
    rig.check("who sees was given the picture", any(m.images for e in begun for m in e.messages))


async def menus(rig: Rig) -> None:
    answer = await rig.ask("bob", "#again", "For the menu [[count 14 mnu]]")
    await rig.menu("carol", "#again", "Retry", answer.id)
    await _comes_to(rig, "menu Retry", answer, "2/2")
    answer = await rig.reply(await rig.say("bob", "#again", "Long [[count 500 mnc]]"))
    await rig.grown("mnc")
    stopped = await rig.run("bob", "#again", "stop")
    rig.check("/stop", "Stopped 1" in stopped.text, stopped.text)
    await rig.ended(answer)
    await rig.menu("bob", "#again", "Continue", answer.id)
    await rig.hears("menu Continue", "mnc", 500)
    await rig.settled()
    plain = await rig.discord.send(user="carol", channel="#again", content="High tide QUOTE7.")
    form = await rig.menu("bob", "#again", "Ask about this", plain["id"], "modal")
    await rig.fill("bob", form, {"text": "Why? [[count 6 abt]]"}, "ack")
    await rig.hears("menu Ask about this", "abt", 6)
    rig.check("Ask about this brings its words", rig.was_told("QUOTE7", 2))
    asked = next(m for m in rig.discord.mine() if "abtx5." in m.text)
    await rig.ended(asked)
    models: tuple[dict[str, str], ...] = ({}, {"model": "google/gemma-3-4b"})
    for n, model in enumerate(models, 2):
        again = await rig.run("bob", "#again", "retry", **model)
        await _comes_to(rig, f"/retry {model or ''}", asked, f"{n}/{n}")
        rig.check("/retry says where", "Answering again" in again.text, again.text)
    again = await rig.run("bob", "#again", "continue")
    await rig.sees("/continue", lambda: "That is all" in asked.text and not asked.is_working)
    rig.check("/continue says where", "Going on" in again.text, again.text)


# --- commands that are answered at once ---------------------------------------------------


async def _tells(
    rig: Rig, user: str, where: str, command: str, words: str, /, **options: object
) -> Told:
    """Checks that a command is answered with these words."""
    shown = await rig.run(user, where, command, **options)
    given = " ".join(f"{name}:{value}" for name, value in options.items() if name != "file")
    rig.check(f"/{command} {given}".strip()[:70], words in shown.text, shown.text)
    return shown


async def choosing(rig: Rig) -> None:
    await _tells(rig, "bob", "#again", "why", "ersona")
    await _tells(rig, "bob", "#loads", "model", "Next message goes to")
    await _tells(rig, "bob", "#loads", "persona", "Persona:")
    big = "qwen/qwen3-30b-a3b-2507"
    loading = await rig.message(await rig.run("bob", "#loads", "model", "ack", name=big))
    await rig.sees(
        "/model loads with a bar", lambda: "halt" in loading.acts and "%" in loading.text
    )
    await rig.press("bob", loading, "halt")
    await rig.sees("Cancel of a load, with Undo", lambda: "undo" in loading.acts)
    await rig.press("bob", loading, "undo")
    await rig.sees("Undo takes the choice back", lambda: "Undone" in loading.text)
    greeted = await rig.run("alice", "#loads", "persona", name="keeper", scope="channel")
    is_greeted = "Mind the stairs" in greeted.text and not greeted.is_hidden
    rig.check("/persona for a channel greets it", is_greeted, greeted.text)
    await _tells(rig, "bob", "#loads", "persona", "❌", name="sage", scope="channel")
    await rig.say("bob", "#loads", "Who are you? [[count 8 web]]")
    await rig.hears("a persona answers", "web", 8)
    spoken = next(m for m in rig.discord.mine() if "webx7." in m.text)
    rig.check(
        "a persona speaks by its name and picture",
        spoken.seen["author"] == "keeper" and spoken.seen["avatar"],
    )
    await rig.settled()
    await _tells(rig, "bob", "#loads", "greet", "Mind the stairs")
    await _tells(rig, "bob", "#loads", "model", "Nearest", name="qwen3-31b")
    await _tells(rig, "bob", "#loads", "reset", "fresh conversation")
    await _tells(rig, "bob", "#loads", "retry", "fresh")
    await _tells(rig, "bob", "#loads", "stop", "Nothing")
    await _tells(rig, "bob", "#loads", "help", "/thread")
    for period in ("today", "week", "month", "last month", "year"):
        await _tells(rig, "bob", "#loads", "usage", "This server", period=period)
    await _tells(rig, "dora", "#loads", "usage", "Dieser Server")


async def slow_loads(rig: Rig) -> None:
    message = await _big(rig, "big")
    await rig.sees("a slow load offers what is warm", lambda: "warm" in message.acts, 20)
    rig.check(
        "a slow load offers the cloud, and a ping",
        {"cloud", "tell"} <= set(message.acts),
        message.acts,
    )
    shown = await rig.press("bob", message, "tell", "message")
    rig.check("Tell me when ready", "ping" in shown.text, shown.text)
    await rig.press("bob", message, "cancel")
    await rig.sees("Cancel ends the wait, offers Retry", lambda: "retry" in message.acts)
    for act in ("warm", "cloud"):
        message = await _big(rig, act)
        await rig.press("bob", message, act)
        await rig.hears(f"the way {act} answers", act, 10)
        await rig.ended(message)
        rig.check(f"{act} is marked ☁ or not", ("☁" in message.text) == (act == "cloud"))
        _let_load(rig)
        await _unload_big(rig)
    message = await _big(rig, "ping")
    # A ping is for who waited for over twenty seconds.
    await asyncio.sleep(21)
    _let_load(rig)
    await rig.hears("a slow answer comes", "ping", 10)
    pinged = lambda: next((m for m in rig.discord.mine() if "hush" in m.acts), None)  # noqa: E731
    ping = await rig.until(pinged, "a ping", 20)
    bob = (await rig.discord.info())["users"]["bob"]
    rig.check("a slow answer pings its asker alone", ping.seen["pings"]["users"] == [int(bob)])
    await rig.press("bob", ping, "hush", "message")
    await rig.settled()


async def _big(rig: Rig, tag: str) -> Message:
    """A question to a large model that does not come to be loaded."""
    for one in rig.hosts:
        one.faults.stall_load(0.3, times=None)
    model = "qwen/qwen3-30b-a3b-2507"
    message = await rig.chat("bob", "#slow", f"A big one [[count 10 {tag}]]", model=model)
    await rig.until(lambda: "cancel" in message.acts, "a Cancel")
    return message


def _let_load(rig: Rig) -> None:
    for one in rig.hosts:
        one.faults.clear()


async def _unload_big(rig: Rig) -> None:
    """Nobody waits for that load any more, but it is not taken back."""
    key = "qwen/qwen3-30b-a3b-2507"
    await rig.until(lambda: any(i.key == key for one in rig.hosts for i in one.resident), key, 20)
    await rig.run("alice", "#slow", "fleet unload", model=key, even_foreign=True)


async def memory(rig: Rig) -> None:
    await _tells(rig, "bob", "#quiet", "remember", "🧠", fact="I write Python 3.11 FACT77")
    await rig.ask("bob", "#quiet", "What do I write? [[count 5 fac]]")
    rig.check("facts are told to the model", rig.was_told("FACT77"))
    shown = await _tells(rig, "bob", "#quiet", "memories", "FACT77")
    number = re.search(r"`(\d+)`", shown.text)
    typed = {"channel": "#quiet", "name": "memories", "option": "forget"}
    offered = (await rig.discord.autocomplete(user="bob", **typed))["choices"]
    rig.check("facts are offered", any("FACT77" in choice["name"] for choice in offered), offered)
    await _tells(
        rig, "bob", "#quiet", "memories", "nothing", forget=int(number[1]) if number else 0
    )
    await _tells(rig, "bob", "#quiet", "history show", "What do I write")
    await _tells(rig, "bob", "#quiet", "history show", "What do I write", where="everywhere")
    shown = await rig.run("bob", "#quiet", "history export")
    data = await rig.discord.fetch(shown.files[0]["url"])
    rig.check("/history export", b"What do I write" in data and json.loads(data), len(data))
    await _tells(rig, "bob", "#quiet", "history forget", "sure:yes")
    await _tells(rig, "bob", "#quiet", "history forget", "Forgotten", sure="yes")
    files = [rig.folder / name for name in ("lantern.db", "lantern.db-wal")]
    kept = b"".join(file.read_bytes() for file in files if file.exists())
    left = [w for w in (b"What do I write", b"FACT77", b"In private") if w in kept]
    rig.check("forgotten words are nowhere in the database", not left, left)
    await _tells(rig, "bob", "#quiet", "history show", "no question", where="everywhere")


async def fleet(rig: Rig) -> None:
    one = {"model": "qwen/qwen3-8b", "host": "studio"}
    await _tells(rig, "bob", "#loads", "fleet status", "studio")
    await _tells(rig, "bob", "#loads", "fleet models", "qwen3")
    await _tells(rig, "bob", "#loads", "fleet load", "admin", model="qwen/qwen3-8b")
    loading = await rig.message(await _tells(rig, "alice", "#loads", "fleet load", "studio", **one))
    await rig.sees("/fleet load shows its end", lambda: "Ready" in loading.text)
    await _tells(rig, "alice", "#loads", "fleet pin", "stays in memory", **one)
    await _tells(rig, "alice", "#loads", "fleet unpin", "may leave", **one)
    await _tells(rig, "alice", "#loads", "fleet drain", "laptop", host="laptop", duration="2h")
    await _tells(rig, "alice", "#loads", "fleet resume", "laptop", host="laptop")
    await _tells(rig, "alice", "#loads", "fleet unload", "Unloaded", **one)
    await _tells(rig, "alice", "#board", "fleet board", "stands here")
    board = await rig.until(
        lambda: (rig.discord.mine(rig.channel("#board")) or [None])[0], "a board"
    )
    has_picture = lambda: board.seen["attachments"] or "media" in str(board.parts)  # noqa: E731
    await rig.sees("the board has its picture", has_picture)
    is_fit = "studio" in board.text and "laptop" in board.text and "127.0.0.1" not in board.text
    rig.check("the board shows hosts, and no address", is_fit, board.text)
    await _tells(rig, "alice", "#board", "fleet board", "gone", show="off")
    await rig.sees("the board goes", lambda: board.seen["deleted"])
    presence = await rig.discord.log(kind="presence")
    rig.check("the presence tells of hosts", "2 of 2 hosts" in str(presence[-1:]), presence[-1:])


# --- personas -----------------------------------------------------------------------------


async def personas(rig: Rig) -> None:
    await _tells(rig, "bob", "#cards", "personas list", "keeper")
    await _tells(rig, "bob", "#cards", "personas show", "calm", name="sage")
    form = await rig.run("bob", "#cards", "personas create", "modal", name="Quill")
    values = {"description": "writes", "system_prompt": "You are Quill. MARK55", "greeting": "Ink?"}
    preview = await _preview(rig, form, values)
    rig.check("a preview of the first answer", rig.was_told("MARK55"), preview.text)
    form = await rig.press("bob", preview, "change", "modal")
    await rig.fill("bob", form, {"description": "writes well"}, "ack")
    await _save(rig, preview, "saved")
    form = await rig.run("bob", "#cards", "personas create", "modal", name="Draft", copy="sage")
    preview = await _preview(rig, form, {"description": "draft"})
    await rig.press("bob", preview, "discard")
    await rig.sees("Discard", lambda: "Discarded" in preview.text)
    for part, field in (("persona", "greeting"), ("character", "character.scenario")):
        form = await rig.run("bob", "#cards", "personas edit", "modal", name="Quill", part=part)
        await _save(rig, await _preview(rig, form, {field: f"changed {part}"}), "changed")
    await rig.run("bob", "#cards", "persona", name="Quill")
    await _answers(rig, "a persona of one's own", "#cards", "quill")
    rig.check("a persona of one's own answers with its prompt", rig.was_told("MARK55", 2))
    await rig.say("bob", "#cards", "")
    cards = rig.channel("#cards")
    is_greeted = lambda: any("changed persona" in m.text for m in rig.discord.mine(cards))  # noqa: E731
    await rig.sees("a bare mention is greeted", is_greeted)
    for user, count in (("bob", 1), ("carol", 0)):
        typed = {"channel": "#cards", "name": "personas edit", "option": "name", "value": "qui"}
        offered = (await rig.discord.autocomplete(user=user, **typed))["choices"]
        rig.check(
            f"to {user}, {count} of bob's personas are offered", len(offered) == count, offered
        )
    await rig.settled()


async def _preview(rig: Rig, form: Told, values: object) -> Message:
    message = await rig.message(await rig.fill("bob", form, values))
    await rig.until(lambda: "simulated answer" in message.text, "a preview")
    return message


async def _save(rig: Rig, preview: Message, words: str) -> None:
    # While a preview is made anew, its buttons are those of the last one.
    await asyncio.sleep(1.5)
    await rig.until(lambda: "simulated answer" in preview.text and preview.acts, "a preview")
    await rig.press("bob", preview, "save")
    await rig.sees(f"Save: {words}", lambda: words in preview.text and not preview.ids)


async def cards(rig: Rig) -> None:
    for name, data in MAKERS.items():
        await _tells(rig, "bob", "#cards", "personas import", "saved", **_card(name, data))
    for kind in ("png", "json", "yaml"):
        shown = await rig.run("bob", "#cards", "personas export", name="Quill", kind=kind)
        data = await rig.discord.fetch(shown.files[0]["url"])
        given = _card(shown.files[0]["filename"], data) | {"name": f"Quill {kind}"}
        await _tells(rig, "bob", "#cards", "personas import", "saved", **given)
        await _tells(rig, "bob", "#cards", "personas show", "MARK55", name=f"Quill {kind}")
    broken = _card("x.png", b"\x89PNG garbage")
    await _tells(rig, "bob", "#cards", "personas import", "❌", **broken)
    shown = await _tells(rig, "bob", "#cards", "personas delete", "is deleted", name="Quill yaml")
    rig.check("what is deleted is given as a file", shown.files)


def _card(name: str, data: bytes) -> dict[str, object]:
    return {"name": f"Card {name}", "file": {"name": name, "b64": base64.b64encode(data).decode()}}


# --- settings -----------------------------------------------------------------------------


async def settings(rig: Rig) -> None:
    for scope, user in (("me", "bob"), ("channel", "alice"), ("server", "alice")):
        for state, sign in (("on", "🔒"), ("off", "🌐")):
            given = {"local_only": state, "scope": scope}
            await _tells(rig, user, "#quiet", "settings", sign, **given)
    await _tells(rig, "bob", "#quiet", "settings", "Your words")
    panel = await rig.message(await rig.run("alice", "#open", "settings", scope="channel"))
    rig.check(
        "the panel of a channel", {"unprompted", "limits"} <= set(_names(panel)), _names(panel)
    )
    await _each_select(rig, panel, "channel")
    for value in ("5", ""):
        await _limits(rig, panel, value)
    await _click(rig, panel, "to server")
    await rig.sees("the panel of the server", lambda: "to channel" in _names(panel))
    await _each_select(rig, panel, "server")


async def open_channel(rig: Rig) -> None:
    panel = await rig.message(await rig.run("alice", "#open", "settings", scope="channel"))
    menu = _menu(panel, "unprompted")
    on = next(o["value"] for o in menu["options"] if o["value"] in ("on", "yes", "true"))
    await _select(rig, panel, "unprompted", [on])
    await _answers(rig, "a channel that answers unprompted", "#open", "open", "alice", mention=None)
    shown = await rig.run("alice", "dm:lantern", "settings")
    panel = await rig.message(shown)
    rig.check("the owner's panel for everywhere, in private", _names(panel), _names(panel))


def _names(panel: Message) -> list[str]:
    """What the panel's selects and buttons set."""
    return [name.split(":", 3)[3] for name in panel.ids if name.startswith("set:")]


def _menu(panel: Message, name: str) -> Json:
    return next(p for p in panel.parts if p.get("custom_id", "").endswith(f":{name}"))


async def _select(rig: Rig, panel: Message, name: str, values: list[str]) -> None:
    asked = {"message": panel.id, "custom_id": _menu(panel, name)["custom_id"], "values": values}
    before = len(panel.history)
    await rig.discord.select(user="alice", **asked)
    await rig.until(lambda: len(panel.history) > before, f"the panel after {name}")


async def _click(rig: Rig, panel: Message, name: str, wait: str = "ack") -> Json:
    button = _menu(panel, name)["custom_id"]
    return await rig.discord.click(user="alice", message=panel.id, custom_id=button, wait=wait)


async def _each_select(rig: Rig, panel: Message, place: str) -> None:
    some = {5: ["carol"], 6: ["crew"], 7: ["crew", "carol"], 8: ["#open", "#quiet", "#general"]}
    refused: list[str] = []
    names = [name for name in _names(panel) if not name.startswith("to ") and name != "limits"]
    for name in names:
        menu = _menu(panel, name)
        values = [menu["options"][0]["value"]] if menu["type"] == 3 else some[menu["type"]]
        await _select(rig, panel, name, values[: menu.get("max_values") or 1])
        refused += [] if "✅" in panel.text and "❌" not in panel.text else [name]
    rig.check(f"each select of the {place}'s panel", not refused, refused or names)


async def _limits(rig: Rig, panel: Message, value: str) -> None:
    opened = await _click(rig, panel, "limits", "modal")
    fields = [
        p["component"]["custom_id"] for p in opened["modal"]["components"] if "component" in p
    ]
    before = len(panel.history)
    given = {"interaction": opened["id"], "values": dict.fromkeys(fields, value)}
    await rig.discord.submit(user="alice", **given)
    await rig.until(lambda: len(panel.history) > before, "the panel after a form")
    rig.check(f"limits by a form: {value or 'none'}", "✅" in panel.text, panel.text)


# --- everything ---------------------------------------------------------------------------


async def completing(rig: Rig) -> None:
    """Every option that completes, and how fast."""
    took: list[float] = []
    for path, kind, options in _commands(await rig.discord.commands()):
        needed = {"message": "x"} if any(o["name"] == "message" for o in options) else {}
        for option in options if kind == 1 else ():
            if option.get("autocomplete"):
                typed = {"channel": "#loads", "name": path, "option": option["name"]}
                shown = await rig.discord.autocomplete(user="alice", options=needed, **typed)
                took.append(shown["ms"])
                is_there = shown["choices"] is not None and not shown["failed"]
                rig.check(f"/{path} completes {option['name']}", is_there, shown["choices"])
    took.sort()
    seen = f"{took[len(took) // 2]:.0f} ms, at most {took[-1]:.0f}, of them 22 ± 20 on the way"
    rig.check("completed within 50 ms", took[len(took) // 2] < 50, seen)
    typed = {"channel": "#loads", "name": "model", "option": "name", "value": "qwne"}
    offered = (await rig.discord.autocomplete(user="bob", **typed))["choices"]
    rig.check("slips are forgiven", any("30b" in choice["name"] for choice in offered), offered)


def _commands(registered: Json) -> list[tuple[str, int, Json]]:
    """Each command and menu that can be used: its path, its type and its options."""
    found: list[tuple[str, int, Json]] = []
    for command in registered["global"]:
        options: list[Json] = command.get("options", [])
        subs = [option for option in options if option["type"] == 1]
        found += [(f"{command['name']} {sub['name']}", 1, sub.get("options", [])) for sub in subs]
        found += [] if subs else [(command["name"], command["type"], options)]
    return found


async def nothing_left_out(rig: Rig) -> None:
    unused = {path for path, _, _ in _commands(await rig.discord.commands())} - rig.ran
    rig.check("every command and menu was used", not unused, unused or len(rig.ran))
    unpressed = {str(act) for act in Act} | {"save", "change", "discard"}
    unpressed -= rig.ran | {str(Act.NTH)}
    rig.check("every button was pressed", not unpressed, unpressed or len(Act))


SCENES = (
    *(talking, places, abroad, several_messages, stopping, answering_again, thoughts_and_code),
    *(changed_questions, pictures, menus, choosing, slow_loads, memory, fleet, personas, cards),
    *(completing, settings, open_channel, nothing_left_out),
)
