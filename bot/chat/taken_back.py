"""What people take back while it is being looked up, when no table could tell of it yet."""

from collections import OrderedDict

from bot.domain.ids import UserId

MOST = 2000
"""The newest messages and people: what was taken back earlier was found in the store."""


class TakenBack:
    """Owns what was taken back of late; asked once a question is stored.

    Whoever takes something back notes it here before they look in the store: so one of the two
    sees the other, however they cross. And once more before it is sent, where anything was taken
    back since: a question that waited for a load was sent with what it quoted minutes before.
    """

    def __init__(self) -> None:
        self.count = 0
        """How often anybody took anything back."""
        self._messages = OrderedDict[int, None]()
        self._forgotten = OrderedDict[UserId, int]()
        """Of each person, until when everything is forgotten, as one of Discord's ids."""

    def delete(self, message_id: int) -> None:
        """A message was deleted."""
        self.count += 1
        self._messages[message_id] = None
        if len(self._messages) > MOST:
            self._messages.popitem(last=False)

    def forget(self, user: UserId, until: int) -> None:
        """Somebody has everything forgotten that they said until an interaction of theirs."""
        self.count += 1
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
