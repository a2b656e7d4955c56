"""What the Discord face needs from the rest of Lantern, handed over by the root."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bot.chat.acts import FleetActs
from bot.chat.catalog import Catalog
from bot.chat.switch import Switch
from bot.chat.turns import Turns
from bot.chat.usage import Tally
from bot.domain.ids import PlaceId
from bot.store.notes import NoteStore
from bot.store.privacy import PrivacyStore
from bot.store.replies import ReplyStore


@dataclass(frozen=True, slots=True)
class FaceRules:
    """The settings of the Discord face, as plain values."""

    allowed_guilds: frozenset[str] = field(default_factory=frozenset[str])
    """Ids of the servers that are answered; empty answers all."""
    admin_roles: frozenset[str] = field(default_factory=frozenset[str])
    """Ids or names of roles whose members may do what server managers may."""
    has_footer: bool = True

    @property
    def allowed_servers(self) -> frozenset[PlaceId]:
        """The same servers as the rest of Lantern knows them."""
        return frozenset(PlaceId(f"discord:{guild}") for guild in self.allowed_guilds)


@dataclass(frozen=True, slots=True)
class Face:
    """Every door of Lantern that the cogs knock at."""

    turns: Turns
    switch: Switch
    catalog: Catalog
    acts: FleetActs
    replies: ReplyStore
    notes: NoteStore
    tally: Tally
    privacy: PrivacyStore
    rules: FaceRules = field(default_factory=FaceRules)
    on_ready: Callable[[], None] = lambda: None
    """Called once, when Discord has taken us in for the first time."""
