"""A host under contract, and how to reach it."""

from dataclasses import dataclass
from typing import Any, cast

import lmstudio as lms

from bot.sim.models import Generation


@dataclass(frozen=True)
class Subject:
    """A host under contract: only its address, a token when it wants one, and a model to try."""

    address: str
    token: str | None
    key: str
    generation: Generation | None = None
    """None when it is a real host and nobody told us."""
    jit: bool | None = None

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def client(self) -> lms.AsyncClient:
        return sdk_client(self.address, self.token)


def sdk_client(address: str, token: str | None) -> lms.AsyncClient:
    """Return an SDK client; 1.5.0 has no public way to give it a token."""
    client = lms.AsyncClient(address)
    if token is not None:
        identifier, _, passkey = token.removeprefix("sk-lm-").partition(":")
        raw = cast(Any, client)
        raw._auth_details = raw._format_auth_message(identifier, passkey)
    return client
