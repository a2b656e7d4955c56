"""Answers given again to the very same question, when the owner switched that on."""

from dataclasses import replace

import structlog

from bot.chat.draft import Draft
from bot.chat.planning import Job
from bot.domain.chat import Candidate, Receipt, Usage
from bot.domain.errors import StoreUnavailable
from bot.domain.events import Reading, TextDelta
from bot.domain.ids import AUTO, HostName, ProviderName
from bot.policy.cache import answer_key, is_worth_keeping
from bot.policy.privacy import LocalOnly
from bot.store.answers import AnswerStore, KeptAnswer

_log = structlog.get_logger(__name__)


class AnswerCache:
    """Keeps whole answers by their exact question; without a store it knows none."""

    def __init__(self, store: AnswerStore | None) -> None:
        self._store = store

    async def give(self, job: Job, draft: Draft) -> bool:
        """Answers with what was kept of the same question, while it is fresh.

        Args:
            job: What is asked.
            draft: Takes the answer in and tells it.

        Returns:
            Whether anything was kept; a broken store keeps nothing.
        """
        if self._store is None:
            return False
        # The cache saves money and time; it must never cost an answer.
        try:
            known = await self._store.get(_key(job))
        except StoreUnavailable as error:
            _log.warning("answers not read", reason=error.user_message)
            return False
        if known is None:
            return False
        host = HostName(known.answered_by) if known.is_local else None
        provider = None if known.is_local else ProviderName(known.answered_by)
        draft.so_far = replace(
            draft.so_far,
            model=known.model,
            host=host,
            provider=provider,
            usage=Usage(known.prompt_tokens, known.completion_tokens),
            from_cache=True,
        )
        # Nobody reads anything now, but whose words come is told before they do.
        said_by = Candidate(known.model, host, provider)
        await draft.emit(Reading(said_by, known.prompt_tokens, None))
        await draft.hear(TextDelta(known.text))
        return True

    async def keep(self, job: Job, text: str, receipt: Receipt) -> None:
        """Keeps a whole answer; one that was cut, stopped or is too long is not kept."""
        # Two hosts' words may meet badly: once is enough.
        if self._store is None or receipt.model is None or receipt.seams:
            return
        # An alternative stood in, and next time the wanted model may answer at no cost. A provider
        # always answers with another model than was asked for, and is what a cache saves.
        is_stand_in = job.asking.resolved.model not in (AUTO, receipt.model)
        if is_stand_in and receipt.provider is None:
            return
        if not is_worth_keeping(text, receipt.finish):
            return
        answer = KeptAnswer(
            text=text,
            model=receipt.model,
            answered_by=str(receipt.host or receipt.provider),
            is_local=receipt.host is not None,
            prompt_tokens=receipt.usage.prompt_tokens,
            completion_tokens=receipt.usage.completion_tokens,
        )
        try:
            await self._store.put(_key(job), answer)
        except StoreUnavailable as error:
            _log.warning("answer not kept", reason=error.user_message)


def _key(job: Job) -> str:
    is_private = isinstance(job.asking.consent, LocalOnly)
    resolved = job.asking.resolved
    return answer_key(resolved.persona, resolved.model, job.messages, is_private=is_private)
