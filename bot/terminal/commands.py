"""What was typed, as a value: a message or one of the slash commands Discord has too."""

import shlex
from collections.abc import Awaitable, Callable, Iterable, Iterator

from bot.chat.catalog import Catalog, ModelOption
from bot.domain.errors import RequestRefused
from bot.domain.ids import AUTO, UserId
from bot.domain.values import value
from bot.policy.names import nearest


@value
class Command:
    """One line of input. ``name`` is ``chat`` for a plain message."""

    name: str
    words: tuple[str, ...] = ()
    """Positional words."""
    options: tuple[tuple[str, str], ...] = ()
    """From ``--persona sage``, ``--persona=sage`` and ``persona:sage`` alike."""

    def option(self, name: str) -> str | None:
        """The value of an option, or None."""
        return dict(self.options).get(name)

    def word(self, index: int) -> str | None:
        """A positional word, or None."""
        return self.words[index] if index < len(self.words) else None


@value
class CommandForm:
    """How a slash command is written, for help and for errors."""

    name: str
    form: str
    does: str
    options: tuple[str, ...] = ()
    words: int = 0
    """How many words may stand beside the options; more are refused, not passed over."""
    run: Callable[[tuple[str, ...]], Awaitable[str]] | None = None
    """Of a command that only one chat has, such as the demo's own: does it, says what was done."""


ONLY_DISCORD = {
    "thread": "`/thread` opens a thread in Discord; here `/reset` begins a fresh conversation.",
    "fleet board": "`/fleet board` is a message in Discord; here `/fleet status` shows the same.",
}
"""What Discord alone has, though it stands beside commands that are here as well."""

_SCOPE = ("scope",)
FLEET_VERBS = ("status", "models", "load", "unload", "pin", "unpin", "drain", "resume")

COMMANDS: tuple[CommandForm, ...] = (
    CommandForm(
        "chat",
        "/chat MESSAGE [persona:P] [model:M] [type:T] [cache:off] [priority:low]",
        "a turn; type takes an order of routing.request_types, cache:off a new answer",
        ("persona", "model", "type", "cache", "priority"),
        1,
    ),
    CommandForm(
        "model",
        "/model [NAME|PROVIDER|auto] [me|channel|server]",
        "what answers, or switch",
        _SCOPE,
        2,
    ),
    CommandForm(
        "persona", "/persona [NAME] [me|channel|server]", "who answers, or switch", _SCOPE, 2
    ),
    CommandForm(
        "personas",
        "/personas list|show|create|edit|delete|export|try NAME [FILE] · import FILE",
        "create and edit take prompt:, description:, greeting:, who:, model:, local_only:, copy:",
        (
            *("prompt", "description", "greeting", "who", "scenario", "model", "local_only"),
            *("scope", "copy", "name", "replace"),
        ),
        3,
    ),
    CommandForm(
        "fleet",
        "/fleet status|models|[un]load|[un]pin MODEL [host:H]|drain HOST [2h]|resume HOST",
        "hosts; foreign:yes unloads what others loaded",
        ("host", "foreign"),
        3,
    ),
    CommandForm("retry", "/retry [model:M]", "answer the last message again", ("model",)),
    CommandForm("remember", "/remember FACT", "keep a fact that whoever answers is told", words=50),
    CommandForm("memories", "/memories [forget N]", "the facts that are remembered", words=2),
    CommandForm(
        "history", "/history [show|export [FILE]|forget yes]", "what is kept of your words", words=2
    ),
    CommandForm("continue", "/continue", "go on with the last reply"),
    CommandForm(
        "answers", "/answers [N]", "the answers to the last question; N is gone on from", words=1
    ),
    CommandForm("reset", "/reset", "a fresh conversation"),
    CommandForm("stop", "/stop", "stop the running reply (or press Ctrl-C)"),
    CommandForm("why", "/why", "why the last reply was made as it was"),
    CommandForm(
        "usage", "/usage [today|week|month|last month]", "tokens, cost, budget, savings", words=2
    ),
    CommandForm(
        "private", "/private [on|off]", "keep your words on the LAN, whatever fails", words=1
    ),
    CommandForm("settings", "/settings", "what admins set in Discord, and where"),
    CommandForm("help", "/help", "this list"),
    CommandForm("quit", "/quit", "leave"),
)


def parse(line: str, extra: tuple[str, ...] = ()) -> Command | None:
    """The command in a line; None for a blank one. ``extra`` names further commands.

    Raises:
        RequestRefused: an unknown command, words too many, or a quote left open.
    """
    text = line.strip()
    if not text:
        return None
    if not text.startswith("/"):
        return Command("chat", (text,))
    name, _, rest = text[1:].partition(" ")
    # What other chats in terminals call it.
    name = {"exit": "quit", "new": "reset", "clear": "reset"}.get(name.lower(), name.lower())
    if name == "model":
        # A provider is written `☁ zai` wherever one is told of, and may be typed so.
        rest = rest.replace("☁ ", "☁")
    forms = {form.name: form for form in COMMANDS}
    # Called unknown it read as if the guide were wrong.
    whole = " ".join((name, *rest.lower().split()[:1])) if name == "fleet" else name
    if (elsewhere := ONLY_DISCORD.get(whole)) is not None:
        raise RequestRefused(elsewhere)
    if name not in forms and name not in extra:
        near = ", ".join(f"/{n}" for n in nearest(name, (*forms, *extra))) or "/help"
        raise RequestRefused(f"There is no command `/{name}`. Nearest: {near}.")
    form = forms.get(name)
    if form is None:
        return _arguments(name, rest, ())
    command = _arguments(name, rest, form.options)
    # `/model qwen persistent` would switch and say nothing of the word it did not understand.
    if len(command.words) > form.words:
        surplus = " ".join(command.words[form.words :])
        raise RequestRefused(f"`{surplus}` is too much. It is written `{form.form}`.")
    return command


async def complete(
    catalog: Catalog,
    options: Callable[[str], Awaitable[Iterable[ModelOption]]],
    extra: tuple[str, ...],
    user: UserId,
    typed: str,
) -> Iterable[tuple[str, str]]:
    """Whole lines that could follow ``typed``, a slash command so far, each with a mark.

    A model's mark is how it stands now: warm, cold with seconds, away. ``options`` gives what may
    be chosen here.
    """
    name, space, rest = typed[1:].partition(" ")
    if not space:
        names = {form.name: form.does for form in COMMANDS} | dict.fromkeys(extra, "")
        return [(f"/{known}", does) for known, does in names.items() if known.startswith(name)]
    if name == "model":
        return [
            (f"/model {o.value}", o.mark if o.name == o.value else f"{o.name} · {o.mark}")
            for o in await options(rest)
        ]
    if name == "persona":
        return [(f"/persona {p.name}", p.description) for p in catalog.personas(rest, user=user)]
    if name == "fleet" and " " in rest:
        verb, _, model = rest.partition(" ")
        known = [option for option in catalog.models(model) if option.key != AUTO]
        return [(f"/fleet {verb} {option.key}", option.mark) for option in known]
    if name == "fleet":
        return [(f"/fleet {verb}", "") for verb in FLEET_VERBS]
    return []


def _arguments(name: str, rest: str, allowed: tuple[str, ...]) -> Command:
    try:
        # An apostrophe in a message is no quote; in a command's words a quote holds a name.
        pieces = rest.split() if name == "chat" else shlex.split(rest)
    except ValueError as error:
        raise RequestRefused(f"A quote is left open in `/{name} {rest}`.") from error
    words: list[str] = []
    options: list[tuple[str, str]] = []
    left = iter(pieces)
    for piece in left:
        found = _option(piece, left, allowed)
        # What is no option of this command is a word: "http://x.y" must reach the model whole.
        if found is None:
            words.append(piece)
        else:
            options.append(found)
    if name == "chat":
        words = [" ".join(words)] if words else []
    return Command(name, tuple(words), tuple(options))


def _option(
    piece: str, following: Iterator[str], allowed: tuple[str, ...]
) -> tuple[str, str] | None:
    """An option and its value, which may be the next piece; None for a plain word."""
    if not piece.startswith("--"):
        key, _, value = piece.partition(":")
        return (key, value) if value and key in allowed else None
    key, equals, value = piece[2:].partition("=")
    if key not in allowed:
        return None
    value = value if equals else next(following, "")
    if not value:
        raise RequestRefused(f"`--{key}` needs a value, as in `--{key} VALUE`.")
    return (key, value)
