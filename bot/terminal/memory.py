"""``/remember``, ``/memories`` and ``/history`` in a terminal."""

import asyncio
from pathlib import Path

from bot.chat.history import NOTHING_KEPT, answers_to, asked_text, exported, kept_here
from bot.chat.lantern import Lantern
from bot.chat.words import counted
from bot.domain.chat import Place, Quote
from bot.domain.errors import RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.policy.memories import KEPT_HERE, WAY_ROUND, checked_fact
from bot.terminal.commands import Command
from bot.terminal.screen import Screen

USER = UserId("terminal:you")
PLACE = Place(channel=PlaceId("terminal"), is_private=True)


async def memory(lantern: Lantern, screen: Screen, command: Command) -> None:
    """``/remember`` and ``/memories``: facts about whoever sits here."""
    people, act, which = lantern.people, command.word(0), command.word(1) or ""
    facts = await people.facts(USER)
    match command.name, act:
        case "remember", _:
            text = checked_fact(" ".join(command.words), [fact.said for fact in facts])
            said = Quote(text, USER, "you", PLACE, lantern.database.now_ms())
            kept = await kept_here(lantern, (said,))
            await people.remember(said)
            screen.line(f"Remembered: {text}", "dim")
            if kept:
                screen.line(f"{KEPT_HERE}: {WAY_ROUND}", "dim")
        case "memories", "forget":
            if not (which.isdecimal() and await people.drop(USER, int(which))):
                raise RequestRefused(f"There is no fact `{which}`; `/memories` lists them.")
            screen.line("Forgotten.", "dim")
        case "memories", None:
            kept = await kept_here(lantern, (fact.said for fact in facts))
            for fact in facts:
                screen.line(f"{fact.number}  {'🔒 ' * (fact.said in kept)}{fact.said.text}")
            if kept:
                screen.line(f"{KEPT_HERE}.", "dim")
            if not facts:
                screen.line("Nothing is remembered; `/remember FACT` does.", "dim")
        case name, _:
            raise RequestRefused(f"`/{name}` does not know `{act}`; `/help` lists what it does.")


async def history(lantern: Lantern, screen: Screen, command: Command) -> None:
    """``/history``: what is kept of the words of whoever sits here."""
    people, act, which = lantern.people, command.word(0), command.word(1) or ""
    match act:
        case None | "show":
            questions = await people.said(USER, 10)
            if not questions:
                screen.line("No question of yours is kept.", "dim")
            for question in questions:
                for turn in (await answers_to(lantern, question))[:1]:
                    said = f"{asked_text(turn)[:70]} → {turn.reply_text[:70]}"
                    screen.line(" ".join(said.split()))
        case "export":
            which = which or "lantern-history.json"
            if (export := await exported(lantern, USER)) is None:
                screen.line(NOTHING_KEPT, "dim")
                return
            count, data = export
            try:
                await asyncio.to_thread(_write, which, data)
            except OSError as error:
                raise RequestRefused(f"`{which}` cannot be written: {error.strerror}.") from error
            screen.line(f"Written to {which}: {counted(count, 'question')}.", "dim")
        case "forget" if which == "yes":
            gone = await people.forget(USER)
            count = counted(gone.questions, "question")
            said = f"Forgotten: {count} with all answers, and your facts."
            screen.line(NOTHING_KEPT if gone.is_nothing else said, "dim")
        case "forget":
            raise RequestRefused("This deletes all your words for good: `/history forget yes`.")
        case _:
            raise RequestRefused(f"`/history` does not know `{act}`; `/help` lists what it does.")


def _write(name: str, data: bytes) -> None:
    Path(name).expanduser().write_bytes(data)
