"""The active model: who answers requests that name none, and with which parameters."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Annotated, cast

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from bot.chat.catalog import Catalog
from bot.domain.ids import ModelKey
from bot.gateway.edge import Object
from bot.gateway.shapes import TokenLimit
from bot.store.notes import NoteStore

NOTE = "active model of the gateway"

_log = structlog.get_logger(__name__)


class DefaultInference(BaseModel):
    """Parameters for requests that do not give them; names as the admin's client writes them."""

    # A misspelt parameter would be taken, kept across restarts, and do nothing.
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: TokenLimit | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0)] | None = None
    stop: Annotated[list[str] | None, Field(alias="stopStrings")] = None
    stream: bool | None = None

    def told(self) -> Object:
        """As it was given."""
        return self.model_dump(exclude_none=True, by_alias=True)


@dataclass(slots=True)
class ActiveModel:
    """Kept across restarts; a request takes what holds when it comes."""

    notes: NoteStore
    catalog: Catalog
    key: ModelKey | None = None
    defaults: DefaultInference = field(default_factory=DefaultInference)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def restore(self) -> None:
        """Takes up what a Lantern before this one kept."""
        kept = await self.notes.get(NOTE)
        if not kept:
            return
        try:
            told = cast(Object, json.loads(kept))
            self.defaults = DefaultInference.model_validate(told["defaultInference"])
            self.key = ModelKey(str(told["modelKey"]))
        except (ValueError, KeyError, ValidationError) as error:
            # Written by a newer Lantern, perhaps: no reason not to serve.
            _log.warning("active model not restored", reason=type(error).__name__)

    async def choose(self, key: ModelKey | None, defaults: DefaultInference) -> None:
        """Another one, or none; counts once it is stored.

        Raises:
            StoreUnavailable: nothing changed.
        """
        # In one line: of two at once, what is stored last is what holds.
        async with self._writing:
            await self._keep(key, defaults)

    async def refill(self, key: ModelKey, defaults: DefaultInference) -> bool:
        """Other defaults for a model, unless it is not the active one; were they taken?

        Raises:
            StoreUnavailable: nothing changed.
        """
        # Asked in line: another may be chosen before it.
        async with self._writing:
            if self.key != key:
                return False
            await self._keep(key, defaults)
            return True

    async def _keep(self, key: ModelKey | None, defaults: DefaultInference) -> None:
        told = (
            ""
            if key is None
            else json.dumps({"modelKey": key, "defaultInference": defaults.told()})
        )
        await self.notes.put(NOTE, told)
        self.key, self.defaults = key, defaults

    def defaults_of(self, key: ModelKey) -> Object:
        """The parameters that fill a request's gaps, by the names of the wire."""
        # Of it alone: they were measured for that model, and would bend another one's answers.
        return self.defaults.model_dump(exclude_none=True) if key == self.key else {}

    def told(self) -> Object | None:
        """For admins; None where none is active."""
        if self.key is None:
            return None
        return {
            "modelKey": self.key,
            "defaultInference": self.defaults.told(),
            "loaded": self.is_loaded(self.key),
        }

    def is_loaded(self, key: ModelKey) -> bool:
        """Is it in memory anywhere?"""
        return any(host.has_loaded(key) for host in self.catalog.snapshot().hosts.values())
