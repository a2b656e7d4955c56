"""What a question stands on, looked up before it is stored: who answers, the branch, consent."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from bot.chat.choices import Choices, Resolved
from bot.chat.consents import Consents
from bot.chat.draft import Draft
from bot.chat.planning import Asking, Planner
from bot.chat.running import Running
from bot.chat.taken_back import TakenBack, unquoted
from bot.domain.chat import Message, Quote, Receipt, Turn, TurnRequest
from bot.domain.errors import (
    NotPermitted,
    QuestionDeleted,
    RequestRefused,
    UnknownName,
    WordsGone,
)
from bot.domain.events import Queued
from bot.domain.ids import ModelKey, TurnId, UserId
from bot.policy.access import check_text
from bot.policy.context import CONTINUE_TEXT, most_bytes
from bot.policy.conversation import adds_to_own, goes_on
from bot.policy.privacy import Consent, LocalOnly
from bot.store.people import PeopleStore
from bot.store.turns import TurnStore

WORDLESS = "That answer has no words to go on with; ask for it again."
DELETED = "Its question was deleted."
FORGOTTEN = "It was asked before `/history forget`, and so it is forgotten, too; ask it anew."
TAKEN_BACK = (
    "What this quotes or goes on from was taken back while it waited: nothing was sent. Ask again."
)


class Beginnings:
    """Looks up what turns begin with; stores nothing but the marks of private ones."""

    def __init__(
        self,
        store: TurnStore,
        choices: Choices,
        consents: Consents,
        planner: Planner,
        running: Mapping[TurnId, Running],
        admit: Callable[[TurnRequest, UserId], Awaitable[None]],
        taken_back: TakenBack,
    ) -> None:
        """``running`` are the turns under way; ``admit`` refuses who may not be answered now."""
        self._store = store
        self._choices = choices
        self._consents = consents
        self._planner = planner
        self._running = running
        self._people = PeopleStore(store.database)
        self._admit = admit
        self._taken_back = taken_back

    async def begin(self, request: TurnRequest, turn_id: TurnId) -> tuple[Asking, Turn]:
        """Everything that is looked up; nothing of the turn is stored yet."""
        # Whoever presses Retry pays for it, though the words stay their author's.
        payer, kind, since = request.user, request.kind, self._store.database.erasures
        pressed, has_spoken = None, kind != "new" and request.persona is None
        is_named = request.model is not None
        if kind != "new":
            # Alone at first: how much of the branch can fit is known once it is known who answers.
            pressed = None if request.parent is None else await self._store.get(request.parent)
            request = _completed(request, pressed)
            if kind == "continue" and pressed is not None and not pressed.reply_text.strip():
                raise RequestRefused(WORDLESS)
        check_text(request.text, has_attachments=bool(request.attachments or request.quotes))
        place, user, persona = request.place, request.user, request.persona
        resolve = partial(self._choices.resolve, place, user, persona, has_spoken=has_spoken)
        try:
            resolved = await resolve(request.model)
        except (UnknownName, RequestRefused):
            if is_named:
                raise
            # What the question named is gone meanwhile: a press has whoever is chosen here answer.
            request = replace(request, model=None)
            resolved = await resolve()
        text_bytes = most_bytes(self._planner.window(resolved))
        branch = await self._gone_on_from(request, pressed, resolved, text_bytes)
        await self._planner.prepare()
        redone = pressed if kind == "retry" else None
        asking = await self._asking(
            resolved, self._as_shown(branch), request, payer, turn_id, redone, since
        )
        if kind == "continue" and pressed is not None:
            # No turn of its own: the words become a part of the answer they go on with.
            return asking, pressed
        name, asked, option = resolved.persona.name, request.asked, str(request.model or "")
        receipt = Receipt(name, asked=asked, option=option) if asked or option else None
        turn = Turn(
            id=turn_id,
            parent=branch[-1].id if branch else None,
            user=request.user,
            user_name=request.user_name,
            place=request.place,
            persona=name,
            user_text=request.text,
            reply_text="",
            reasoning_text="",
            status="running",
            created_at_ms=self._store.database.now_ms(),
            attachments=request.attachments,
            quotes=request.quotes,
            # Its message says it also after a crash before the first word.
            receipt=receipt,
        )
        return asking, turn

    async def _gone_on_from(
        self,
        request: TurnRequest,
        pressed: Turn | None,
        resolved: Resolved,
        text_bytes: int,
    ) -> tuple[Turn, ...]:
        """The branch that a message or a press goes on from, root first.

        Raises:
            NotPermitted: what it replies to was said in another conversation.
        """
        newest: tuple[Turn, ...] = ()
        replied: tuple[Turn, ...] = ()
        if request.kind == "new" and request.parent is not None:
            replied = await self._store.branch(request.parent, text_bytes=text_bytes)
        parent = replied[-1] if replied else pressed
        # A thread's words would reach its parent channel by a reply from there.
        if parent is not None and parent.place.conversation != request.place.conversation:
            raise NotPermitted("That reply belongs to another conversation.")
        # A reply with nothing of its asker's under way is on its own branch: read alone, that is
        # half of what the store does for a turn.
        place, user = request.place.conversation, request.user
        mine = [
            r for r in self._running.values() if (r.place.conversation, r.user) == (place, user)
        ]
        may_add = parent is None or len(mine) > 1
        if request.kind == "new" and request.fresh_after_s != 0 and may_add:
            newest = await self._store.newest_branch(
                request.place.conversation,
                resolved.persona.name,
                request.user,
                opened_on=request.opened_on,
                text_bytes=text_bytes,
            )
        if parent is None:
            return (
                newest
                if newest and goes_on(newest[-1], request, self._store.database.now_ms())
                else ()
            )
        if adds_to_own(newest, parent.id, request.user):
            return newest
        if replied:
            return replied
        # A retry is a branch of its own, so both answers stay.
        leaf = parent.parent if request.kind == "retry" else parent.id
        return () if leaf is None else await self._store.branch(leaf, text_bytes=text_bytes)

    async def _asking(
        self,
        resolved: Resolved,
        branch: tuple[Turn, ...],
        request: TurnRequest,
        payer: UserId,
        turn_id: TurnId,
        redone: Turn | None,
        since: int,
    ) -> Asking:
        """The question with its branch; marks the turn as private where any of it is.

        ``since`` is how often anything had been erased before the branch was read.
        """
        # A retry says the words of the turn it redoes once more: where that was said counts too.
        said = branch if redone is None else (*branch, redone)
        request = await self._with_facts(resolved, request, said)

        async def allowed() -> bool:
            self._choices.check_left(resolved)
            await self._admit(request, payer)
            return self._store.database.erasures == since or await self._is_whole(request, branch)

        async def admit() -> Asking | None:
            return None if await allowed() else await self._reread(asking)

        async def judge(messages: Sequence[Message]) -> Consent:
            # Without words it is only asked whether any may leave: they are made anew before.
            if not await allowed() and messages:
                raise WordsGone(TAKEN_BACK)
            return await self._consents.judge(resolved, request, said, messages, turn_id)

        consent = await judge(())
        asking = Asking(
            resolved, branch, request, consent, judge, payer, turn_id, redone, admit, since
        )
        return asking

    async def kept(self, asking: Asking) -> Asking:
        """The question without what was taken back while it was looked up; it is stored by now.

        Raises:
            QuestionDeleted: its message was deleted; nothing of it is stored any more.
            RequestRefused: its asker has taken it back otherwise; nor is anything then.
        """
        request, back = asking.request, self._taken_back
        is_forgotten = back.is_forgotten(request.user, request.question)
        is_deleted = back.is_deleted(request.question)
        # With what a retry redoes its question has left.
        if asking.redone is not None and not is_forgotten:
            is_deleted = await self._store.answers(asking.redone.id) is None
        if is_forgotten or is_deleted:
            await self._people.remove(asking.turn)
            if is_forgotten or asking.redone is not None:
                raise RequestRefused(FORGOTTEN if is_forgotten else DELETED)
            raise QuestionDeleted(DELETED)
        if not (gone := back.gone_from(request)):
            return asking
        for message_id in gone:
            await self._people.unquote(message_id)
        # Anew: what is judged and looked for as it is sent are the words that are left.
        return await self._anew(asking, asking.branch, unquoted(request, gone), asking.since)

    async def _is_whole(self, request: TurnRequest, branch: Sequence[Turn]) -> bool:
        """Are all turns before this question stored, still, and all facts it is told?

        Raises:
            RequestRefused: what it quotes or replies to is not.
        """
        before = frozenset(turn.id for turn in branch)
        gone = before - await self._store.still_stored(before)
        if self._taken_back.gone_from(request) or request.parent in gone:
            raise RequestRefused(TAKEN_BACK)
        facts = await self._people.facts(request.user) if request.facts else ()
        return not gone and {fact.said for fact in facts}.issuperset(request.facts)

    async def _with_facts(
        self, resolved: Resolved, request: TurnRequest, said: Sequence[Turn]
    ) -> TurnRequest:
        """With what its person asked to be remembered.

        A fact that was said in private is told only where all words stay on the LAN anyway: told
        elsewhere it would keep the whole talk here, or leave with the answer that repeats it.
        """
        facts = tuple(fact.said for fact in await self._people.facts(request.user))

        async def stays(told: tuple[Quote, ...]) -> bool:
            asked = replace(request, facts=told)
            return isinstance(await self._consents.judge(resolved, asked, said, ()), LocalOnly)

        # Without a provider every talk stays, and nobody would know why it was left out of some.
        may_leave = bool(facts) and self._planner.has_cloud
        if may_leave and not await stays(()) and await stays(facts):
            facts = tuple([fact for fact in facts if not await stays((fact,))])
        return replace(request, facts=facts)

    def _as_shown(self, branch: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """The branch with the answers under way as far as people have read them."""
        # Copied where one is under way alone: a branch is hundreds of turns, nearly all at rest.
        drafts = {turn: r.said() for turn, r in self._running.items() if r.draft}
        return tuple(
            turn if turn.id not in drafts else replace(turn, reply_text=drafts[turn.id])
            for turn in branch
        )

    async def caught_up(self, asking: Asking, draft: Draft) -> Asking:
        """With the whole answers to what its asker asked before, replied to or has a thread on.

        Somebody else's answer is not waited for: one who asks for a long text would hold up a
        whole channel.
        """
        request = asking.request
        # Also one that has ended since the branch was read: there it still has no answer.
        waited_for = [
            turn.id
            for turn in asking.branch
            if (turn.id in self._running or turn.status == "running")
            and turn.id != asking.turn
            and (turn.user == request.user or turn.id in (request.parent, request.opened_on))
        ]
        if not waited_for:
            return asking
        for nth, turn in enumerate(waited_for):
            if (running := self._running.get(turn)) is not None:
                # With a typing mark alone it looked as if the question had been overlooked.
                left = len(waited_for) - nth
                await draft.emit(Queued(None, asking.resolved.model, left))
                await running.ended.wait()
        return await self._reread(asking)

    async def _reread(self, asking: Asking) -> Asking:
        """With what is stored before it by now: answers that ended, nothing that was taken back."""
        since = self._store.database.erasures
        text_bytes = most_bytes(self._planner.window(asking.resolved))
        # Read by its own id: a retry may have taken a place among those before it meanwhile.
        line = await self._store.branch(asking.turn, text_bytes=text_bytes)
        # An answer that is gone on with stands in its own branch.
        is_more = bool(asking.branch) and asking.branch[-1].id == asking.turn
        branch = self._as_shown(line if is_more else line[:-1])
        return await self._anew(asking, branch, asking.request, since)

    async def _anew(
        self, asking: Asking, branch: tuple[Turn, ...], request: TurnRequest, since: int
    ) -> Asking:
        """The same question with what is left of its branch or of its words; judged anew."""
        return await self._asking(
            asking.resolved, branch, request, asking.payer, asking.turn, asking.redone, since
        )


def _completed(request: TurnRequest, parent: Turn | None) -> TurnRequest:
    """A press with its words: a retry asks its parent's question again, else it is to go on."""
    if parent is None:
        raise NotPermitted("That reply is not stored any more, so it cannot be redone.")
    before = Receipt(parent.persona) if parent.receipt is None else parent.receipt
    # Asked of one model, it was answered again by another, while that one was in memory.
    kept = ModelKey(before.option) if before.option and not request.must_see else None
    request = replace(
        request,
        persona=request.persona or parent.persona,
        model=request.model or kept,
        asked=before.asked,
    )
    if request.kind == "retry":
        # The words stay their author's, whoever presses.
        return replace(
            request,
            user=parent.user,
            user_name=parent.user_name,
            # An edited question comes with its new words.
            text=request.text or parent.user_text,
            attachments=parent.attachments,
            quotes=parent.quotes,
        )
    return replace(request, text=CONTINUE_TEXT)
