"""The terminal chat: reads a line, does one thing, shows the result."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from functools import partial

from bot.chat.lantern import Lantern
from bot.chat.switch import beside_words, model_words
from bot.chat.words import (
    aside_line,
    candidate_line,
    error_text,
    footer,
    host_lines,
    provider_lines,
    readiness_text,
    rejection_line,
    stopped_text,
    usage_text,
    why_text,
)
from bot.domain.chat import Asker, TurnKind, TurnRequest
from bot.domain.errors import BotError, RequestRefused
from bot.domain.events import (
    Evicting,
    Failed,
    FellBack,
    Finished,
    Loading,
    Notice,
    Offered,
    Queued,
    Reading,
    ReasoningDelta,
    Resuming,
    Routed,
    Silence,
    Started,
    Stopped,
    TextDelta,
    TurnEvent,
    Waking,
)
from bot.domain.ids import AUTO, ModelKey, PersonaName
from bot.domain.personas import Priority
from bot.policy.access import EVERY_RIGHT
from bot.policy.choice import SCOPES, title_of
from bot.policy.names import nearest, shown_name
from bot.policy.prompt import Moment, filled_in, scene_of
from bot.terminal import facts
from bot.terminal.commands import COMMANDS, FLEET_VERBS, Command, CommandForm, parse
from bot.terminal.memory import PLACE, USER, history, memory
from bot.terminal.personas import personas
from bot.terminal.screen import Screen, Steps

__all__ = ["PLACE", "USER", "Session"]


class Session:
    """One chat from first line to last.

    Args:
        lantern: who answers.
        screen: where it is shown.
        extras: commands only this chat has, by name.
    """

    def __init__(
        self, lantern: Lantern, screen: Screen, extras: Mapping[str, CommandForm] | None = None
    ) -> None:
        self._lantern = lantern
        self._screen = screen
        self._extras = extras or {}
        self._failures = 0
        self._problems: tuple[str, ...] = ()
        """What was wrong with persona files when last told."""
        self._doing: asyncio.Timeout | None = None
        """The command under way, for Ctrl-C."""

    async def run(self, lines: AsyncIterator[str], *, echoes: bool) -> int:
        """Reads until the end of input or ``/quit``; gives how many commands failed.

        Args:
            lines: what is typed, without line ends.
            echoes: shows each line, so that a script's output reads as a dialogue.
        """
        self._tell_problems()
        async for line in lines:
            self._tell_problems()
            if echoes and line.strip():
                self._screen.line(f"> {line}", "bold")
            try:
                command = parse(line, tuple(self._extras))
                if command is None:
                    continue
                if command.name == "quit":
                    break
                await self._until_interrupted(command)
            except BotError as error:
                self._failures += 1
                self._screen.line(error_text(error), "red")
            self._tell_problems()
        return self._failures

    def _tell_problems(self) -> None:
        # Said here, once each: a terminal chat's log goes nowhere that anybody reads.
        problems = self._lantern.shelf.problems
        for problem in problems:
            if problem not in self._problems:
                self._screen.line(f"⚠ Persona file {problem}", "yellow")
        self._problems = problems

    async def _until_interrupted(self, command: Command) -> None:
        try:
            async with asyncio.timeout(None) as self._doing:
                await self._do(command)
        except TimeoutError:
            # A time limit of somebody else, further in, is no wish to stop.
            if self._doing is None or not self._doing.expired():
                raise
            self._screen.line("Not waited for. What was begun on a host goes on there.", "dim")
        finally:
            self._doing = None

    def interrupt(self) -> bool:
        """Stops the running reply or wait (Ctrl-C); False when nothing was running."""
        # A reply is stopped, not left: what was said of it so far is kept, with its receipt.
        if self._lantern.turns.stop(PLACE.conversation):
            return True
        if self._doing is None:
            return False
        # A deadline that rang cannot be set again: it is ending already.
        if self._doing.when() is None:
            self._doing.reschedule(0.0)
        return True

    async def _do(self, command: Command) -> None:
        screen, turns = self._screen, self._lantern.turns
        acts = {
            "chat": self._chat,
            "retry": self._chat,
            "continue": self._chat,
            "answers": self._answers,
            "remember": partial(memory, self._lantern, screen),
            "memories": partial(memory, self._lantern, screen),
            "history": partial(history, self._lantern, screen),
            "model": self._switch,
            "persona": self._switch,
            "fleet": self._fleet,
            "private": self._private,
            "personas": self._personas,
        }
        match command.name:
            case name if name in acts:
                await acts[name](command)
            case "reset":
                await turns.store.reset(PLACE.conversation)
                screen.line("A fresh conversation.", "dim")
            case "stop":
                stopped = turns.stop(PLACE.conversation)
                screen.line("Stopped." if stopped else "Nothing is running.", "dim")
            case "why":
                turn = await turns.store.last_in(PLACE.conversation)
                screen.markdown(why_text(turn) if turn else "Nothing was asked here yet.")
            case "usage":
                period = facts.report_period(" ".join(command.words) or "today")
                report = await self._lantern.usage.report(period, "all", USER, None)
                screen.markdown(usage_text(report))
            case "settings":
                rows = facts.setting_rows(self._lantern.place_settings.stored)
                if rows:
                    screen.table(facts.SETTING_COLUMNS, rows)
                else:
                    screen.line("Nothing is set; `lantern config show` tells what the file says.")
            case "help":
                forms = [(form.form, form.does) for form in (*COMMANDS, *self._extras.values())]
                screen.table(("command", "does"), forms)
            case name:
                run = self._extras[name].run
                assert run is not None, "only this chat's own commands are left"
                screen.line(await run(command.words))

    # --- turns -----------------------------------------------------------------------------

    async def _chat(self, command: Command) -> None:
        turns = self._lantern.turns
        kinds: Mapping[str, TurnKind] = {"retry": "retry", "continue": "continue"}
        kind: TurnKind = kinds.get(command.name, "new")
        turn = None
        if kind != "new":
            turn = await turns.store.last_in(PLACE.conversation, since_reset=True)
            # After /reset there is a last turn, but none of this conversation.
            if turn is None and await turns.store.last_in(PLACE.conversation) is not None:
                words = f"This is a fresh conversation: there is nothing to {kind} yet."
                raise RequestRefused(words)
            if turn is None:
                raise RequestRefused("Nothing was asked here yet.")
        persona, model = command.option("persona"), command.option("model")
        sort, cache = command.option("type"), command.option("cache") or "on"
        if cache not in ("on", "off"):
            raise RequestRefused(f"`cache:` takes on or off, not `{cache}`.")
        said_by = PersonaName(persona) if persona else None
        await self._lantern.switch.check_named(
            PLACE, USER, persona=said_by, model=model, again=turn
        )
        priorities: dict[str, Priority] = {"high": "high", "normal": "normal", "low": "low"}
        if (urgency := command.option("priority") or "normal") not in priorities:
            raise RequestRefused(f"`priority:` takes {', '.join(priorities)}, not `{urgency}`.")
        request = TurnRequest(
            user=USER,
            user_name="you",
            place=PLACE,
            text=command.word(0) or "",
            parent=None if turn is None else turn.id,
            kind=kind,
            persona=said_by,
            model=ModelKey(model) if model else None,
            request_type=self._lantern.catalog.request_type(sort) if sort else None,
            no_cache=cache == "off",
            priority=priorities[urgency] if command.option("priority") else None,
            asker=Asker(USER, is_owner=True),
        )
        async with turns.open(request) as events:
            with closing(Steps(self._screen)) as steps:
                async for event in events:
                    self._show(event, steps)

    async def _answers(self, command: Command) -> None:
        """What the last question was answered so far; with a number, which one goes on."""
        store = self._lantern.turns.store
        last = await store.last_in(PLACE.conversation, since_reset=True)
        answers = None if last is None else await store.answers(last.id)
        if last is None or answers is None:
            raise RequestRefused("Nothing was asked here yet.")
        if (word := command.word(0)) is not None:
            nth = int(word) if word.isdecimal() else 0
            if not 1 <= nth <= len(answers.ids):
                raise RequestRefused(f"There is no answer `{word}`; `/answers` lists them.")
            if last.status == "running":
                raise RequestRefused("An answer is being written there; /stop ends it.")
            await store.show(answers.ids[nth - 1])
            last = await store.get(answers.ids[nth - 1]) or last
            self._screen.piece(last.reply_text)
            self._screen.line()
            return
        for nth, turn in enumerate(answers.ids, 1):
            answer = await store.get(turn)
            words = " ".join(answer.reply_text.split())[:80] if answer is not None else ""
            self._screen.line(f"{'●' if turn == last.id else ' '} {nth}  {words}")

    def _show(self, event: TurnEvent, steps: Steps) -> None:
        screen = self._screen
        match event:
            case Queued() | Evicting() | Loading() | Waking() | Reading() | ReasoningDelta():
                steps.show(event)
                return
            case Started() | Routed():
                return
            case _:
                steps.close()
        match event:
            case TextDelta(text=text):
                screen.piece(text)
            case FellBack(failed=failed, reason=reason):
                screen.line(f"↪ {failed.where} could not answer: {reason}", "dim")
            case Offered() | Silence() | Resuming():
                screen.line(aside_line(event).replace("`", ""), "dim")
            case Notice(text=text):
                screen.line(f"ℹ {text}", "dim")
            case Finished(receipt=receipt):
                screen.line()
                screen.line(footer(receipt), "dim")
            case Stopped(receipt=receipt):
                screen.line()
                screen.line(stopped_text(event), "yellow")
                screen.line(footer(receipt), "dim")
            case Failed():
                self._failures += 1
                screen.line(error_text(event.error), "red")

    # --- switching -------------------------------------------------------------------------

    async def _switch(self, command: Command) -> None:
        """``/model`` and ``/persona``: what answers here, or another one from now on."""
        # Switching loads at once: the wait is then here, and not under the next question.
        switch, screen, name = self._lantern.switch, self._screen, command.word(0)
        if name is None:
            said = await switch.explain(PLACE, USER)
            screen.markdown(f"Persona **{shown_name(said.persona.name)}**: {said.persona_reason}")
            screen.markdown(f"Model: {model_words(said)}")
            if said.way_back:
                screen.markdown(f"Back to the persona's own model: {said.way_back}")
            for candidate in said.route.candidates:
                screen.markdown(f"• {candidate_line(candidate)}")
            for rejection in said.route.rejected:
                screen.markdown(f"✗ {rejection_line(rejection)}")
            return
        wanted = command.option("scope") or command.word(1) or "me"
        scope = SCOPES.get(wanted)
        if scope is None:
            raise RequestRefused(f"A scope is `me`, `channel` or `server`, not `{wanted}`.")
        # Whoever sits at this terminal runs Lantern: nobody here is asked for rights.
        if command.name == "model":
            value = await switch.set_model(PLACE, USER, scope, name, rights=EVERY_RIGHT)
            screen.markdown(f"Model here: {title_of(value)}")
            load = switch.warm(PLACE, USER, model=value)
        else:
            persona = await switch.set_persona(PLACE, USER, scope, name, rights=EVERY_RIGHT)
            greeting = filled_in(persona.greeting, scene_of(persona, "you", Moment()))
            screen.line(f"{shown_name(persona.name)} is chosen here. {greeting}")
            if beside := beside_words(await switch.explain(PLACE, USER), persona):
                screen.markdown(beside)
            load = switch.warm(PLACE, USER, persona=persona.name)
        ready = await screen.waited(load)
        self._failures += ready.by is None
        screen.line(readiness_text(ready).replace("`", ""), "dim" if ready.by else "red")

    async def _private(self, command: Command) -> None:
        said = command.word(0) or "on"
        if said not in ("on", "off"):
            raise RequestRefused(f"Write `/private on` or `/private off`, not `{said}`.")
        await self._lantern.privacy.mark("user", USER, local_only=said == "on", by=USER)
        words = (
            "stay on the LAN" if said == "on" else "may go to a provider when no host can answer"
        )
        self._screen.line(f"Your words {words}.", "dim")

    async def _personas(self, command: Command) -> None:
        with closing(Steps(self._screen)) as steps:

            async def show(event: TurnEvent) -> None:
                self._show(event, steps)

            await personas(self._lantern, self._screen, command, USER, PLACE, show)

    # --- fleet -----------------------------------------------------------------------------

    async def _fleet(self, command: Command) -> None:
        verb, model, surplus = command.word(0) or "status", command.word(1), command.word(2)
        host = command.option("host")
        match (verb, model):
            case ("status", _):
                await self._hosts(host or model or "")
            case ("models", _):
                self._models(model or "")
            case ("load" | "unload" | "pin" | "unpin" | "drain" | "resume", None):
                what = "host" if verb in ("drain", "resume") else "model"
                form = "HOST" if what == "host" else "MODEL [host:HOST]"
                raise RequestRefused(f"Say which {what}: `/fleet {verb} {form}`.")
            case _ if surplus is not None and verb != "drain":
                raise RequestRefused(f"`{surplus}` is too much after `/fleet {verb} {model}`.")
            case ("pin" | "unpin", str()):
                said = await self._lantern.acts.pin(host, model, is_pinned=verb == "pin")
                self._screen.markdown(said)
            case ("drain" | "resume", str()):
                said = await self._lantern.acts.drain(
                    model, is_draining=verb == "drain", lasting=surplus
                )
                self._screen.markdown(said)
            case ("load", str()):
                ready = await self._screen.waited(self._lantern.acts.load(host, model))
                self._screen.line(readiness_text(ready).replace("`", ""), "dim")
            case ("unload", str()):
                # Never by default: somebody else may be in the middle of an answer with it.
                foreign = command.option("foreign") or "no"
                if foreign not in ("yes", "no"):
                    raise RequestRefused(f"Write `foreign:yes`, not `foreign:{foreign}`.")
                is_even = foreign == "yes"
                done = await facts.unload(
                    self._lantern.acts, host, model, even_foreign=is_even, option="`foreign:yes`"
                )
                self._screen.markdown(done.said)
            case _:
                near = nearest(verb, FLEET_VERBS, 1)
                hint = f" Nearest: `/fleet {near[0]}`." if near else ""
                known = ", ".join(FLEET_VERBS)
                raise RequestRefused(f"`/fleet` knows {known}, not `{verb}`.{hint}")

    async def _hosts(self, typed: str) -> None:
        catalog = self._lantern.catalog
        found = catalog.hosts(typed)
        if not found:
            catalog.host(typed)  # says that nothing matches, and what is nearest
        now = asyncio.get_running_loop().time()
        for snapshot in found:
            self._screen.markdown("\n".join(host_lines(snapshot, now)))
        for standing in () if typed else await self._lantern.providers.standings():
            # Whoever sits at the machine is its owner.
            for line in provider_lines(standing, is_admin=True):
                self._screen.markdown(line)

    def _models(self, typed: str) -> None:
        catalog = self._lantern.catalog
        found = [option for option in catalog.models(typed, limit=1000) if option.key != AUTO]
        # Lists hold chat models; whoever names another one means just that.
        if not found and typed:
            found = [catalog.option(catalog.any_model(typed))]
        for option in found:
            self._screen.markdown(f"`{option.key}` {option.mark}")
        for reason in catalog.outage():
            self._screen.line(f"✗ {reason}", "yellow")
