"""What people take back while it is being looked up, when no table could tell of it yet."""

from collections import OrderedDict
from collections.abc import Set as AbstractSet
from dataclasses import replace

from bot.domain.chat import TurnRequest
from bot.domain.ids import UserId

MOST = 2000
"""The newest messages and people: what was taken back earlier was found in the store."""


class TakenBack:
    """Owns what was taken back of late; asked once a question is stored.

    Whoever takes something back notes it here before they look in the store: so one of the two
    sees the other, however they cross. And once more before it is sent, where anything was erased
    since: a question that waited for a load was sent with what it quoted minutes before.
    """

    def __init__(self) -> None:
        self._messages = OrderedDict[int, None]()
        self._forgotten = OrderedDict[UserId, int]()
        """Of each person, until when everything is forgotten, as one of Discord's ids."""

    def delete(self, message_id: int) -> None:
        """A message was deleted."""
        self._messages[message_id] = None
        if len(self._messages) > MOST:
            self._messages.popitem(last=False)

    def forget(self, user: UserId, until: int) -> None:
        """Somebody has everything forgotten that they said until an interaction of theirs."""
        self._forgotten[user] = until
        self._forgotten.move_to_end(user)
        if len(self._forgotten) > MOST:
            self._forgotten.popitem(last=False)

    def is_deleted(self, message_id: str | None) -> bool:
        """Was this message deleted of late?"""
        return message_id is not None and int(message_id) in self._messages

    def is_forgotten(self, user: UserId, question: str | None) -> bool:
        """Did its asker have forgotten what they asked until after this question?"""
        return question is not None and int(question) < self._forgotten.get(user, 0)

    def gone_from(self, request: TurnRequest) -> frozenset[str]:
        """The messages that a question quotes, or takes files from, which were taken back."""
        said = (*request.quotes, *request.attachments)
        deleted = {one.message_id for one in said if self.is_deleted(one.message_id)}
        forgotten = {
            quote.message_id
            for quote in request.quotes
            if self.is_forgotten(quote.user, quote.message_id)
        }
        return frozenset(filter(None, deleted | forgotten))


def unquoted(request: TurnRequest, messages: AbstractSet[str]) -> TurnRequest:
    """A question without the words and files of these messages."""
    return replace(
        request,
        quotes=tuple(quote for quote in request.quotes if quote.message_id not in messages),
        attachments=tuple(f for f in request.attachments if f.message_id not in messages),
    )
