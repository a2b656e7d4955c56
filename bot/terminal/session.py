"""The terminal chat: reads a line, does one thing, shows the result."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from bot.chat.acts import FleetActs
from bot.chat.catalog import Catalog
from bot.chat.switch import Explanation, Switch
from bot.chat.turns import Turns
from bot.chat.usage import ReportPeriod, Tally
from bot.chat.words import (
    candidate_line,
    error_text,
    failure_text,
    footer,
    host_lines,
    offer_text,
    rejection_line,
    stopped_text,
    usage_text,
    why_text,
)
from bot.domain.chat import Place, TurnKind, TurnRequest
from bot.domain.errors import BotError, ForeignInstance, RequestRefused
from bot.domain.events import (
    Evicting,
    Failed,
    FellBack,
    Finished,
    Loading,
    Notice,
    Offered,
    Progress,
    Queued,
    Reading,
    ReasoningDelta,
    Routed,
    Started,
    Stopped,
    TextDelta,
    TurnEvent,
)
from bot.domain.ids import AUTO, ModelKey, PersonaName, PlaceId, UserId
from bot.policy.choice import Scope
from bot.policy.names import nearest
from bot.store.privacy import PrivacyStore
from bot.terminal.commands import COMMANDS, FLEET_VERBS, Command, parse
from bot.terminal.input import Input
from bot.terminal.offers import complete
from bot.terminal.screen import Screen, Steps

PERIODS: tuple[ReportPeriod, ...] = ("today", "week", "month", "last month")
USER = UserId("terminal:you")
PLACE = Place(channel=PlaceId("terminal"), is_private=True)


@dataclass(frozen=True, slots=True)
class Extra:
    """A command only this chat has, such as the demo's own."""

    form: str
    does: str
    run: Callable[[tuple[str, ...]], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Doors:
    """What the session talks to."""

    turns: Turns
    switch: Switch
    catalog: Catalog
    acts: FleetActs
    tally: Tally
    privacy: PrivacyStore
    extras: Mapping[str, Extra] = field(default_factory=dict[str, Extra])


class Session:
    """One chat from first line to last."""

    def __init__(self, doors: Doors, screen: Screen, source: Input) -> None:
        self._doors = doors
        self._screen = screen
        self._input = source
        self._failures = 0
        self._problems: tuple[str, ...] = ()
        """What was wrong with persona files when last told."""
        self._doing: asyncio.Timeout | None = None
        """The command under way, for Ctrl-C."""

    async def run(self) -> int:
        """Reads until the end of input or ``/quit``; gives how many commands failed."""
        self._tell_problems()
        async for line in self._input.lines():
            self._tell_problems()
            if not self._input.is_interactive and line.strip():
                self._screen.line(f"> {line}", "bold")
            try:
                command = parse(line, tuple(self._doors.extras))
                if command is None:
                    continue
                if command.name == "quit":
                    break
                await self._until_interrupted(command)
            except BotError as error:
                self._failures += 1
                self._screen.error(error_text(error))
            self._tell_problems()
        return self._failures

    def _tell_problems(self) -> None:
        """Says once what is wrong with a persona file; a log nobody sees would not do."""
        problems = self._doors.catalog.problems()
        for problem in problems:
            if problem not in self._problems:
                self._screen.line(f"⚠ Persona file {problem}", "yellow")
        self._problems = problems

    async def _until_interrupted(self, command: Command) -> None:
        try:
            async with asyncio.timeout(None) as self._doing:
                await self._do(command)
        except TimeoutError:
            if self._doing is None or not self._doing.expired():
                raise
            self._screen.dim("Not waited for. What was begun on a host goes on there.")
        finally:
            self._doing = None

    def interrupt(self) -> bool:
        """Stops the running reply or wait (Ctrl-C); False when nothing was running."""
        if self._doors.turns.stop(PLACE.conversation):
            return True
        if self._doing is None:
            return False
        self._doing.reschedule(0.0)
        return True

    def complete(self, typed: str) -> Iterable[str]:
        """Whole lines that could follow what was typed."""
        return complete(self._doors.catalog, tuple(self._doors.extras), typed)

    async def _do(self, command: Command) -> None:
        match command.name:
            case "chat":
                await self._chat(command)
            case "model":
                await self._model(command)
            case "persona":
                await self._persona(command)
            case "fleet":
                await self._fleet(command)
            case _:
                await self._small(command)

    async def _small(self, command: Command) -> None:
        turns = self._doors.turns
        match command.name:
            case "retry":
                await self._again(TurnKind.RETRY)
            case "continue":
                await self._again(TurnKind.CONTINUE)
            case "reset":
                await turns.reset(PLACE.conversation)
                self._screen.dim("A fresh conversation.")
            case "stop":
                stopped = turns.stop(PLACE.conversation)
                self._screen.dim("Stopped." if stopped else "Nothing is running.")
            case "why":
                turn = await turns.last(PLACE.conversation)
                self._screen.markdown(why_text(turn) if turn else "Nothing was asked here yet.")
            case _:
                await self._smaller(command)

    async def _smaller(self, command: Command) -> None:
        match command.name:
            case "personas":
                self._personas()
            case "usage":
                await self._usage(command)
            case "private":
                await self._private(command)
            case "help":
                self._help()
            case _:
                extra = self._doors.extras[command.name]
                self._screen.line(await extra.run(command.words))

    def _personas(self) -> None:
        for persona in self._doors.catalog.personas(limit=1000):
            self._screen.markdown(f"**{persona.name}** {persona.description}")
        for problem in self._doors.catalog.problems():
            self._screen.line(f"⚠ {problem}", "yellow")

    def _help(self) -> None:
        for usage in COMMANDS:
            self._screen.line(f"{usage.form:<56} {usage.does}")
        for extra in self._doors.extras.values():
            self._screen.line(f"{extra.form:<56} {extra.does}")

    # --- turns -----------------------------------------------------------------------------

    async def _chat(self, command: Command) -> None:
        persona, model = command.option("persona"), command.option("model")
        await self._turn(
            TurnRequest(
                user=USER,
                user_name="you",
                place=PLACE,
                text=command.word(0) or "",
                persona=PersonaName(persona) if persona else None,
                model=ModelKey(model) if model else None,
                request_type=command.option("type"),
            )
        )

    async def _again(self, kind: TurnKind) -> None:
        turns = self._doors.turns
        turn = await turns.current(PLACE.conversation)
        if turn is None and await turns.last(PLACE.conversation) is not None:
            what = "continue" if kind is TurnKind.CONTINUE else "retry"
            raise RequestRefused(f"This is a fresh conversation: there is nothing to {what} yet.")
        if turn is None:
            raise RequestRefused("Nothing was asked here yet.")
        await self._turn(
            TurnRequest(user=USER, user_name="you", place=PLACE, text="", parent=turn.id, kind=kind)
        )

    async def _turn(self, request: TurnRequest) -> None:
        async with self._doors.turns.open(request) as events:
            with self._screen.steps() as steps:
                async for event in events:
                    self._show(event, steps)

    def _show(self, event: TurnEvent, steps: Steps) -> None:
        match event:
            case Queued() | Evicting() | Loading():
                steps.show(event)
            case TextDelta(text=text):
                steps.close()
                self._screen.piece(text)
            case FellBack(failed=failed, reason=reason):
                steps.close()
                self._screen.dim(f"↪ {failed.where} could not answer: {reason}")
            case Offered():
                steps.close()
                self._screen.dim(offer_text(event).replace("`", ""))
            case Notice(text=text):
                steps.close()
                self._screen.dim(f"ℹ {text}")
            case Finished(receipt=receipt):
                self._screen.line()
                self._screen.dim(footer(receipt))
            case Stopped(receipt=receipt):
                steps.close()
                self._screen.line()
                self._screen.line(stopped_text(event), "yellow")
                self._screen.dim(footer(receipt))
            case Failed():
                self._failures += 1
                steps.close()
                self._screen.error(failure_text(event))
            case Started() | Routed() | Reading() | ReasoningDelta():
                pass

    # --- switching -------------------------------------------------------------------------

    async def _model(self, command: Command) -> None:
        name = command.word(0)
        if name is None:
            self._explain(await self._doors.switch.explain(PLACE, USER))
            return
        model = await self._doors.switch.set_model(
            PLACE, USER, _scope(command), name, is_admin=True
        )
        self._screen.markdown(f"Model here: `{model}`")
        await self._wait(self._doors.switch.warm(PLACE, USER, model=model))

    async def _persona(self, command: Command) -> None:
        name = command.word(0)
        if name is None:
            self._explain(await self._doors.switch.explain(PLACE, USER))
            return
        persona = await self._doors.switch.set_persona(
            PLACE, USER, _scope(command), name, is_admin=True
        )
        self._screen.markdown(f"**{persona.name}** answers here. {persona.greeting}")
        await self._wait(self._doors.switch.warm(PLACE, USER, persona=persona.name))

    async def _usage(self, command: Command) -> None:
        report = await self._doors.tally.report(_period(command.words), "all", USER, None)
        self._screen.markdown(usage_text(report))

    async def _private(self, command: Command) -> None:
        said = command.word(0) or "on"
        if said not in ("on", "off"):
            raise RequestRefused(f"Write `/private on` or `/private off`, not `{said}`.")
        await self._doors.privacy.set_user(USER, local_only=said == "on")
        words = (
            "stay on the LAN" if said == "on" else "may go to a provider when no host can answer"
        )
        self._screen.dim(f"Your words {words}.")

    def _explain(self, said: Explanation) -> None:
        self._screen.markdown(f"Persona **{said.persona.name}**: {said.persona_reason}")
        self._screen.markdown(f"Model `{said.model}`: {said.model_reason}")
        for candidate in said.route.candidates:
            self._screen.markdown(f"• {candidate_line(candidate)}")
        for rejection in said.route.rejected:
            self._screen.markdown(f"✗ {rejection_line(rejection)}")

    async def _wait(self, warming: AbstractAsyncContextManager[AsyncIterator[Progress]]) -> None:
        async with warming as progress:
            with self._screen.steps() as steps:
                async for step in progress:
                    steps.show(step)
        self._screen.dim("Ready.")

    # --- fleet -----------------------------------------------------------------------------

    async def _fleet(self, command: Command) -> None:
        verb, model = command.word(0) or "status", command.word(1)
        host = command.option("host")
        if verb == "status":
            self._hosts(host or model or "")
        elif verb == "models":
            self._models(model or "")
        elif verb in ("load", "unload") and model is None:
            raise RequestRefused(f"Say which model: `/fleet {verb} MODEL [host:HOST]`.")
        elif verb == "load" and model is not None:
            await self._wait(self._doors.acts.load(host, model))
        elif verb == "unload" and model is not None:
            self._screen.markdown(await self._unload(host, model, command.option("foreign")))
        else:
            near = nearest(verb, FLEET_VERBS, 1)
            hint = f" Nearest: `/fleet {near[0]}`." if near else ""
            known = "status, models, load and unload"
            raise RequestRefused(f"`/fleet` knows {known}, not `{verb}`.{hint}")

    def _hosts(self, typed: str) -> None:
        catalog = self._doors.catalog
        found = catalog.hosts(typed)
        if not found:
            catalog.host(typed)  # says that nothing matches, and what is nearest
        now = asyncio.get_running_loop().time()
        for snapshot in found:
            self._screen.markdown("\n".join(host_lines(snapshot, now)))

    def _models(self, typed: str) -> None:
        catalog = self._doors.catalog
        found = [option for option in catalog.models(typed, limit=1000) if option.key != AUTO]
        if not found and typed:
            found = [catalog.option(catalog.any_model(typed))]
        for option in found:
            self._screen.markdown(f"`{option.key}` {option.mark}")
        for reason in catalog.outage():
            self._screen.line(f"✗ {reason}", "yellow")

    async def _unload(self, host: str | None, model: str, foreign: str | None) -> str:
        if foreign not in (None, "yes", "no"):
            raise RequestRefused(f"Write `foreign:yes`, not `foreign:{foreign}`.")
        try:
            return await self._doors.acts.unload(host, model, even_foreign=foreign == "yes")
        except ForeignInstance as error:
            words = f"{error.user_message} Add `foreign:yes` to unload it all the same."
            raise ForeignInstance(words) from error


def _period(words: tuple[str, ...]) -> ReportPeriod:
    said = " ".join(words) or "today"
    for known in PERIODS:
        if said == known:
            return known
    raise RequestRefused(f"A period is today, week, month or last month, not `{said}`.")


def _scope(command: Command) -> Scope:
    said = command.option("scope") or command.word(1) or Scope.ME.value
    try:
        return Scope(said)
    except ValueError as error:
        raise RequestRefused(f"A scope is `me`, `channel` or `server`, not `{said}`.") from error
