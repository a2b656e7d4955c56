"""One log of edits per rate-limit bucket, shared by every reply that writes there."""

from bot.policy.pacing import CHANNEL, INTERACTION, ChannelLog

_MANY = 256


class Lanes:
    """Finds the log a message is paced by; owned by the client, one per process."""

    def __init__(self) -> None:
        self._channels: dict[int, ChannelLog] = {}

    def of_channel(self, channel_id: int, now: float) -> ChannelLog:
        """The log shared by all messages of a channel."""
        if len(self._channels) >= _MANY:
            quiet = [key for key, log in self._channels.items() if log.is_quiet(now)]
            for key in quiet:
                del self._channels[key]
        return self._channels.setdefault(channel_id, ChannelLog(CHANNEL))

    def of_interaction(self) -> ChannelLog:
        """A new log: every interaction token has a bucket of its own."""
        return ChannelLog(INTERACTION)
