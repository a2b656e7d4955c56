"""A built and running Lantern: the one value that faces and commands are handed."""

from bot.chat.acts import FleetActs
from bot.chat.catalog import Catalog
from bot.chat.flights import Newsroom
from bot.chat.keeping import Keeper
from bot.chat.personas import Personas
from bot.chat.place_settings import PlaceSettings
from bot.chat.relaying import Relaying
from bot.chat.switch import Switch
from bot.chat.turns import Turns
from bot.chat.usage import UsageTracker
from bot.cloud.providers import Providers
from bot.documents.shelf import PersonaShelf
from bot.domain.values import value
from bot.fleet.fleet import Fleet
from bot.store.database import Database
from bot.store.notes import NoteStore
from bot.store.people import PeopleStore
from bot.store.privacy import PrivacyStore
from bot.store.questions import QuestionStore
from bot.store.replies import ReplyStore


@value
class Lantern:
    """Everything of Lantern that somebody outside may ask; built by ``app.py`` alone."""

    # It stands here and not beside its builder because no face may import the builder.
    turns: Turns
    switch: Switch
    catalog: Catalog
    acts: FleetActs
    usage: UsageTracker
    relaying: Relaying
    keeper: Keeper
    newsroom: Newsroom
    privacy: PrivacyStore
    place_settings: PlaceSettings
    replies: ReplyStore
    questions: QuestionStore
    notes: NoteStore
    people: PeopleStore
    fleet: Fleet
    shelf: PersonaShelf
    personas: Personas
    providers: Providers
    database: Database
