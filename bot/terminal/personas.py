"""``/personas`` in a terminal: the same acts as in Discord, with files on this machine."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from bot.chat.lantern import Lantern
from bot.chat.personas import Sheet, persona_lines
from bot.documents.cards import MAX_FILE_BYTES, FileKind
from bot.documents.persona_files import changed, settings_text
from bot.domain.chat import Place
from bot.domain.errors import RequestRefused
from bot.domain.events import TurnEvent
from bot.domain.ids import UserId
from bot.domain.personas import PersonaScope
from bot.policy.names import nearest, shown_name
from bot.policy.personas import Editor
from bot.terminal import facts
from bot.terminal.commands import Command
from bot.terminal.screen import Screen

VERBS = ("list", "show", "create", "edit", "delete", "import", "export", "try")

_TEXTS: Final[Mapping[str, str]] = {
    "prompt": "system_prompt",
    "description": "description",
    "greeting": "greeting",
    "who": "character.description",
    "scenario": "character.scenario",
}
"""What is said of a persona, by the options that change it."""

_KINDS: Final[Mapping[str, FileKind]] = {".png": "png", ".json": "json", ".yaml": "yaml"}
_SCOPES: Final[Mapping[str, PersonaScope]] = {"me": "me", "all": "all"}


async def personas(
    built: Lantern,
    screen: Screen,
    command: Command,
    user: UserId,
    place: Place,
    show: Callable[[TurnEvent], Awaitable[None]],
) -> None:
    """Does what ``/personas VERB …`` says; ``show`` shows a reply as it comes.

    Raises:
        BotError: it cannot be done; says why.
    """
    # Whoever sits at the machine is its owner.
    editor, acts = Editor(user, is_owner=True), built.personas
    verb, name = command.word(0) or "list", command.word(1)
    scope = _SCOPES.get(command.option("scope") or "me")
    if scope is None:
        raise RequestRefused("A scope is `me` or `all` here; there is no server in a terminal.")
    if verb not in VERBS:
        near = nearest(verb, VERBS, 1)
        hint = f" Nearest: `/personas {near[0]}`." if near else ""
        raise RequestRefused(f"`/personas` knows {', '.join(VERBS)}, not `{verb}`.{hint}")
    if verb == "list":
        rows = [facts.persona_row(persona) for persona, _ in acts.seen(editor)]
        screen.table(facts.PERSONA_COLUMNS, rows)
        for problem in built.shelf.problems:
            screen.line(f"⚠ {problem}", "yellow")
        return
    if name is None:
        what = "FILE" if verb == "import" else "NAME"
        raise RequestRefused(f"Say which: `/personas {verb} {what}`.")
    if verb == "try":
        persona, _, _ = acts.found(name, editor)
        async with acts.preview(persona, place, editor) as events:
            async for event in events:
                await show(event)
        return
    await _act(built, screen, command, verb, name, scope, editor, place)


async def _act(
    built: Lantern,
    screen: Screen,
    command: Command,
    verb: str,
    name: str,
    scope: PersonaScope,
    editor: Editor,
    place: Place,
) -> None:
    acts = built.personas
    match verb:
        case "show":
            persona, _, is_open = acts.found(name, editor)
            screen.markdown("\n".join(persona_lines(persona, is_whole=is_open)))
        case "delete":
            screen.markdown(await acts.delete(name, editor))
        case "import":
            content = await asyncio.to_thread(_read, Path(name))
            sheet = await acts.brought(
                Path(name).name,
                content,
                editor,
                name=command.option("name"),
                scope=scope,
                replaces=command.option("replace"),
            )
            await _keep(built, screen, sheet, scope, editor, place)
        case "export":
            target = Path(command.word(2) or f"{shown_name(name)}.yaml")
            kind = _KINDS.get(target.suffix.lower())
            if kind is None:
                raise RequestRefused("The file's name ends in `.png`, `.json` or `.yaml`.")
            _, content = await acts.export(name, kind, editor)
            await asyncio.to_thread(_write, target, content)
            screen.line(f"Written to {target}.")
        case "create":
            sheet = acts.blank(name, scope, editor, command.option("copy"))
            await _keep(built, screen, _edited(sheet, command), scope, editor, place)
        case _:
            sheet = acts.opened(name, editor)
            await _keep(built, screen, _edited(sheet, command), scope, editor, place)


def _edited(sheet: Sheet, command: Command) -> Sheet:
    said = {key: command.option(option) for option, key in _TEXTS.items()}
    texts = {key: text for key, text in said.items() if text is not None}
    settings = settings_text(sheet.persona)
    more = [f"{key}: {value}" for key in ("model", "local_only") if (value := command.option(key))]
    if more:
        kept = [line for line in settings.splitlines() if line.split(":")[0] not in str(more)]
        settings = "\n".join([*kept, *more])
    if not texts and not more and sheet.changes is not None:
        options = ", ".join(f"`{option}:…`" for option in (*_TEXTS, "model", "local_only"))
        raise RequestRefused(f"Say what to change: {options}.")
    return replace(sheet, persona=changed(sheet.persona, texts, settings))


async def _keep(
    built: Lantern,
    screen: Screen,
    sheet: Sheet,
    scope: PersonaScope,
    editor: Editor,
    place: Place,
) -> None:
    made, said = await built.personas.keep(sheet, scope, editor, place)
    done = "saved" if sheet.changes is None else "changed"
    screen.markdown(f"**{shown_name(made.persona.name)}** is {done}. {said}".rstrip())


def _read(path: Path) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RequestRefused(f"{path} cannot be read: {error.strerror or error}.") from error


def _write(path: Path, content: bytes) -> None:
    try:
        # Never over a file that is there: it may be the only copy.
        with path.expanduser().open("xb") as file:
            file.write(content)
    except OSError as error:
        raise RequestRefused(f"{path} cannot be written: {error.strerror or error}.") from error
