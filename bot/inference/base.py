"""What an adapter is, and the parts it is made of."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from bot.domain.chat import Endpoint, InferenceRequest
from bot.domain.events import Delta, StreamEnd


class Adapter(Protocol):
    """One wire format: a request to an endpoint becomes deltas."""

    def open(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Send the request; leaving the block closes the response, which stops the generation."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request, ready to be sent."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class DeltaReader(Protocol):
    """Reads the payloads of one stream; knows nothing of sockets."""

    @property
    def is_whole(self) -> bool:
        """Did the end mark come? From then on nothing can break the answer."""
        ...

    @property
    def is_done(self) -> bool:
        """Is nothing further worth waiting for?"""
        ...

    def read(self, payload: str) -> Sequence[Delta]:
        """Return the deltas of one payload.

        Raises:
            WireFault: the payload is broken, is an error, or names another model.
        """
        ...

    def flush(self) -> Sequence[Delta]:
        """Return what was held back for mending; no payload follows."""
        ...

    def end(self) -> StreamEnd:
        """Return the end of a whole stream."""
        ...
