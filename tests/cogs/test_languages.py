"""Commands and the bot's words in other languages: all of them, within Discord's limits."""

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, product
from math import inf
from pathlib import Path
from typing import Any, cast, get_args
from unittest.mock import AsyncMock, Mock

import discord
import pytest
from cogs_doubles import (
    ALICE,
    HOST,
    MODEL,
    RECEIPT,
    STARTED,
    TURN,
    interaction_of,
    lantern_of,
    said_to,
    stored_turn,
)
from discord import Locale, app_commands
from stand_ins import double

from bot.chat import words
from bot.chat.catalog import Catalog, ModelOption
from bot.chat.standing import nobody_words
from bot.chat.usage import UsageReport
from bot.documents.cards import read_file
from bot.documents.persona_files import changed
from bot.documents.png import plain_png
from bot.documents.shelf import PersonaShelf
from bot.domain.chat import Candidate, Endpoint, Receipt, Rejection, Route, Seam, Timing, Usage
from bot.domain.cloud import Account, ProviderStanding, UsageLine
from bot.domain.errors import BRIEFLY, ConfigError, FailureKind, NotPermitted, RequestRefused
from bot.domain.events import Failed, Loading, Offered, Queued, Silence, Stopped, TextDelta
from bot.domain.hosts import (
    FleetSnapshot,
    HostSnapshot,
    HostState,
    Instance,
    LoadInFlight,
    Model,
)
from bot.domain.ids import HostName, InstanceId, ModelKey, PersonaName, ProviderName
from bot.domain.personas import Persona
from bot.inference.wire import RefusalKind, Verdict, to_error
from bot.policy.access import check_may_manage
from bot.policy.budget import OVER_BUDGET
from bot.policy.periods import Period
from cogs import _languages
from cogs._autocomplete import model_choices
from cogs._faults import say
from cogs._languages import COLUMNS, CommandNames, command_names, public_locale, tables, told
from cogs._load_view import LoadView
from cogs._reply_view import ReplyView
from cogs._tree import command_hash
from cogs._view import _FACES, Act, MessageView, buttons_of, cut_short, ended, restored  # pyright: ignore[reportPrivateUsage]  # every label
from cogs.client import DiscordFace, DiscordRules, LanternBot

LANGUAGES = sorted(set(COLUMNS.values()))
NAME = re.compile(r"[-_'\w]{1,32}")
"""As Discord's documents have it: letters, digits, and these three signs."""


@pytest.fixture
async def commands() -> AsyncGenerator[list[dict[str, Any]]]:
    bot = LanternBot(DiscordFace(lantern_of(), DiscordRules()), reads_content=True)
    bot.tree.sync = AsyncMock(return_value=[])
    bot.http.get_bot_gateway = AsyncMock(return_value=(1, "", None))
    await bot.setup_hook()
    names = CommandNames()
    yield [await c.get_translated_payload(bot.tree, names) for c in bot.tree.get_commands()]
    await bot.close()


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A command, what is in it, and the choices of its options."""
    yield node
    for inside in (*node.get("options", ()), *node.get("choices", ())):
        yield from nodes(inside)


def read(node: dict[str, Any], what: str, locale: str) -> str:
    return node.get(f"{what}_localizations", {}).get(locale) or node.get(what, "")


async def test_every_command_option_and_choice_has_every_language(
    commands: list[dict[str, Any]],
) -> None:
    texts = {
        node[what]
        for command in commands
        for node in nodes(command)
        for what in ("name", "description")
        if node.get(what)
    }
    known = command_names()
    missing = sorted(text for text in texts if text not in known)
    assert missing == [], "needs a line in cogs/command_names.toml"
    # A line is whole or empty: what reads alike everywhere, as a file's ending does.
    partial = [text for text, said in known.items() if said and sorted(said) != LANGUAGES]
    assert partial == []


async def test_names_and_descriptions_keep_discords_rules_in_every_language(
    commands: list[dict[str, Any]],
) -> None:
    for command in commands:
        is_menu = command["type"] != 1
        for locale in COLUMNS:
            for node in nodes(command):
                name = read(node, "name", locale)
                is_choice = "value" in node
                if is_choice or is_menu:
                    assert 1 <= len(name) <= (100 if is_choice else 32), name
                else:
                    assert NAME.fullmatch(name), name
                    assert name == name.lower()
                    assert 1 <= len(read(node, "description", locale)) <= 100, name
                for kind in ("options", "choices"):
                    inside = [read(each, "name", locale) for each in node.get(kind, ())]
                    assert len(set(inside)) == len(inside), (name, inside)
    for locale in COLUMNS:
        names = [(command["type"], read(command, "name", locale)) for command in commands]
        assert len(set(names)) == len(names), locale


async def test_no_command_is_longer_than_discord_takes_in_its_longest_language(
    commands: list[dict[str, Any]],
) -> None:
    def size(node: dict[str, Any]) -> int:
        longest = sum(
            max(len(read(node, what, locale)) for locale in ("en-US", *COLUMNS))
            for what in ("name", "description")
        )
        inside = (*node.get("options", ()), *node.get("choices", ()))
        return longest + len(str(node.get("value", ""))) + sum(map(size, inside))

    assert max(map(size, commands)) <= 8000


async def test_every_language_reads_its_column() -> None:
    context: Any = None
    names = {
        locale: await CommandNames().translate(app_commands.locale_str("chat"), locale, context)
        for locale in Locale
    }
    assert {str(locale): name for locale, name in names.items() if name} == {
        "de": "chat", "es-ES": "charlar", "es-419": "charlar", "fr": "discuter",
        "ja": "チャット", "pt-BR": "conversar",
    }  # fmt: skip


async def test_a_language_that_changes_is_announced_like_any_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing(interaction: discord.Interaction) -> None: ...

    tree = LanternBot(DiscordFace(lantern_of(), DiscordRules()), reads_content=True).tree
    command: Any = app_commands.Command(name="help", description="x", callback=nothing)  # pyright: ignore[reportUnknownVariableType]  # of no cog
    tree.add_command(command)
    before = await command_hash(tree)
    assert await command_hash(tree) == before
    monkeypatch.setitem(cast("dict[str, Any]", command_names()), "help", {"de": "hülfe"})
    assert await command_hash(tree) != before


# --- the bot's own words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("Nothing is being answered here.", "Hier wird gerade nichts beantwortet."),
        ("⏹ Stopped 3 answers.", "⏹ 3 Antworten gestoppt."),
        ("⏹ Stopped  answers.", "⏹ Stopped  answers."),
        (
            "🔒 Your words: local only, never sent to a cloud provider.",
            "🔒 Deine Worte: nur lokal, geht nie in eine Cloud.",
        ),
        ("**You**\nx\n**This server**", "**Du**\nx\n**Dieser Server**"),
        ("What nobody has put into German.", "What nobody has put into German."),
        ("Model: {} (x)", "Modell: {} (x)"),
        ("", ""),
    ],
)
def test_words_are_told_in_german_and_stay_english_where_there_are_none(
    english: str, german: str
) -> None:
    assert told(english, Locale.german) == german
    assert told(english, Locale.american_english) == english
    assert told(english, Locale.french) == english
    assert told(english, None) == english


def test_commands_are_called_in_german_as_discord_lists_them_there() -> None:
    """Whoever reads German finds no other by typing."""
    names = command_names()
    english = [
        (word, quoted)
        for said in tables()["words"].values()
        for quoted in re.findall(r"`(/[^`]*)`", said["de"])
        for word in re.findall(r"(?<![\w{])\w+", quoted)
        if names.get(word, {}).get("de", word) != word
    ]
    assert english == []


def test_a_line_with_gaps_keeps_all_of_them() -> None:
    gap = re.compile(r"\{(\d?)([#&…]?)\}")
    for text, said in tables()["words"].items():
        kinds = [kind for _, kind in gap.findall(text)]
        assert not any(number for number, _ in gap.findall(text)), text
        # Between two that join phrases nothing tells where one ends.
        assert not re.search(r"\{[&…]?\}\{", text), text
        for column, line in said.items():
            assert column in LANGUAGES
            found = gap.findall(line)
            order = [int(number or nth) for nth, (number, _) in enumerate(found, 1)]
            assert sorted(order) == list(range(1, len(kinds) + 1)), line
            assert [kind for _, kind in found] == [kinds[nth - 1] for nth in order], line
            assert line.strip()


async def test_a_person_reads_their_own_language_and_models_keep_their_words() -> None:
    interaction = interaction_of()
    interaction.locale = Locale.german
    await say(interaction, "Nothing is being answered here.")
    await say(interaction, "Nothing is being answered here.", is_ours=False)
    assert said_to(interaction) == [
        "Hier wird gerade nichts beantwortet.",
        "Nothing is being answered here.",
    ]


@pytest.mark.parametrize(
    ("guild", "is_group", "locale"),
    [(5, False, Locale.french), (None, False, Locale.german), (None, True, None)],
)
async def test_what_everybody_reads_is_in_the_language_of_its_place(
    guild: int | None, is_group: bool, locale: Locale | None
) -> None:
    interaction = interaction_of(guild=guild)
    interaction.locale, interaction.guild_locale = Locale.german, Locale.french
    interaction.context.private_channel = is_group
    assert public_locale(interaction) is locale
    await say(interaction, "Nothing is being answered here.", ephemeral=False)
    is_german = locale is Locale.german
    assert (said_to(interaction) == ["Hier wird gerade nichts beantwortet."]) is is_german


def test_every_button_has_a_german_word_and_keeps_what_it_does() -> None:
    acts = tuple(act for act in _FACES if _FACES[act][0])
    message = MessageView("x", acts, "ab12")

    def labels(locale: object) -> list[tuple[Any, Any]]:
        view: Any = buttons_of(message, locale)
        return [(child.item.label, child.item.custom_id) for child in view.children]

    english, german = labels(None), labels(Locale.german)
    assert [custom_id for _, custom_id in german] == [custom_id for _, custom_id in english]
    same = [here for (here, _), (there, _) in zip(english, german, strict=True) if here == there]
    assert same == [], "needs a line under [words] in cogs/languages.toml"
    own = MessageView("x", (Act.CLOUD,), "ab12", labels=((Act.CLOUD, "☁ zai · 1 ct"),))
    view: Any = buttons_of(own, Locale.german)
    assert view.children[0].item.label == "☁ zai · 1 ct"


# --- every line of Discord's interface, in German ---------------------------------------------

WORDS_FILE = Path(__file__).parents[1] / "words.txt"
SCENES = Path(__file__).parents[2] / "docs/pictures/scenes.json"

NOT_IN_DISCORD = (
    "bot/terminal/", "bot/commands/", "bot/cli.py", "bot/settings/", "bot/gateway/",  # other faces
    "bot/process/", "bot/store/backups.py", "bot/store/migrate.py", "bot/store/keys.py",
    "bot/store/ledger.py", "bot/cloud/checkup.py", "cogs/identity.py",  # starts, and checks
    "bot/chat/flights.py", "bot/chat/relaying.py", "bot/chat/host_relaying.py",
    "bot/chat/cloud_relaying.py", "bot/inference/passing.py", "bot/policy/keys.py",
    "bot/policy/fitness.py", "bot/policy/periods.py",  # clients of the gateway
    "bot/documents/shelf.py",  # files of the machine's owner
    "bot/documents/day_chart.py", "bot/policy/presence.py",  # one picture, one line for everybody
    "bot/policy/formulas.py", "bot/policy/prompt.py", "bot/inference/anthropic.py",
    "bot/cloud/price_tables.py",  # names
)  # fmt: skip
"""Where words stand that no single reader of Discord meets, or models alone."""

NOT_SAID = frozenset({
    # To models.
    "----- end of file: ", "----- file: ", "[Somebody is answering this already.]", "Say ok.",
    "[Somebody turns to you without a word.]", "[not shown to this model: ", "A new talk",
    "{…} ⏎  ⏎ [Instructions for the reply", "Go on exactly where your last message",
    "[Remembered at their wish, of the person you answer:", "Hello. Who are you, and what can we",
    # To the log, systemd and viewers; causes of loads and unloads.
    "given up", "buttons of ", "typing in ", "message not taken as it was", "loads ahead",
    "reply cannot be shown", "the webhook of this message is gone", "Discord takes no calls for",
    "serving; ", "model loaded", "model unloaded", "model quick", "model slow",
    "load failed", "host found", "host lost", "host drained", "host resumed", "evicted to make",
    "reloading {…} with room", "it is why", "it was entered", "at once", "0.4 or newer",
    # To the program: promises of our own, patterns, headers, and names.
    "nobody can serve by ", "words without consent", "only policy.privacy may", "a lease was used",
    "dict[str, ", "failed to load|", "response prefill|", "Bearer ", "Ollama ",
    # For those who cannot see a picture, and as the database is opened.
    "The last 24 hours: ", "by own hosts", "by providers", "given again", "SQLite ",
    "The database {…} cannot be made",
    "to channel", "{…}: cannot be read", "{…}: not a text file",
    "a size in GB such as",
})  # fmt: skip
"""How other lines begin that nobody reads in Discord."""

_JOINT = re.compile(
    r"\{[…\w]*\}(?: (?:s|GB|KiB|MB|M|tok/s)\b)?|(?<=[.!?…]) |(?<=\)) | · |; |, | ⏎ "
)


def pieces(line: str) -> list[str]:
    """What of a line must stand in the table: between what is filled in, phrase by phrase."""
    found = (re.sub(r"^[^\w`*“(-]+|[ ~$]+$", "", piece) for piece in _JOINT.split(line))
    return [piece for piece in found if re.search(r"[A-Za-z]{2}", piece)]


def test_every_line_that_may_reach_discord_has_german_words() -> None:
    known = tables()["words"].keys() | command_names().keys()
    table = "\n".join(re.sub(r"\{\d?[#&…]?\}", "\0", text) for text in known)
    missing, unmet, room = list[str](), set(NOT_SAID), ""
    for line in WORDS_FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            room = line.removeprefix("# ")
        elif not room.startswith(NOT_IN_DISCORD):
            unsaid = [begin for begin in NOT_SAID if line.startswith(begin)]
            unmet.difference_update(unsaid)
            missing += [f"{room}: {p}" for p in pieces(line) if p not in table and not unsaid]
    assert missing == [], "needs a line under [words] in cogs/languages.toml"
    assert unmet == set()


QUOTED = re.compile(
    r"`[^`]*`|“[^”]*”|„[^“]*“|\"[^\"]*\"|'[^']*'|\*\*.*?\*\*|<[@#t/][^>]*>|\{[^}]*\}"
)
"""What names, commands, and words of people, hosts and libraries stand in."""


WORD = re.compile(r"(?<![\w./-])[a-zA-ZäöüßÄÖÜ]{2,}(?![\w/]|[.-]\w)")


def words_of(lines: Iterable[str]) -> set[str]:
    return {word for line in lines for word in WORD.findall(QUOTED.sub(" ", line))}


ENGLISH = {word.lower() for word in words_of(tables()["words"])}
GERMAN = words_of(said["de"] for said in tables()["words"].values())


def mixed(line: str) -> list[str]:
    """Words of ours that no German line of ours has, but for names, commands and quotes."""
    found = WORD.findall(QUOTED.sub(" ", line))
    return [word for word in found if word.lower() in ENGLISH and word not in GERMAN]


def lines_people_meet() -> Iterator[str]:
    """Whole lines as they are put together at run time, of every kind that has parts."""
    qwen, away = (
        ModelKey("qwen/qwen3"),
        "alpha is away: Nothing answers at 10.0.0.2:1234: the machine",
    )
    out = Rejection("alpha", qwen, f"{away} is asleep or switched off.", FailureKind.CONNECT)
    full = Rejection(
        "beta", qwen, "does not fit: what is in memory must stay (`a` in use, `b` pinned until "
        "`/fleet unpin`)", FailureKind.DOES_NOT_FIT,
    )  # fmt: skip
    two = replace(out, where="gamma")
    for failed in ((out,), (out, two), (out, two, full)):
        for kept in ("", "the place of an earlier message is local only"):
            yield nobody_words(Route((), failed), failed, model=qwen, kept_home=kept)
    yield nobody_words(Route((), ()), (), model=qwen)
    here = Candidate(
        qwen,
        HostName("alpha"),
        seconds=75.0,
        reason="busy: all 2 slots taken, has read this conversation",
    )
    cloud = Candidate(
        ModelKey("glm"), None, ProviderName("zai"), seconds=2.0, reason="cloud, at most $0.0120"
    )
    route = Route((here, cloud), (out, full), reason="persona the configured default; model "
                  "chosen by you here (`/model auto` goes back)")  # fmt: skip
    receipt = Receipt(
        persona=PersonaName("sage"), model=qwen, host=HostName("alpha"), route=route,
        attempts=(replace(out, spent_s=62.0),), left=(replace(full, spent_s=8.1),),
        choice_reason="the configured default", finish="length",
        usage=Usage(prompt_tokens=1200, completion_tokens=2048), notices=("zai was asked again.",),
        seams=(Seam(HostName("beta"), "beta went away.", 120, 1.4),),
        timing=Timing(1.2, 130.0, 0.5, generation_s=9.0, thinking_s=4.0, until_asked_s=63.0),
    )  # fmt: skip
    yield words.why_text(stored_turn("Hello.", receipt=receipt))
    yield "First word once asked: 4.8 s predicted, 6.5 s in fact"
    yield words.footer(receipt)
    yield words.blind_text(qwen, cloud)
    for kind, brief in [*BRIEFLY.items(), *OVER_BUDGET.items()]:
        yield f"☁ alpha is {brief}; zai answered."
        yield f"{kind and 'alpha'} and 2 more are {brief}; zai answered."
    resident = Instance(
        InstanceId("qwen/qwen3"), qwen, own=True, pinned=True, idle_since=0.0,
        context_length=16384, size_bytes=4_100_000_000, slowdown=3.0,
    )  # fmt: skip
    up = HostSnapshot(
        HostName("alpha"), "10.0.0.1:1234", "up", instances=(resident,), models={qwen: Model(qwen)},
        memory_bytes=96_000_000_000, waiting={qwen: 2},
    )  # fmt: skip
    for state in get_args(HostState):
        shown = replace(up, state=state, reason=out.reason, drained_until=7200.0)
        yield "\n".join(words.host_lines(shown, 12.0))
    day, month = Account("2026-11-20", 2_500_000, cap_micro_usd=10_000_000), Account("2026-11")
    line = UsageLine(
        "qwen/qwen3", 3, 1, 12, 1, 1200, 2048, 31_000, 5_000, 2_000, 1, tokens_per_s=40
    )
    own = replace(day, payer="user", name="x")
    paid = (replace(line, name="zai"), replace(line, name="acme", plan_calls=3))
    yield words.usage_text(
        UsageReport(
            Period("2026-11-01", "2026-11-20"), line, (line, UsageLine("a", local_turns=1)), paid,
            (day, replace(month, cap_micro_usd=None, period="2026-11-20"), own), 9_000,
            ProviderName("zai"),
        )
    )  # fmt: skip
    standing = ProviderStanding(ProviderName("zai"), qwen, "", 0.0, 1, 2, (day,))
    for reason, limited_s in (("", 0.0), ("", 30.0), ("zai has no money left for us.", 0.0)):
        shown = replace(standing, reason=reason, limited_s=limited_s)
        yield "\n".join(words.provider_lines(shown, is_admin=True))


SETTINGS = (
    "modle: x", "model:", "model: [", "model: [a", "load: {gpu: off", "a\tb: c", "\ta: b", "- a",
    "a: b\n- c", "model: a\nmodel: b", "model: !env X", "model: 'a", "? [a]\n: b", "model: *x",
    'model: "\\q"', "model: @x", "just words", "x: y: z", "a: - b", "a: 1\n b: 2", "model: \0",
    "[" * 999, "idle_ttl: later", "idle_ttl: 0", "local_only: maybe", "local_only: [1]",
    "model: {a: 1}", "alternatives: 3", "request_type: ' '", "avatar: http://x",
    "sampling: {temperature: 9, top_p: x, top_k: -1, min_p: .nan, max_tokens: 1.5, stop: 3}",
    "sampling: {repeat_penalty: 0, max_tokens: 99999999999999999999, temperature: [1]}",
    "load: {gpu: most, kv_cache_quant: q8, flash_attention: 7, cpu_threads: 2}",
    f"model: {'m' * 201}",
)  # fmt: skip
"""What people write into a form that is no setting."""

FILES = (
    b"", b"\xff\xd8\xff a photo", b"\0\1\2\xff", b"[1, 2]", b'{"name": "x"', b'{"a" 1}', b"{a: 1}",
    b'{"a": 1,}', b'{"a": "b', b'{"a": "\n"}', b'{"a": "\\q"}', b'{"a": "\\uX"}', b"{} {}",
    b'{"a": 1 "b"}', b'{"name": "x"}', b'{"data": {"first_mes": "x"}}', b'{"entries": {}}',
    b'{"data": {"a": NaN}}', b'{"a":' + b"[" * 90 + b"]" * 90 + b"}", b"name: x\nmodle: y",
    b"name: [", b"just words", plain_png(1, 1, (0, 0, 0)),
    plain_png(1, 9000, (0, 0, 0)), plain_png(9, 9, (0, 0, 0))[:-9],
    b'{"data": {"name": "x", "extensions": {"lantern": {"model": {"a": 1}, "idle_ttl": "x"}}}}',
    b'{"operation": {"fields": [{"key": "llm.prediction.temperature", "value": "hot"}]}}',
)  # fmt: skip
"""Files that hold no persona."""


def faults_people_meet() -> Iterator[str]:
    """What is said of forms and of files that cannot be taken."""
    blank = Persona(PersonaName("x"))
    refused: list[Callable[[], object]] = [
        *(partial(changed, blank, {}, settings) for settings in SETTINGS),
        partial(changed, blank, {"system_prompt": "x" * 40_000}),
        *(partial(read_file, content, "a: b.json") for content in FILES),
    ]
    for nth, act in enumerate(refused):
        with pytest.raises(RequestRefused) as error:
            pytest.fail(f"{nth} was taken: {act()}")
        yield words.error_text(error.value)
    card = {
        "name": "x",
        "first_mes": "hi",
        "extensions": {"world": "w", "depth_prompt": {"prompt": "p"}},
    }
    preset = {"name": "p", "operation": {"fields": [{"key": f"k.{n}"} for n in range(9)]}}
    for taken in ({"data": card}, preset):
        yield from read_file(json.dumps(taken).encode(), "x.json").notes


def reasons_people_meet() -> Iterator[str]:
    """Why it goes where it goes, by the first of those who could answer."""
    for price in ("at most $0.0120", "free", "price unknown", "paid by its plan"):
        yield f"zai: cloud, {price}"
        yield f"request type teaching (zai, alpha); zai: cloud, {price}"
    more = ("", ", has read this conversation")
    for taken, read in product((" and idle", ", 1 of 4 slots taken"), more):
        yield f"alpha: in memory{taken}{read}"


def lists_people_meet() -> Iterator[str]:
    """Each model as lists show it, however the one host that has it stands."""
    model = Model(ModelKey("a/b"), size_bytes=50_000_000_000)
    up = HostSnapshot(HostName("alpha"), "10.0.0.1:1234", "up", models={model.key: model})
    full = replace(up, memory_bytes=8_000_000_000)
    busy = replace(up, load=LoadInFlight(model.key, 0.5, 0.0, None))
    shelf, nobody = double(PersonaShelf), Mock(return_value=())
    stands = [replace(up, state=state) for state in get_args(HostState)]
    for host in (*stands, full, busy, replace(up, interface="/v1")):
        catalog = Catalog(partial(FleetSnapshot, {host.name: host}, 0.0), shelf, nobody)
        option = catalog.option(model.key)
        yield f"`{option.key}` {option.mark}"
        yield from catalog.outage()
        yield from words.host_lines(replace(host, drained_until=inf), 0.0)


def usage_people_meet() -> Iterator[str]:
    """How many answers came from where, in all numbers that read differently."""
    for local, cloud, cached in product((0, 1, 2), repeat=3):
        line = UsageLine("a", cloud, cloud, local, cached)
        report = UsageReport(Period("2026-11-20", "2026-11-20"), line, (line,), (), (), None, None)
        yield words.usage_text(report)


def test_no_line_is_half_german() -> None:
    everything = (
        lines_people_meet(), faults_people_meet(), lists_people_meet(), usage_people_meet(),
        reasons_people_meet(),
    )  # fmt: skip
    half = [
        (line, found)
        for text in chain.from_iterable(everything)
        for line in told(text, Locale.german).split("\n")
        if (found := mixed(line))
    ]
    assert half == []


def shown_in(part: Any, *, is_ours: bool = False) -> Iterator[str]:
    """Our own words in what a picture of the documents shows, line by line."""
    if isinstance(part, list):
        for each in cast("list[object]", part):
            yield from shown_in(each, is_ours=is_ours)
    if not isinstance(part, dict):
        return
    shown = cast("dict[str, Any]", part)
    is_ours = is_ours or bool(shown.get("ephemeral"))
    for what in ("content", "title", "label", "description", "placeholder"):
        # What stands in a list are names; of an answer the small print alone is ours.
        if what != "label" or "value" not in shown:
            lines = str(shown.get(what) or "").split("\n")
            yield from (line for line in lines if is_ours or line.startswith(("-# ", "📦", "⏳")))
    for inside in ("messages", "form", "components", "component", "options"):
        yield from shown_in(shown.get(inside), is_ours=is_ours or inside != "messages")


def english_in(line: str, theirs: Sequence[str]) -> list[str]:
    """What of a line of ours a German reader finds in English; people's and models' words aside."""
    for said in theirs:
        line = line.replace(said, "Mira")
    head, colon, rest = line.partition(": ")
    # Whole, or as a cog tells a label by itself, with its colon or without.
    ways = ([line], [head, rest], [head + colon.strip(), rest])
    return min(
        ([word for part in way for word in mixed(told(part, "de"))] for way in ways), key=len
    )


def test_the_pictures_of_the_documents_show_words_of_today() -> None:
    scenes: dict[str, Any] = json.loads(SCENES.read_text(encoding="utf-8"))
    lines = {name: list(shown_in(scene)) for name, scene in scenes.items()}
    lines["board"] = scenes["board"][0]["messages"][0]["content"].split("\n")
    theirs = {n: [t for one in states for t in one.get("said", ())] for n, states in scenes.items()}
    old = [
        (line, found)
        for name, said in lines.items()
        for line in said
        if (found := english_in(line, theirs[name]))
    ]
    assert old == [], "record these scenes anew; python -m bench.pictures draws them"
    assert all(lines[name] for name in ("why", "other", "status", "settings", "errors", "german"))


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("3,500 tokens", "3.500 Tokens"),
        ("1 token", "1 Token"),
        ("Cost: $0.00", "Kosten: 0,00 $"),
        ("about 0.2 ¢ an answer", "etwa 0,2 ¢ je Antwort"),
        ("`██░░` 42% · 3 min 05 s left", "`██░░` 42 % · noch 3 min 05 s"),
        ("☁ alpha, beta and 2 more are off; zai answered.",
         "☁ alpha, beta und 2 weitere sind aus; zai antwortete."),
        ("Persona: **on** (the configured default)", "Persona: **on** (die eingestellte Vorgabe)"),
        ("🔀 Back to automatic for this thread: the persona's own model, else the soonest.",
         "🔀 Wieder automatisch für diesen Thread: das eigene Modell der Persona, sonst das "
         "schnellste."),
        ("🎭 **up** is chosen for you here.", "🎭 **up** ist für dich hier gewählt."),
        ("engine crashed and burned; out of luck", "engine crashed and burned; out of luck"),
        ("a: b: c: d: off", "a: b: c: d: aus"),
        ("x: " * 50 + "off", "x: " * 50 + "off"),
    ],
)  # fmt: skip
def test_numbers_lists_and_names_are_told_as_they_are_in_german(english: str, german: str) -> None:
    assert told(english, Locale.german) == german


HALF_ENGLISH = (
    ("laptop is draining. `m` is asked for this turn; without it the persona's own model answers. "
     "(`/why`)",
     "laptop wird freigegeben. `m` ist für diese Frage verlangt; ohne es antwortet das eigene "
     "Modell der Persona. (`/warum`)"),
    ("alpha and beta are draining.", "alpha und beta werden freigegeben."),
    ("• laptop: q/q3 does not fit on laptop: what is in memory must stay "
     "(pinned until `/fleet unpin`: g/g3; in use: a, b)",
     "• laptop: q/q3 passt nicht auf laptop: was im Speicher liegt, muss bleiben "
     "(angeheftet bis `/rechner lösen`: g/g3; in Gebrauch: a, b)"),
    ("laptop is too full for it. does not fit: what is in memory must stay "
     "(pinned until `/fleet unpin`: g/g3)",
     "laptop ist zu voll dafür. passt nicht: was im Speicher liegt, muss bleiben "
     "(angeheftet bis `/rechner lösen`: g/g3)"),
    ("alpha is too full for it. q/q3 does not fit on this machine: what is in memory must stay "
     "(in use: a).",
     "alpha ist zu voll dafür. q/q3 passt nicht auf diesen Rechner: was im Speicher liegt, muss "
     "bleiben (in Gebrauch: a)."),
    ("`q/q3` does not fit: what is in memory must stay (pinned until `/fleet unpin`: g/g3)",
     "`q/q3` passt nicht: was im Speicher liegt, muss bleiben (angeheftet bis `/rechner lösen`: "
     "g/g3)"),
    ("does not fit: what is in memory must stay (loaded by others: a)",
     "passt nicht: was im Speicher liegt, muss bleiben (von anderen geladen: a)"),
    ("Back to the persona's own model: `/model auto`, for all `/model auto scope:channel`",
     "Zurück zum eigenen Modell der Persona: `/modell auto`, für alle "
     "`/modell auto bereich:Kanal`"),
    ("• laptop (`m`) ~7.3 s: cold: load ~2 s (measured), after evicting q/q3",
     "• laptop (`m`) ~7,3 s: kalt: Laden ~2 s (gemessen), nachdem q/q3 gewichen ist"),
    ("• laptop (`m`) ~7.3 s: in memory with too small a context (4,096 tokens): loads again ~2 s "
     "(a guess)",
     "• laptop (`m`) ~7,3 s: mit zu kleinem Kontext im Speicher (4.096 Tokens): lädt neu, ~2 s "
     "(geschätzt)"),
    ("• laptop (`m`) ~7.3 s: in memory, 1 of 4 slots taken, 3 times slower than usual, has read "
     "this conversation",
     "• laptop (`m`) ~7,3 s: im Speicher, 1 von 4 Plätzen belegt, 3-mal langsamer als sonst, hat "
     "dieses Gespräch gelesen"),
    ("Pressed: Stop after 9 s", "Gedrückt: Stopp nach 9 s"),
    ("Pressed: /stop after 9 s", "Gedrückt: /stopp nach 9 s"),
    ("Pressed: Wait after 4 s", "Gedrückt: Warten nach 4 s"),
    ("Pressed: Cancel after 4 s", "Gedrückt: Abbrechen nach 4 s"),
    ("Pressed: Answer now after 4 s", "Gedrückt: Jetzt antworten nach 4 s"),
    ("• laptop (`m`): laptop broke off its answer: the connection broke",
     "• laptop (`m`): laptop brach seine Antwort ab: die Verbindung brach ab"),
    ("• studio (`auto`): away: 127.0.0.1:40115 refuses connections: LM Studio's server is not "
     "running there.",
     "• studio (`auto`): weg: 127.0.0.1:40115 nimmt keine Verbindungen an: der Server von LM "
     "Studio läuft dort nicht."),
    ("❌ `bald` is not a duration such as 30s, 5m or 1h (a bare number is seconds).",
     "❌ `bald` ist keine Dauer wie 30s, 5m oder 1h (eine bloße Zahl sind Sekunden)."),
    ("Unloaded `q/q3` on studio, `q/q3` on laptop.",
     "Entladen: `q/q3` auf studio, `q/q3` auf laptop."),
    ("zai ≈ 0.11 ¢", "zai ≈ 0,11 ¢"),
    ("Tokens today everywhere: 5 of 9 used", "Tokens heute überall: 5 von 9 verbraucht"),
    ("⏹ Stopped. Its question was deleted.", "⏹ Gestoppt. Die Frage dazu wurde gelöscht."),
    ("❌ `q/q3` on studio is answering somebody.",
     "❌ `q/q3` auf studio antwortet gerade jemandem."),
    ("❌ `q3` fits more than one model: `a/q3`, `b/q3`. Say more of it.",
     "❌ `q3` passt auf mehr als ein Modell: `a/q3`, `b/q3`. Sag mehr davon."),
    ("💾 **Dr. Watson** is saved. `/persona Dr. Watson` lets it answer here.",
     "💾 **Dr. Watson** ist gespeichert. Mit `/persona Dr. Watson` antwortet sie hier."),
    ("alpha: in memory, 1 of 4 slots taken, has read this conversation",
     "alpha: im Speicher, 1 von 4 Plätzen belegt, hat dieses Gespräch gelesen"),
    ("request type code (zai, alpha); zai: cloud, at most $0.0024",
     "Frageart code (zai, alpha); zai: Cloud, höchstens 0,0024 $"),
    ("• beta (`auto`): no model can serve: `q/q3`: cannot see images, and 1 more",
     "• beta (`auto`): kein Modell kann es: `q/q3`: kann keine Bilder sehen, und 1 weitere"),
    ("ℹ The persona Watson is gone, so sage answers. `/persona` chooses anew.",
     "ℹ Die Persona Watson gibt es nicht mehr, darum antwortet sage. `/persona` wählt neu."),
    ("❌ `Notes; v2: new, last.txt` has no text in it.",
     "❌ `Notes; v2: new, last.txt` enthält keinen Text."),
    ("❌ The message and its answer need about 9,000 tokens, but your hosts read at most 8,192, "
     "and it stays here: this channel is local only. Shorten it, or choose a model with "
     "a larger context.",
     "❌ Die Nachricht und ihre Antwort brauchen etwa 9.000 Tokens, aber deine Rechner lesen "
     "höchstens 8.192, und sie bleibt hier: dieser Kanal bleibt lokal. Kürze sie, oder "
     "wähle ein Modell mit größerem Kontext."),
    ("☁ zai cannot be asked here: the place of a quoted message is local only; ask again without "
     "quoting it.",
     "☁ zai kann hier nicht gefragt werden: der Ort, von dem eine zitierte Nachricht kommt, bleibt "
     "lokal; frag noch einmal, ohne sie zu zitieren."),
    ("🔒 ☁ zai was not asked (nobody knows whether the place of an earlier message is local only).",
     "🔒 ☁ zai wurde nicht gefragt (niemand weiß, ob der Ort, von dem eine frühere Nachricht "
     "kommt, lokal bleibt)."),
    ("☁ zai cannot be asked here: a remembered fact was said in private; ask once more, and it is "
     "left out.",
     "☁ zai kann hier nicht gefragt werden: etwas Gemerktes wurde vertraulich gesagt; frag noch "
     "einmal, dann bleibt es weg."),
    ("☁ zai cannot be asked here: the author of this message keeps their words here; only they "
     "can open what they say from then on, by `/settings local_only:off`.",
     "☁ zai kann hier nicht gefragt werden: wer diese Nachricht schrieb, hält seine Worte hier; "
     "nur die Person selbst kann öffnen, was sie von da an sagt, mit `/einstellungen "
     "nur_lokal:aus`."),
    ("the author of the persona's prompt keeps their words here",
     "wer den Prompt der Persona schrieb, hält seine Worte hier"),
    ("☁ zai cannot be asked here: an earlier message was for persona diary, which is local only "
     "or unknown.",
     "☁ zai kann hier nicht gefragt werden: eine frühere Nachricht war für Persona diary, die "
     "lokal bleibt oder unbekannt ist."),
    ("• zai (`glm`): zai has no money left for us: no balance, or the key belongs to another "
     "endpoint of this provider (Please recharge.).",
     "• zai (`glm`): zai hat für uns kein Geld mehr: kein Guthaben, oder der Schlüssel gehört zu "
     "einer anderen Adresse dieser Cloud (Please recharge.)."),
    ("• Settings line 2, column 6: broken YAML: mapping values are not allowed here",
     "• Einstellungen, Zeile 2, Spalte 6: fehlerhaftes YAML: hier darf kein Schlüssel mit "
     "Doppelpunkt stehen"),
)  # fmt: skip
"""Lines as people met them, which were told in German by halves."""


@pytest.mark.parametrize(("english", "german"), HALF_ENGLISH)
def test_a_line_of_many_parts_is_german_to_its_end(english: str, german: str) -> None:
    assert told(english, Locale.german) == german


@pytest.mark.parametrize(
    ("act", "german"),
    [
        ("load models", "Modelle laden"),
        ("drain hosts", "Rechner freigeben"),
        ("pin models", "Modelle anheften"),
        ("put up a board", "eine Tafel aufstellen"),
        ("put a question before others'", "eine Frage vor die anderer stellen"),
    ],
)
def test_what_only_admins_may_is_named_in_german(act: str, german: str) -> None:
    with pytest.raises(NotPermitted) as refused:
        check_may_manage(act, is_allowed=False)
    assert told(f"❌ {refused.value}", Locale.german).startswith(
        f"❌ Das dürfen nur Admins ({german}): wem der Bot gehört"
    )


@pytest.mark.parametrize("kind", [*FailureKind, "refused"])
def test_why_a_call_failed_is_german_with_its_cause(kind: RefusalKind) -> None:
    failed = to_error(
        Verdict(kind, "the connection broke"), Endpoint("http://x", "m", source="alpha")
    )
    said = told(str(failed), Locale.german)
    assert said.endswith(": die Verbindung brach ab.")
    assert mixed(said) == []


def test_an_answer_keeps_its_words_and_all_around_them_is_german() -> None:
    said = "⏹ Stopped.\n-# Retry"
    (view,) = ended(
        said, Stopped(TURN, RECEIPT, "", by_asker=True), notices=["zai was asked again."],
        has_thoughts=False, has_footer=True, locale=Locale.german,
    )  # fmt: skip
    assert view.content == (
        f"{said}\n-# ⏹ Gestoppt.\n-# ℹ zai wurde noch einmal gefragt.\n"
        "-# qwen/qwen3-30b-a3b-2507 · studio-1 · 90 Tokens · 30 tok/s · 0,5 s bis zum ersten Token"
    )
    (cut,) = (cut_short(each, Locale.german) for each in (view,))
    assert cut.content.endswith(
        "darf hier keine Nachrichten mehr senden, darum endet die Antwort hier."
    )


def test_a_status_is_german_where_its_readers_are() -> None:
    view = ReplyView(has_footer=True, locale=Locale.german)
    for event in (STARTED, Queued(HOST, MODEL, 2, seconds=9.0)):
        view.on_event(event, 0.0)
    (message,) = view.messages(1.0)
    assert (
        message.content
        == f"⏳ Warte auf `{MODEL}` auf studio-1: Platz 2 in der Schlange · etwa 9,0 s"
    )
    view.on_event(TextDelta("thinking"), 1.0)
    view.on_event(Silence(12.0), 2.0)
    (message,) = view.messages(13.0)
    assert message.content == "thinking\n-# ⏳ seit 12 s kein Wort; es kann noch weitergehen"


def test_a_load_and_its_end_are_german_where_its_readers_are() -> None:
    view = LoadView("🔀 `x` ist gewählt.\n> off", "", "t", ALICE, Locale.german)
    view.step = Loading(HOST, MODEL, 0.5, seconds_left=3.0)
    bar = f"📦 Lade `{MODEL}` auf studio-1\n`████████░░░░░░░░` 50 % · noch 3,0 s"
    assert view.messages(0.0)[0].content == f"🔀 `x` ist gewählt.\n> off\n{bar}"
    view.end("⏹ Cancelled. Others wait for this load, so it goes on.")
    end = "⏹ Abgebrochen. Andere warten auf dieses Laden, darum geht es weiter."
    assert view.messages(0.0)[0].content == f"🔀 `x` ist gewählt.\n> off\n{end}"
    view.overtake("📤 It left memory again: evicted to make room for on.")
    since = "📤 Es hat den Speicher wieder verlassen: verdrängt, um Platz für on zu machen."
    assert view.messages(0.0)[0].content == f"🔀 `x` ist gewählt.\n> off\n{end}\n{since}"


# --- what it costs, and names -----------------------------------------------------------------


class Counted:
    """A pattern that notes when it is tried."""

    def __init__(self, pattern: re.Pattern[str], tried: list[str]) -> None:
        self._pattern, self._tried = pattern, tried

    def fullmatch(self, text: str) -> re.Match[str] | None:
        self._tried.append(self._pattern.pattern)
        return self._pattern.fullmatch(text)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which patterns were tried, line for line."""
    whole, patterns = _languages._book("de")  # pyright: ignore[reportPrivateUsage]
    found = list[str]()
    book = {
        word: [(at, signs, own, Counted(one, found), said) for at, signs, own, one, said in those]
        for word, those in patterns.items()
    }
    counted = Mock(return_value=(whole, book))
    monkeypatch.setattr(_languages, "_book", counted)
    _languages._line.cache_clear()  # pyright: ignore[reportPrivateUsage]
    return found


MADE_UP = {
    "small phrases": "".join(f"w{n} is x{n}, y; " for n in range(700)),
    "our own words": "off is busy: a, up and 3 more; " * 400,
    "colons": "a: " * 3000,
    "commands": "`/why` " * 1200,
    "lines": "a is b\n" * 1500,
    "one word": "x" * 6000,
}


@pytest.mark.parametrize("what", MADE_UP)
def test_nobody_keeps_lantern_busy_with_a_line_of_their_own(what: str, tried: list[str]) -> None:
    text = f"❌ There is no model `{MADE_UP[what][:6000]}`."
    told(text, Locale.german)
    assert len(tried) <= 600


@pytest.mark.parametrize(
    ("line", "most"),
    [
        (f"📦 Loading `{MODEL}` on studio-1", 1),
        (f"⏳ Waiting for `{MODEL}` on studio-1: place 2 in the queue · about 9.0 s", 2),
        (f"{MODEL} · studio-1 · 90 tokens · 30 tok/s · 0.5 s to first token", 2),
        ("Dieser Satz ist nicht von uns, und nichts an ihm ist bekannt; er hat drei Teile.", 0),
    ],
)
def test_of_a_usual_line_few_patterns_are_tried(line: str, most: int, tried: list[str]) -> None:
    told(line, Locale.german)
    assert len(tried) <= most


def test_no_gap_is_tried_at_a_second_place() -> None:
    """A line of a thousand signs took twenty seconds where a pattern had five gaps."""
    _, patterns = _languages._book("de")  # pyright: ignore[reportPrivateUsage]
    for _, _, own, pattern, _ in chain.from_iterable(patterns.values()):
        assert pattern.pattern.count("(?>") == len(own) - 2


def test_of_a_long_text_so_much_is_told_and_of_a_line_so_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _languages._line.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(_languages, "_PHRASES", 3)
    monkeypatch.setattr(_languages, "_MOST_PHRASES", 4)
    # The line itself, and one phrase for each part.
    assert told("on · off · busy", "de") == "an · aus · busy"
    assert told("on · off\non\non", "de") == "an · aus\nan\non"
    _languages._line.cache_clear()  # pyright: ignore[reportPrivateUsage]


def test_a_phrase_as_long_as_no_message_has_gaps_of_stays_english() -> None:
    most = _languages._LONGEST  # pyright: ignore[reportPrivateUsage]
    loads, end = "Loading `{}` on alpha", len("Loading `` on alpha")
    assert told(loads.format("x" * (most - end)), "de").startswith("Lade")
    assert told(loads.format("x" * (most - end + 1)), "de").startswith("Loading")


OWN_WORDS = ("busy", "plan", "free", "on", "up", "unknown")


@pytest.mark.parametrize("name", OWN_WORDS)
def test_a_name_in_a_footer_stays_whatever_it_spells(name: str) -> None:
    host, cloud = HostName(name), ProviderName(name)
    at_home = replace(RECEIPT, host=host, model=ModelKey(name))
    away = replace(RECEIPT, host=None, provider=cloud, cost_micro_usd=20_000)
    before = Candidate(ModelKey(name), None, cloud, seconds=1.0, reason="")
    mixed_ = replace(at_home, before=(before,))
    for receipt, named in (
        (at_home, f"-# {name} · {name} · 90 Tokens"),
        (away, f"-# ☁ {name} · "),
        (mixed_, f"-# ☁ {name} · "),
    ):
        (view,) = restored(
            stored_turn("Hello.", receipt=receipt), has_footer=True, locale=Locale.german
        )
        assert named in view.content
        assert "90 Tokens" in view.content
        stop = Stopped(TURN, receipt, "", by_asker=True)
        (view,) = ended(
            "Hello.", stop, notices=[], has_thoughts=False, has_footer=True, locale=Locale.german
        )
        assert named in view.content
        assert "⏹ Gestoppt." in view.content


def test_the_mark_of_words_without_a_receipt_keeps_its_name() -> None:
    (view,) = ended(
        "Hello.", Failed(TURN, ConfigError("x")), notices=[], has_thoughts=False, has_footer=True,
        said_by="☁ plan", locale=Locale.german,
    )  # fmt: skip
    assert "-# ☁ plan\n" in view.content


@pytest.mark.parametrize("name", OWN_WORDS)
def test_all_that_is_said_of_a_name_keeps_it(name: str) -> None:
    """Whoever is called like a word of ours is named as whoever is not."""
    wrong = list[tuple[str, str]]()
    for text in lines_people_meet():
        for line in text.split("\n"):
            called = re.sub(r"(?<![\w/])(alpha|zai)(?!\w)", name, line)
            expected = re.sub(r"(?<![\w/])(alpha|zai)(?!\w)", name, told(line, "de"))
            if told(called, "de") != expected:
                wrong.append((called, expected))
    assert wrong == []


@pytest.mark.parametrize("name", OWN_WORDS)
def test_names_in_lists_and_on_buttons_stay_whatever_they_spell(name: str) -> None:
    option = ModelOption(ModelKey("m"), f"warm · {name}", "m", "m", (HostName(name),))
    (choice,) = model_choices([option], Locale.german)
    assert choice.name == f"m · warm · {name}"
    away = replace(option, key=ModelKey(name), mark=f"{name} · price unknown", hosts=())
    (choice,) = model_choices([away], Locale.german)
    assert choice.name == f"m · {name} · Preis unbekannt"
    view = ReplyView(has_footer=True, locale=Locale.german)
    here = Candidate(MODEL, HOST, seconds=75.0, reason="")
    cloud = Candidate(ModelKey("glm"), None, ProviderName(name), seconds=2.0, reason="")
    for event in (STARTED, Queued(HOST, MODEL, 2, seconds=75.0), Offered(TURN, here, None, cloud)):
        view.on_event(event, 0.0)
    (message,) = view.messages(1.0)
    assert message.labels == ((Act.CLOUD, name),)


def test_a_pattern_is_found_by_a_word_that_stands_by_itself() -> None:
    _, patterns = _languages._book("de")  # pyright: ignore[reportPrivateUsage]
    for word, those in patterns.items():
        for _, _, own, _, _ in those:
            assert not word or word in re.findall(r"\w+", "xq".join(own)), own


def test_pieces_that_others_hold_are_looked_up_once() -> None:
    """A sentence of others with all joints in it was looked up five hundred times."""
    line = (
        "Nothing here is of ours, and so it stays; it has parts, too, of which. Each is. Cut, so."
    )
    said, phrases = _languages._line(line, "de", frozenset[str]())  # pyright: ignore[reportPrivateUsage]
    assert said == line
    assert phrases <= 24
