"""Whether a turn's words may leave the LAN, looked up before anything of it is stored."""

from collections.abc import Sequence
from dataclasses import replace

from bot.chat.choices import PLAIN, Resolved
from bot.documents.shelf import PersonaShelf
from bot.domain.chat import Message, Turn, TurnRequest
from bot.domain.errors import StoreUnavailable
from bot.domain.ids import TurnId
from bot.policy.privacy import (
    Consent,
    LocalOnly,
    consent_to_cloud,
    origin_of_prompt,
    origins_of_request,
    origins_of_turn,
    to_look_up,
)
from bot.store.privacy import PrivacyStore


class Consents:
    """Judges turns by their places, people, personas and earlier turns."""

    def __init__(self, store: PrivacyStore, shelf: PersonaShelf) -> None:
        self._store = store
        self._shelf = shelf

    async def judge(
        self,
        resolved: Resolved,
        request: TurnRequest,
        earlier: Sequence[Turn],
        messages: Sequence[Message],
        turn: TurnId | None = None,
    ) -> Consent:
        """The consent for these messages, or why they stay here; what is unknown stays here.

        Args:
            resolved: Who answers.
            request: What is asked.
            earlier: Every turn whose words are sent again: the branch, and a turn redone.
            messages: What would be sent; a consent holds for exactly these. None are needed to
                learn only whether any of it may leave.
            turn: Marked for good when its words stay here; None where nothing will be stored.

        Raises:
            StoreUnavailable: the mark cannot be written, so the turn must not be stored either.
        """
        consent = await self._judged(resolved, request, earlier, messages, turn)
        if isinstance(consent, LocalOnly) and turn is not None:
            # What reads private words may repeat them: its own turn never leaves later either.
            await self._store.mark("turn", turn)
        return consent

    async def _judged(
        self,
        resolved: Resolved,
        request: TurnRequest,
        earlier: Sequence[Turn],
        messages: Sequence[Message],
        turn: TurnId | None,
    ) -> Consent:
        # Words meant for a persona that is gone could reach a provider: whoever stands in may have
        # been allowed what it was not.
        if resolved.is_substitute:
            return LocalOnly(f"{resolved.persona_reason}, and nobody knows where its words may go")
        # As it is by now: whom it may ask may have been changed while its question waited.
        persona = self._shelf.get(resolved.persona.name) or resolved.persona
        own, *others = origins_of_request(persona.name, request, turn)
        origins = (
            replace(own, turn=None),
            *others,
            origin_of_prompt(persona),
            *(origin for turn in earlier for origin in origins_of_turn(turn)),
            # Its own mark last, since it was made for one of those: judged again once it had waited
            # for an answer, a question stayed here by earlier words, and nobody was told.
            own,
        )
        inside = (origin for message in messages for origin in message.origins)
        try:
            marks = await self._store.look_up(to_look_up((*origins, *inside)))
        # What cannot be looked up counts as private.
        except StoreUnavailable:
            marks = None
        return consent_to_cloud(
            messages,
            origins,
            persona=persona,
            personas={PLAIN.name: False, **self._shelf.local_only},
            marks=marks,
        )
