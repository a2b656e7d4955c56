"""A stage with everything up: the stand-in, simulated hosts, `lantern run`; people act and see."""

import asyncio
import re
import signal
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from lantern_child import ROOT, Child, child_environment, lantern_child

from bench.discord.stage import MAY, PERSONAS, Stage, answer
from bench.discord.standin import Json, Message, Refused, StandIn, redirection, stand_in
from bot.sim.host import SimHost
from bot.sim.journal import PredictionEnded, PredictionStarted
from bot.sim.models import GB
from bot.sim.providers.catalogue import models_of
from bot.sim.providers.config import SimProviderConfig
from bot.sim.providers.provider import SimProvider

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One check: did it hold, and what was seen."""

    play: str
    check: str
    holds: bool
    seen: str

    def __str__(self) -> str:
        seen = " ".join(self.seen.split())
        verdict = "ok" if self.holds else "FAIL"
        return f"{self.play:8} {verdict:4} {self.check:76} {seen[: 90 if self.holds else 900]}"


@dataclass(frozen=True, slots=True)
class Told:
    """What a command, a press or a form was answered with, by the time it was waited for."""

    id: str
    text: str
    message: str | None
    """The message's id, where there is one."""
    form: Json
    """The form it opened."""
    is_hidden: bool
    files: tuple[Json, ...]


def told(answered: Json) -> Told:
    messages = [m for m in (answered["message"], *answered["followups"]) if m]
    return Told(
        answered["id"],
        "\n".join(message["text"] for message in messages),
        messages[0]["id"] if messages else None,
        answered["modal"],
        answered["ephemeral"],
        tuple(file for message in messages for file in message["attachments"]),
    )


class Rig:
    """A stage with everything on it up and running."""

    def __init__(self, play: str, stage: Stage, folder: Path, package: Path) -> None:
        self.play, self.stage, self.folder = play, stage, folder
        self.rows: list[Row] = []
        self.lives: list[Child] = []
        """Every Lantern there was, the last of them running."""
        self.ran: set[str] = set()
        """The commands, menus and buttons that were used."""
        self.hosts: list[SimHost] = []
        self.provider: SimProvider | None = None
        self.discord: StandIn
        self._package = package
        self._life = AsyncExitStack()
        self._channels: dict[str, str] = {}

    # --- Lantern -----------------------------------------------------------------------

    async def start(self) -> None:
        """Starts Lantern and waits until Discord knows it."""
        api = self.discord.api
        environment = child_environment(
            api,
            [host.address for host in self.hosts],
            **await redirection(self._package, api, str(ROOT)),
            DISCORD_TOKEN=self.discord.token,
            **({"SIM_KEY": self.provider.key} if self.provider else {}),
        )
        self.lives.append(
            await self._life.enter_async_context(lantern_child(self.folder, environment))
        )
        await self.lives[-1].until_serving()
        await self.discord.wait_ready()

    async def kill(self) -> None:
        """Ends it as a power cut would."""
        await self.lives[-1].kill()
        await self._life.aclose()

    async def stop(self) -> int:
        """Its exit code after a SIGTERM."""
        self.lives[-1].signal(signal.SIGTERM)
        code = await self.lives[-1].ended()
        await self._life.aclose()
        return code

    # --- what people do ----------------------------------------------------------------

    async def say(self, user: str, where: str, text: str, **more: object) -> str:
        """Somebody writes, with a mention where there are others; the message's id."""
        mention = None if where.startswith("dm") or "reply_to" in more else "lantern"
        asked = {"user": user, "channel": where, "content": text, "mention": mention, **more}
        return (await self.discord.send(**asked))["id"]

    async def reply(self, question: str, timeout_s: float = 60) -> Message:
        """The first message that replies to it."""

        def look() -> Message | None:
            return next((m for m in self.discord.mine() if m.answers == question), None)

        return await self.until(look, f"a reply to {question}", timeout_s)

    async def ask(self, user: str, where: str, text: str, **more: object) -> Message:
        """The reply to what somebody writes, once it has ended."""
        return await self.ended(await self.reply(await self.say(user, where, text, **more)))

    async def run(
        self, user: str, where: str, command: str, wait: str = "message", /, **options: object
    ) -> Told:
        """Somebody uses a command; ``wait`` is ``none``, ``ack``, ``message`` or ``modal``."""
        self.ran.add(command)
        asked = {"user": user, "channel": where, "name": command, "options": options}
        return told(await self.discord.command(**asked, wait=wait, timeout=60))

    async def chat(self, user: str, where: str, text: str, /, **options: object) -> Message:
        """The reply to ``/chat``, as it begins."""
        given = await self.run(user, where, "chat", "ack", message=text, **options)
        return await self.message(given)

    async def menu(self, user: str, where: str, name: str, message: str, wait: str = "ack") -> Told:
        """Somebody chooses that from a message's menu."""
        self.ran.add(name)
        asked = {"user": user, "channel": where, "name": name, "target": message}
        return told(await self.discord.message_command(**asked, wait=wait))

    async def press(self, user: str, message: Message, act: str, wait: str = "ack") -> Told:
        """Somebody presses the button that does this.

        Raises:
            Refused: there is none.
        """
        await self.discord.look()
        ids = [name for name in message.ids if re.match(rf"lantern(-form)?:{act}(:|$)", name)]
        if not ids:
            raise Refused(f"no {act} among {message.ids} under {message.text[:200]!r}")
        self.ran.add(act)
        asked = {"user": user, "message": message.id, "custom_id": ids[0]}
        return told(await self.discord.click(**asked, wait=wait))

    async def fill(self, user: str, form: Told, values: object, wait: str = "message") -> Told:
        """Somebody fills in a form and sends it."""
        asked = {"user": user, "interaction": form.id, "values": values}
        return told(await self.discord.submit(**asked, wait=wait, timeout=60))

    # --- what they see -----------------------------------------------------------------

    def channel(self, name: str) -> str:
        return self._channels[name]

    async def message(self, given: Told) -> Message:
        """The message that answers a command or a form."""
        shown = given.message
        while shown is None:
            await self.discord.look()
            shown = told(await self.discord.interaction(id=given.id)).message
        return await self.until(lambda: self.discord.messages.get(shown), "the command's message")

    async def until(self, look: Callable[[], T | None], what: str, timeout_s: float = 60) -> T:
        """The first thing ``look`` finds.

        Raises:
            TimeoutError: it found nothing in time.
        """
        await self.discord.look()
        try:
            return await self.discord.changes.until(look, timeout_s)
        except TimeoutError:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}") from None

    async def ended(self, message: Message, timeout_s: float = 60) -> Message:
        await self.until(
            lambda: message.has_ended, f"the end of {message.text[-200:]!r}", timeout_s
        )
        return message

    async def settled(self, timeout_s: float = 120) -> None:
        """Waits until nothing of the bot's promises more."""

        def is_settled() -> bool:
            return not any(message.is_working for message in self.discord.mine(hidden=True))

        await self.until(is_settled, "the end of all answers", timeout_s)

    def said(self, tag: str, channel: str | None = None) -> list[int]:
        """The numbers of a counted answer as they stand, message after message."""
        mine = self.discord.mine(channel)
        return [int(n) for m in mine for n in re.findall(rf"{tag}x(\d+)\.", m.text)]

    def is_whole(self, tag: str, size: int, channel: str | None = None) -> bool:
        """Does all of a counted answer stand there, once and in order?"""
        return self.said(tag, channel) == list(range(size))

    async def grown(self, tag: str, words: int = 20) -> None:
        """Waits until some of a counted answer can be read."""
        await self.until(lambda: len(self.said(tag)) > words, f"words of {tag}")

    def growth(self, tag: str) -> list[tuple[float, str, int]]:
        """Each state of its messages: when, which message, the last number that stood there."""
        found: list[tuple[float, str, int]] = []
        for message in self.discord.mine():
            states = [state for state in message.history if not state["thinking"]]
            read = [re.findall(rf"{tag}x(\d+)\.", state["content"] or "") for state in states]
            for state, numbers in zip(states, read if any(read) else (), strict=False):
                found.append((state["t"], message.id, int(numbers[-1]) if numbers else -1))
        return sorted(found)

    def gaps_s(self, tag: str) -> list[float]:
        """Seconds between what a reader saw grow, without those in which the rig stood still."""
        times, best = list[float](), -1
        for at, _, last in self.growth(tag):
            if last > best:
                times.append(at)
                best = last
        still = self.discord.stood_still_s
        return [b - a - still(a, b) for a, b in pairwise(times)]

    def shrank(self, tag: str) -> bool:
        """Were words that a reader had seen nowhere any more, for a moment?"""
        now, best = dict[str, int](), -1
        for _, message, last in self.growth(tag):
            now[message] = last
            if max(now.values()) < best:
                return True
            best = max(now.values())
        return False

    def prompts(self) -> list[str]:
        """What hosts were asked, oldest first."""
        begun = [e for host in self.hosts for e in host.journal.of(PredictionStarted)]
        begun.sort(key=lambda event: event.at)
        return ["\n".join(f"{m.role}: {m.text}" for m in event.messages) for event in begun]

    def was_told(self, words: str, last: int = 6) -> bool:
        """Did one of the last prompts hold these words?"""
        return any(words in prompt for prompt in self.prompts()[-last:])

    @property
    def generating(self) -> int:
        """How many answers hosts are working on."""
        journals = [host.journal for host in self.hosts]
        return sum(len(j.of(PredictionStarted)) - len(j.of(PredictionEnded)) for j in journals)

    # --- what must hold ----------------------------------------------------------------

    def check(self, check: str, holds: object, seen: object = "") -> None:
        row = Row(self.play, check, bool(holds), str(seen))
        self.rows.append(row)
        print(row, flush=True)

    async def sees(
        self, check: str, look: Callable[[], object], timeout_s: float = 60, seen: object = ""
    ) -> bool:
        """Checks that it comes to be in time."""
        try:
            await self.until(look, check, timeout_s)
            self.check(check, True, seen)
        except TimeoutError as error:
            self.check(check, False, f"{error}; {seen}")
        return self.rows[-1].holds

    async def hears(self, check: str, tag: str, size: int, timeout_s: float = 60) -> bool:
        """Checks that a counted answer comes to stand there whole, once and in order."""

        def is_there() -> bool:
            mine = (message for message in self.discord.mine() if f"{tag}x" in message.text)
            return self.is_whole(tag, size) and not any(message.is_working for message in mine)

        if not await self.sees(check, is_there, timeout_s):
            numbers = self.said(tag)
            print(f"{len(numbers)} of {size} words, {len(set(numbers))} different: {numbers}")
        return self.rows[-1].holds

    async def scene(
        self, scene: "Callable[[Rig], Awaitable[None]]", timeout_s: float = 600
    ) -> None:
        """Plays it; what it raises is a check that failed, and the next scene goes on."""
        try:
            async with asyncio.timeout(timeout_s):
                await scene(self)
        except Exception as error:
            traceback.print_exc()
            self.check(f"{scene.__name__} comes to its end", False, repr(error))

    # --- the stage ---------------------------------------------------------------------

    async def set_up(self, stack: AsyncExitStack) -> None:
        """Puts everything up; whatever happens, it comes down with the stack."""
        stage, lines = self.stage, list[str]()
        (self.folder / "personas").mkdir()
        for name, text in PERSONAS.items():
            (self.folder / "personas" / f"{name}.yaml").write_text(f"name: {name}\n{text}")
        for config in stage.hosts:
            self.hosts.append(await stack.enter_async_context(SimHost(config)))
            size = f"memory_gb: {config.memory_bytes / GB:g}"
            lines.append(
                f'  - {{name: {config.name}, address: "{self.hosts[-1].address}", {size}}}'
            )
        lines.insert(0, "hosts:")
        if stage.has_provider:
            sold = SimProviderConfig(wire="zai", tokens_per_s=70, answer=answer)
            self.provider = await stack.enter_async_context(SimProvider(sold))
            url, model = self.provider.base_url, models_of(sold)[0].key
            kind = f'kind: openai, base_url: "{url}", api_key_env: SIM_KEY, model: {model}'
            price = "price: {input: 0.6, output: 2.2}"
            lines.append(f"providers: {{zai: {{{kind}, {price}}}}}")
        (self.folder / "config.yaml").write_text("\n".join(lines) + "\n" + stage.config)
        self.discord = await stack.enter_async_context(
            stand_in(self._package, self._world(), self.folder)
        )
        guilds = (await self.discord.info())["guilds"]
        for guild in reversed(guilds.values()):
            self._channels |= {f"#{name}": number for name, number in guild["channels"].items()}
        stack.push_async_exit(self._life)

    def _world(self) -> dict[str, object]:
        people = [{"name": u} if isinstance(u, str) else u for u in self.stage.users]
        names = [u if isinstance(u, str) else _name_of(u) for u in self.stage.users]
        home: dict[str, object] = {"name": "Home", "owner": names[0], "members": names}
        home |= {"channels": self.stage.channels, "roles": [{"name": "crew", "mentionable": True}]}
        home["bots"] = [{"bot": "lantern", "permissions": MAY}]
        abroad = {"name": "Abroad", "channels": ["lobby"], "members": ["bob"], "bots": []}
        bot = {"name": "lantern", "privileged": ["message_content"], "owner": names[0]}
        return {
            "users": people,
            "bots": [bot],
            "guilds": [home, abroad],
            "latency": self.stage.latency,
            # It starts again within seconds, where Discord would let it wait for five.
            "identify_interval_s": 0,
            "request_members_interval_s": 0,
        }


def _name_of(user: Json) -> str:
    return user["name"]


@asynccontextmanager
async def raised(play: str, stage: Stage, folder: Path, package: Path) -> AsyncGenerator[Rig]:
    """A stage with everything on it up and running; it is watched until the block ends."""
    rig = Rig(play, stage, folder, package)
    async with AsyncExitStack() as stack:
        await rig.set_up(stack)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(rig.discord.watch())
            try:
                await rig.start()
                await rig.discord.wait_commands()
                yield rig
            finally:
                watching.cancel()


async def each(work: Iterable[Awaitable[object]]) -> list[object]:
    """All of it at once; what Discord's client refuses is a result like any other."""

    async def one(item: Awaitable[object]) -> object:
        try:
            return await item
        except Refused as refused:
            return refused

    async with asyncio.TaskGroup() as tasks:
        begun = [tasks.create_task(one(item)) for item in work]
    return [task.result() for task in begun]
