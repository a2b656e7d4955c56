"""Texts that mean harm, and what a reader of Discord would see of them."""

import re
from collections.abc import Iterator

from bot.policy.markup import harmless
from bot.policy.splitting import split_reply

_BLOCK = re.compile(r"```(?:[a-z0-9_+\-.#]+?\n)?\n*[^\n][\s\S]*?\n*```", re.IGNORECASE)
_SPAN = re.compile(r"(`+)[\s\S]*?[^`]\1(?!`)")
_MASKED = re.compile(
    r"\[((?:\[[^\]]*\]|[^\[\]]|\](?=[^\[]*\]))*)\]\("
    r"\s*<?((?:\([^)]*\)|[^\s\\]|\\.)*?)>?(?:\s+['\"][\s\S]*?['\"])?\s*\)"
)
_SIGN = re.compile(r"[\\`\[]")
"""Anything else is plain text."""
_DROPPED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)


def live_links(message: str) -> list[str]:
    """Masked links that a reader of Discord cannot tell from what they claim to be.

    As its Markdown reads a message: escapes, blocks of three backticks anywhere, inline code over
    lines, then links, whose text may say the host at its end.
    """
    found: list[str] = []
    at = 0
    while at < len(message):
        if message[at] == "\\":
            at += 2
        elif code := _BLOCK.match(message, at) or _SPAN.match(message, at):
            at = code.end()
        elif link := _MASKED.match(message, at):
            address = re.sub(r"\\([^0-9A-Za-z\s])", r"\1", link[2])
            # A browser takes a backslash for a slash, and what stands before an @ for a name.
            host = address.replace("\\", "/").partition("://")[2].partition("/")[0]
            host = host.rpartition("@")[2].partition("?")[0].partition("#")[0].lower()
            claims = re.sub(r"^https?://", "", link[1].strip().lower()).partition("/")[0]
            is_said = link[1].endswith(f" ({host})") or claims == host
            if address.lower().startswith(("http://", "https://")) and not is_said:
                found.append(link[0])
            at = link.end()
        else:
            sign = _SIGN.search(message, at + 1)
            at = sign.start() if sign else len(message)
    return found


MASKS = (
    "[bank.example](https://evil.example)",
    "[bank.example](<https://evil.example>)",
    "[bank.example]( https://evil.example )",
    "[bank.example](https://evil.example 'bank.example')",
    '[bank.example](https://evil.example "bank.example")',
    "[bank.example](\nhttps://evil.example)",
    "[bank.example](https\\://evil.example)",
    "[bank.example](HTTPS://EVIL.EXAMPLE)",
    "[bank.example](https://bank.example@evil.example)",
    "[bank.example](https://evil.example\\@bank.example)",
    "[bank.example](https://evil.example/(bank.example))",
    "[[bank.example]](https://evil.example)",
    "[bank [.] example](https://evil.example)",
    "[bank.example\n](https://evil.example)",
    "[bank.example/evil.example](https://evil.example)",
    "[evil.example@bank.example](https://evil.example)",
    "[https://bank.example](https://evil.example)",
)
HIDERS = (
    "",
    "\x00",
    "\x1b",
    "\x7f",
    "\xad",
    "\u200b",
    "\u200d",
    "\u202e",
    "\u2066",
    "\ufe0f",
    "\ufeff",
)
AROUND = ("{}", "` {}", "`` {} `", "~~~\n{}\n~~~", "````\n{}\n```\n{}\n````", "```\na\n``` {}\n```",
          "```\n```\n```\n{}\n```", "see ``` here\n```\n{}\n```", "a ` b\n`x {}`", "\\` {} `",
          "`\n```\nx`y {}\n```", "```{}\n", "> ```\n{}", "    {}", "# {}")  # fmt: skip


def hostile_texts() -> Iterator[str]:
    """Every mask with something unseen at each of its signs, and in every surrounding."""
    for mask in MASKS:
        for hider in HIDERS:
            yield mask.replace("](", f"]{hider}(").replace("https", f"ht{hider}tps")
            yield mask.replace("](", f"]({hider}").replace("[", f"[{hider}")
        for around in AROUND:
            yield around.replace("{}", mask)


def dropped(message: str) -> str:
    """Without what Discord may drop."""
    return _DROPPED.sub("", message)


def messages_of(text: str) -> Iterator[str]:
    """What Discord may make of a text: as it is sent, and without what it may drop."""
    for message in split_reply(harmless(text), 200):
        yield message
        yield dropped(message)
