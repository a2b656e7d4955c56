"""What admins set for channels and servers: kept in memory, stored, asked wherever it counts."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from bot.domain.chat import Asker, Place, TurnRequest
from bot.domain.errors import NotPermitted
from bot.domain.ids import PlaceId, UserId
from bot.domain.values import value
from bot.policy.access import AccessRules, PlaceRules, check_may_ask, check_may_set, rights_of
from bot.policy.place_rules import (
    EVERYWHERE,
    FORMS,
    Level,
    SettingForm,
    SettingName,
    SetValue,
    Stored,
    WhoseLimit,
    check_tokens,
    checked,
    form_of,
    in_force,
    rules_at,
)
from bot.store.ledger import LedgerStore
from bot.store.place_settings import PlaceSettingStore

# Its other rules are the face's to judge: here only what admins may change meanwhile.
_OPEN = AccessRules(dms="everyone")


@value
class Configured:
    """What the settings' file says of the same things."""

    unprompted: frozenset[PlaceId] = frozenset()
    """Channels where every message is answered."""
    tokens_per_day: int | None = None
    """Of one person, wherever they ask."""
    footer: bool = True
    """Model, host and speed stand under each answer."""
    webhooks: bool = True
    """Personas speak by their own name and picture."""


@value
class Shown:
    """One setting as a panel of some level shows it."""

    name: SettingName
    form: SettingForm
    own: SetValue | None
    """What is set at this very level."""
    farther: tuple[SetValue, Level] | None
    """What else holds, and where it was set; None where nobody set it."""


class PlaceSettings:
    """The one writer of what is set for places."""

    def __init__(
        self,
        store: PlaceSettingStore,
        ledger: LedgerStore,
        ledger_name: Callable[[UserId], str],
        configured: Configured,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._ledger_name = ledger_name
        self._configured = configured
        self._order = asyncio.Lock()
        self.stored: Stored = {}
        """Everything set anywhere, as of now."""

    async def load(self) -> None:
        """Reads what is stored; before anybody asks."""
        self.stored = await self._store.all()

    def at(self, place: Place) -> PlaceRules:
        """What holds in a place, as of now."""
        said = self._configured
        return rules_at(
            place, self.stored, said.unprompted, footer=said.footer, webhooks=said.webhooks
        )

    def shown(self, place: Place, level: Level) -> tuple[Shown, ...]:
        """Every setting of a level, as it stands for a place."""
        at = _at(place, level)
        wider = Place(EVERYWHERE, server=place.server if level == "channel" else None)
        return tuple(
            Shown(
                name,
                form_of(name, level),
                self.stored.get((at, name)),
                in_force(name, wider, self.stored),
            )
            for name, form in FORMS.items()
            if level in form.levels
        )

    async def change(
        self, place: Place, level: Level, typed: Mapping[SettingName, Sequence[str]], asker: Asker
    ) -> None:
        """Sets things for a channel, a server or everywhere, all or none; no value takes one away.

        Of two who change it at once the later one's holds, in memory as on the disk.

        Raises:
            NotPermitted: it is not theirs to set.
            RequestRefused: no such value is taken.
            StoreUnavailable: it could not be stored, and nothing changed.
        """
        check_may_set(rights_of(asker, self.at(place)))
        if level == "everywhere" and not asker.is_owner:
            raise NotPermitted("Only the bot's owner may change what holds everywhere.")
        at = _at(place, level)
        values: dict[SettingName, tuple[str, ...]] = {
            name: checked(name, level, value) for name, value in typed.items()
        }
        async with self._order:
            kept = await self._store.put(at, values, asker.user)
            stored = dict(self.stored)
            for name, new in kept.items():
                stored.pop((at, name), None)
                if new is not None:
                    stored[at, name] = new
            self.stored = stored

    async def admit(self, request: TurnRequest, payer: UserId) -> None:
        """Passes when a question may be answered as things stand at this moment.

        Asked when it comes and again when its turn has come: a limit set, or reached by answers
        before it, while it waited holds for it too. Whoever owns the bot has no limit.

        Raises:
            NotPermitted: its place or its asker was taken off the lists.
            TokensSpent: its asker has none left today.
            StoreUnavailable: what they used cannot be read.
        """
        place, here, asker = request.place, self.at(request.place), request.asker
        if asker is not None:
            check_may_ask(_OPEN, asker, place, here)
        if asker is not None and asker.is_owner:
            return
        for whose, used, most, left_s in await self.tokens(payer, place):
            check_tokens(used, most, left_s, whose=whose)

    async def tokens(self, user: UserId, place: Place) -> list[tuple[WhoseLimit, int, int, float]]:
        """The limits on somebody's tokens there: whose, used today, the most, seconds left of it.

        Raises:
            StoreUnavailable: what they used cannot be read.
        """
        name, found = self._ledger_name(user), list[tuple[WhoseLimit, int, int, float]]()
        if (most := self.at(place).tokens_per_day) is not None:
            used, left_s = await self._ledger.tokens_today(name, place.server)
            found.append(("server", used, most, left_s))
        if (most := self._configured.tokens_per_day) is not None:
            used, left_s = await self._ledger.tokens_today(name)
            found.append(("owner", used, most, left_s))
        return found


def _at(place: Place, level: Level) -> PlaceId:
    """Where a level's settings are stored.

    Raises:
        NotPermitted: the place has no server.
    """
    if level == "everywhere":
        return EVERYWHERE
    if place.server is None:
        raise NotPermitted("There is no server here to set anything for.")
    return place.server if level == "server" else place.channel
