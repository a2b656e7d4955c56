"""What people do with personas in a chat: make, change, delete, bring along, take away, try."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import structlog

from bot.chat.answering import Answering
from bot.chat.catalog import Catalog
from bot.chat.choices import PLAIN, Resolved
from bot.chat.consents import Consents
from bot.chat.draft import Draft
from bot.chat.override import Override
from bot.chat.planning import Asking, Planner
from bot.chat.safe_channel import safe_channel
from bot.documents.cards import Card, FileKind, card_of, persona_of, read_file, written
from bot.documents.shelf import PersonaShelf
from bot.domain.chat import Message, Place, TurnRequest
from bot.domain.errors import BotError, NoCandidates, NotPermitted, RequestRefused
from bot.domain.events import Finished, TurnEvent
from bot.domain.ids import ModelKey, PersonaName, TurnId, UserId
from bot.domain.personas import Made, Persona, PersonaScope
from bot.domain.values import value
from bot.policy.names import one_line, shown_name
from bot.policy.personas import (
    MOST,
    Editor,
    check_may_copy,
    check_may_edit,
    merged,
    near_words,
    new_name,
    owner_for,
    trusted,
)
from bot.policy.privacy import Consent, LocalOnly
from bot.store.personas import Kept, KeptPersona, PersonaStore

SAMPLE = "Hello. Who are you, and what can we do together?"
"""What a preview asks."""

SAMPLE_TOKENS = 250

KEPT_BOTH = "It was changed elsewhere meanwhile, in other parts; both are kept."

KEPT_HERE = "🔒 It was written where words stay on the LAN, so it is local only."

_SHOWN = 600
"""Characters of each text in a description."""

_SOURCES = {"me": "made in a chat", "server": "made in a server", "all": "made for everybody"}

_log = structlog.get_logger(__name__)


@value
class Sheet:
    """A persona on its way to be kept: a new one, or one that was changed."""

    persona: Persona
    """A new one is called as it will be shown."""
    card: Card
    picture: bytes | None = None
    changes: Made | None = None
    """Whom it changes, as it was read; None for a new one."""
    knows_before: bool = True
    """Is that how it read when its form was opened? Of a form older than this process only the
    version is known."""
    keeps_picture: bool = True
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """What is said of models that no host has, as it was written last."""


class Personas:
    """Acts on personas made in chats; the one writer of that part of the shelf."""

    def __init__(
        self,
        store: PersonaStore,
        shelf: PersonaShelf,
        consents: Consents,
        planner: Planner,
        answering: Answering,
        catalog: Catalog,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._catalog = catalog
        self._consents = consents
        self._planner = planner
        self._answering = answering
        self._cards: dict[PersonaName, Card] = {}
        self._seen_changes = -1
        # A refresh that read before a change and held after it would bring the older back.
        self._changing = asyncio.Lock()

    async def refresh(self) -> None:
        """Reads what was made, here or by another Lantern on this database, if anything was."""
        async with self._changing:
            if await self._store.changes() != self._seen_changes:
                await self._reread()

    async def _reread(self) -> None:
        changes, kept = await self._store.changes(), await self._store.all()
        self._cards, made = await asyncio.to_thread(_read, kept)
        self._shelf.hold(made)
        self._seen_changes = changes

    # --- looking ---------------------------------------------------------------------------

    def seen(self, editor: Editor) -> Sequence[tuple[Persona, Made | None]]:
        """Every persona somebody may choose, with what there is to know of one made in a chat."""
        seen = self._shelf.seen_by(editor.user, editor.server)
        return [(persona, self._shelf.made(persona.name)) for persona in seen]

    def found(self, name: str, editor: Editor) -> tuple[Persona, Made | None, bool]:
        """The persona somebody means; the last says whether they may read its texts.

        Raises:
            UnknownName: none they may choose has that name.
        """
        persona = self._shelf.find(name, editor.user, editor.server)
        made = self._shelf.made(persona.name)
        try:
            check_may_copy(persona, made, editor)
        except NotPermitted:
            return persona, made, False
        return persona, made, True

    async def export(self, name: str, kind: FileKind, editor: Editor) -> tuple[str, bytes]:
        """A persona as a file: its name and content.

        Raises:
            UnknownName: none they may choose has that name.
            NotPermitted: its texts are not for them to take.
        """
        persona, made, _ = self.found(name, editor)
        check_may_copy(persona, made, editor)
        shown = replace(persona, name=PersonaName(shown_name(persona.name)))
        card, picture = card_of(shown), None
        if made is not None:
            card, picture = self._cards[persona.name], await self._store.picture(persona.name)
        content = await asyncio.to_thread(written, shown, card, picture, kind)
        stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in shown.name)
        return f"{stem}.{kind.removesuffix('-v2')}", content

    # --- changing --------------------------------------------------------------------------

    def blank(self, name: str, scope: PersonaScope, editor: Editor, copy: str | None) -> Sheet:
        """A new persona to be filled in, empty or like another one.

        Raises:
            NotPermitted: they may not make one for so many, or not copy that one.
            RequestRefused: the name cannot be taken.
            UnknownName: there is nobody of the other's name.
        """
        owner_for(scope, editor)
        title = PersonaName(self._checked(name, scope, editor))
        if copy is None:
            persona = Persona(title, source="")
            return Sheet(persona, card_of(persona))
        like, made, _ = self.found(copy, editor)
        check_may_copy(like, made, editor)
        persona = replace(like, name=title, source="")
        return Sheet(persona, card_of(persona) if made is None else self._cards[like.name])

    def opened(self, name: str, editor: Editor, version: int | None = None) -> Sheet:
        """A persona to be changed; ``version`` is the one that a form of before a restart showed.

        Raises:
            NotPermitted: it is not theirs to change.
            RequestRefused: it is a file's.
            UnknownName: none they may choose has that name.
        """
        persona, made, _ = self.found(name, editor)
        if made is None:
            source = persona.source
            where = "built in" if source == "built in" else f"the file `{source}`"
            raise RequestRefused(
                f"**{persona.name}** is {where}; only the machine's owner changes that, there. "
                "`/personas create` with `copy:` makes one of your own of it."
            )
        check_may_edit(made, editor)
        knows = version in (None, made.version)
        changes = made if knows else replace(made, version=version or 0)
        return Sheet(persona, self._cards[persona.name], changes=changes, knows_before=knows)

    async def rebased(self, sheet: Sheet) -> tuple[Sheet, tuple[str, ...]]:
        """The sheet upon the persona as it stands now, and the names of what both wrote.

        There the sheet's words are taken; whoever wrote them is to be asked first.

        Raises:
            RequestRefused: the persona was deleted.
        """
        if (before := sheet.changes) is None:
            return sheet, ()
        await self.refresh()
        now = self._shelf.made(before.persona.name)
        if now is None:
            name = shown_name(before.persona.name)
            raise RequestRefused(
                f"**{name}** was deleted meanwhile; nothing was saved. What you wrote can still be "
                "copied out of the form, for `/personas create`."
            )
        if now.version == before.version:
            return sheet, ()
        was = before.persona if sheet.knows_before else None
        persona, both = merged(was, sheet.persona, now.persona)
        notes = sheet.notes if both else tuple(dict.fromkeys((*sheet.notes, KEPT_BOTH)))
        card = self._cards[now.persona.name]
        return Sheet(persona, card, sheet.picture, now, notes=notes), both

    async def brought(
        self,
        filename: str,
        content: bytes,
        editor: Editor,
        *,
        name: str | None = None,
        scope: PersonaScope = "me",
        replaces: str | None = None,
    ) -> Sheet:
        """What a file holds, as a new persona or in place of one there is.

        Raises:
            NotPermitted: not for them to make, or to replace.
            RequestRefused: the file is broken, and nothing of it is taken; or its name is taken.
            UnknownName: there is nobody to replace.
        """
        # First whether they may: a large file is not read for nothing.
        changes = None if replaces is None else self.opened(replaces, editor).changes
        if changes is None:
            owner_for(scope, editor)
        read = await asyncio.to_thread(read_file, content, filename)
        if changes is not None:
            title = changes.persona.name
        else:
            # A maker's own name may hold what no name here does; a person's is told of it.
            title = read.persona.name.replace("#", "").replace("`", "").lstrip("@ ")
            title = PersonaName(self._checked(title if name is None else name, scope, editor))
        persona = replace(read.persona, name=title)
        return Sheet(
            persona, read.card, read.picture, changes, keeps_picture=False, notes=read.notes
        )

    async def written(self, sheet: Sheet, persona: Persona, user: UserId, place: Place) -> Sheet:
        """The sheet with what somebody wrote; local only where words of theirs stay here.

        Else what was written in private would go to whichever provider speaks as it. Models are
        called as hosts call them: of a short name, which `/model` understands, each question failed
        or was paid for.
        """
        meant, unknown = dict[ModelKey, ModelKey](), list[str]()
        for key in (persona.model, *persona.alternatives):
            try:
                meant[key] = self._catalog.model(key)
            except NoCandidates:
                pass  # before a host answered nothing is known of models
            except RequestRefused as error:
                unknown.append(f"⚠ {error.user_message}")
        others = tuple(meant.get(key, key) for key in persona.alternatives)
        persona = replace(
            persona, model=meant.get(persona.model, persona.model), alternatives=others
        )
        sheet = replace(sheet, persona=persona, unknown=tuple(dict.fromkeys(unknown)))
        plain = Resolved(PLAIN, "", PLAIN.model, "", is_named=False)
        asked = TurnRequest(user, "", place, "")
        if persona.is_private or not isinstance(
            await self._consents.judge(plain, asked, (), ()), LocalOnly
        ):
            return sheet
        notes = tuple(dict.fromkeys((*sheet.notes, KEPT_HERE)))
        return replace(sheet, persona=replace(persona, local_only=True), notes=notes)

    async def keep(
        self, sheet: Sheet, scope: PersonaScope, editor: Editor, place: Place
    ) -> tuple[Made, str]:
        """Keeps a new or changed persona; gives it, and words for what is to know of it.

        Raises:
            NotPermitted: not theirs to make or change (any more).
            RequestRefused: its name is taken, there are too many, or somebody changed it meanwhile.
        """
        sheet = await self.written(sheet, sheet.persona, editor.user, place)
        persona, notes = trusted(sheet.persona, editor)
        text = json.dumps(await asyncio.to_thread(card_of, persona, sheet.card))
        changes, hint = sheet.changes, ""
        async with self._changing:
            # Looked at again: minutes may have passed in a form.
            if changes is None:
                title = self._checked(str(persona.name), scope, editor)
                whole = PersonaName(f"{title}#{secrets.token_hex(4)}")
                seen = self._shelf.seen_by(editor.user, editor.server)
                hint = near_words(title, (other.name for other in seen))
                kept = KeptPersona(whole, scope, owner_for(scope, editor), editor.user, 1, text)
                outcome = await self._store.add(kept, sheet.picture)
            else:
                whole, scope = changes.persona.name, changes.scope
                check_may_edit(changes, editor)
                outcome = await self._store.put(
                    whole, changes.version, text, sheet.picture, keeps=sheet.keeps_picture
                )
            if outcome != "kept":
                raise RequestRefused(_refusal(outcome, shown_name(whole), scope))
            await self._reread()
            made = self._shelf.made(whole)
        if made is None:
            raise RequestRefused(f"**{shown_name(whole)}** was deleted in this very moment.")
        _log.info("persona kept", scope=scope, is_new=changes is None)
        return made, " ".join(filter(None, (*sheet.notes, *sheet.unknown, *notes, hint)))

    async def delete(self, name: str, editor: Editor) -> str:
        """Deletes a persona for good; says for whom it was chosen.

        Raises:
            NotPermitted: not theirs to delete.
            RequestRefused: it is a file's, or gone already.
            UnknownName: none they may choose has that name.
        """
        whole = self.opened(name, editor).persona.name
        async with self._changing:
            chosen = await self._store.delete(whole)
            await self._reread()
        shown = shown_name(whole)
        if chosen is None:
            raise RequestRefused(f"**{shown}** was deleted already.")
        said = f"**{shown}** is deleted; the last backups of the database hold it a few days more."
        if chosen:
            places = f"{chosen} place{'s' if chosen > 1 else ''}"
            said += (
                f" It was chosen in {places}: there another answers and says so, and everything "
                "stays on the LAN until somebody chooses anew."
            )
        return said

    def _checked(self, name: str, scope: PersonaScope, editor: Editor) -> str:
        """The name, where nobody of the same scope and no file has it."""
        user, server = (editor.user, None) if scope == "me" else (None, editor.server)
        seen = self._shelf.seen_by(user, server)
        scopes = {persona.name: self._shelf.made(persona.name) for persona in seen}
        taken = [other for other, made in scopes.items() if made is None or made.scope == scope]
        return new_name(name, taken)

    # --- trying ----------------------------------------------------------------------------

    def preview(
        self, persona: Persona, place: Place, editor: Editor, question: str = SAMPLE
    ) -> AbstractAsyncContextManager[AsyncIterator[TurnEvent]]:
        """A persona's first answer, as events; none of it is stored or leaves the LAN.

        Errors leave the iteration: ``NoCandidates`` and whatever else ends a turn.
        """

        async def produce(emit: Callable[[TurnEvent], Awaitable[None]]) -> None:
            tried, _ = trusted(persona, editor)
            most = min(SAMPLE_TOKENS, persona.sampling.max_tokens or SAMPLE_TOKENS)
            tried = replace(tried, sampling=replace(tried.sampling, max_tokens=most))
            home = LocalOnly("a preview is made by your own hosts alone")

            async def judge(_: Sequence[Message]) -> Consent:
                return home

            turn = TurnId(secrets.token_hex(8))
            asking = Asking(
                Resolved(tried, "", tried.model, "", is_named=False),
                (),
                TurnRequest(editor.user, "you", place, question),
                home,
                judge,
                editor.user,
                turn,
            )
            draft = Draft(tried.name, "", emit)
            await self._planner.prepare()
            await self._answering.answer(self._planner.job(asking), draft, Override())
            await emit(Finished(turn, draft.receipt()))

        return safe_channel(produce)


def persona_lines(
    persona: Persona, tell: Callable[[str], str] = str, *, is_whole: bool
) -> list[str]:
    """What a persona is, line by line; its texts only with ``is_whole``.

    ``tell`` says our own words in the reader's language; those of its maker stay as they are.
    """
    character = persona.character
    names = (one_line(character.name), shown_name(persona.name))
    entries = len(character.book.entries)
    facts = {
        "Model": ", then ".join(f"`{key}`" for key in (persona.model, *persona.alternatives)),
        "Plays": names[0] if names[0] not in ("", names[1]) else "",
        "Greetings": str(len(character.greetings) + 1) if character.greetings else "",
        "Entries in its book": str(entries) if entries else "",
        "From": persona.source,
    }
    lines = [f"**{names[1]}** {persona.description}".rstrip()]
    facts = {tell(name): tell(fact) if name != "Plays" else fact for name, fact in facts.items()}
    lines += [f"{name}: {fact}" for name, fact in facts.items() if fact]
    if persona.is_private:
        lines.append(tell("🔒 Its words never leave the LAN."))
    texts = {
        "Prompt": persona.system_prompt,
        "Who": character.description,
        "Personality": character.personality,
        "Scenario": character.scenario,
        "Greeting": persona.greeting,
    }
    if not is_whole:
        return [*lines, tell("Its texts are its maker's to read: its words stay on the LAN.")]
    short = {n: t if len(t) <= _SHOWN else f"{t[:_SHOWN].rstrip()} …" for n, t in texts.items()}
    return lines + [f"{tell(name)}: {text}" for name, text in short.items() if text]


def _read(kept: Sequence[KeptPersona]) -> tuple[dict[PersonaName, Card], list[Made]]:
    cards: dict[PersonaName, Card] = {}
    made: list[Made] = []
    for each in kept:
        card: Card = json.loads(each.card)
        try:
            read, source = persona_of(card), _SOURCES[each.scope]
            persona = replace(read, name=each.name, source=source, maker=each.maker)
        except BotError as error:
            # Of an older or newer Lantern. Unknown, it answers nobody, and its words stay here.
            _log.warning("persona not read", reason=error.user_message)
            continue
        cards[each.name] = card
        made.append(Made(persona, each.scope, each.owner, each.maker, each.version))
    return cards, made


def _refusal(outcome: Kept, shown: str, scope: PersonaScope) -> str:
    words: dict[Kept, str] = {
        "taken": f"There is a persona **{shown}** already; take another name.",
        "many": f"There are {MOST[scope]} such personas already, the most there may be.",
        "full": "Lantern keeps no more: all personas together are too large. Tell its owner.",
        "changed": f"**{shown}** was changed or deleted meanwhile; nothing was saved.",
    }
    return words[outcome]
