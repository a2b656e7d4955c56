"""One log of calls per rate-limit bucket, shared by every reply that writes there."""

from bot.policy.pacing import CHANNEL, INTERACTION, ActNow, ChannelLog, Limit, Writing

EVERYWHERE = Limit(40, 1.0)
"""Calls of all channels together: Discord takes 50 a second of a bot; ten are left for the rest."""

_MANY = 256


class Lanes:
    """Finds the logs a call is paced by; one per process."""

    def __init__(self) -> None:
        self.everywhere = ChannelLog(EVERYWHERE)
        """Every plain call counts here; calls by an interaction's token do not."""
        self._channels: dict[int, ChannelLog] = {}

    def of_channel(self, channel_id: int, now: float) -> ChannelLog:
        """The log shared by the edits of all messages of a channel."""
        if len(self._channels) >= _MANY:
            quiet = [key for key, log in self._channels.items() if log.is_quiet(now)]
            for key in quiet:
                del self._channels[key]
        return self._channels.setdefault(channel_id, ChannelLog(CHANNEL))

    def of_interaction(self) -> ChannelLog:
        """A new log: every interaction token has a bucket of its own."""
        return ChannelLog(INTERACTION)

    def may_spare(self, now: float, key: str) -> bool:
        """Takes a place for a call that could as well be left out, such as typing."""
        answer = self.everywhere.ask(now, key, Writing(ready=1))
        if isinstance(answer, ActNow):
            self.everywhere.began(now, key)
        self.everywhere.left(key)
        return isinstance(answer, ActNow)
