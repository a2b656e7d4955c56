"""Pictures of what people see in Discord, for the documents: real messages, drawn in its look.

    python -m bench.pictures [--emoji FOLDER] [--font FILE.woff2 ...] [scene ...]

``docs/pictures/scenes.json`` holds the messages, as a stand-in for Discord had been sent them by a
running Lantern over simulated hosts and providers; none is written by hand. Beside them
stand the form that was sent with what was typed, the names that Discord looks up, and the words
that are said by people and models within messages that are Lantern's. Each scene
becomes a PNG beside it, drawn by the browser that the group ``browser`` drives. Discord draws emoji
by Twemoji: ``--emoji`` is a folder with its SVGs (``1f501.svg``), without it the browser's own
serve. The weights of ``--font`` are in its files' names (``inter-latin-600-normal.woff2``).
"""

import argparse
import asyncio
import base64
import html
import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
SCENES = FOLDER / "scenes.json"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MOST_BYTES = 90_000
WIDTH = 760

Json: TypeAlias = Mapping[str, Any]
Assets: TypeAlias = tuple[Path | None, Sequence[Path]]

_V2 = 1 << 15
_EMOJI = re.compile(
    "[\U0001f300-\U0001faff\u2600-\u27bf\u23e9-\u23fa\u25c0\u25b6\u2b1b-\u2b55]\ufe0f?"
)
_PLAIN = frozenset("✓✗➜❯✕")
_COLOURS = ("#5865f2", "#3ba55d", "#eb459e", "#faa61a")
_BUTTONS = {1: "#5865f2", 2: "#4e5058", 3: "#248046", 4: "#da373c"}
STYLE = """
*{box-sizing:border-box;margin:0} body{background:#313338;color:#dbdee1;
font:400 15px/1.38 Inter,"gg sans","Noto Sans","Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
#s{padding:14px 18px 18px} .m{display:flex;gap:14px;padding:7px 0;position:relative}
.a{width:38px;height:38px;border-radius:50%;flex:none;display:grid;place-items:center;
color:#fff;font-weight:600;font-size:16px} .b{flex:1;min-width:0} .n{font-weight:600;color:#f2f3f5}
.n span{background:#5865f2;border-radius:4px;font-size:10px;padding:1px 5px;margin-left:5px;
color:#fff;vertical-align:2px;font-weight:600} .n time{color:#949ba4;font-size:12px;
font-weight:400;margin-left:7px} .r{color:#949ba4;font-size:13px;margin:0 0 2px 52px}
.e{background:#2b2d31;border-left:3px solid #5865f2;border-radius:4px;padding:7px 14px 7px 12px}
.e+.e{margin-top:8px}
.e .h,.o{color:#949ba4;font-size:12.5px;margin-top:5px} p{white-space:pre-wrap;margin:0;
overflow-wrap:anywhere} .u{background:#3c4270;color:#c9cdfb;border-radius:3px;padding:0 2px}
code{background:#1e1f22;border-radius:4px;padding:1px 5px;
font:13px/1.3 "DejaVu Sans Mono",monospace}
pre{background:#1e1f22;border:1px solid #232428;border-radius:5px;padding:9px 11px;margin:6px 0;
max-width:620px;white-space:pre-wrap;font:13px/1.4 "DejaVu Sans Mono",monospace}
small{color:#949ba4;font-size:12.5px;display:block}
blockquote{border-left:4px solid #4e5058;padding-left:11px}
h2{font-size:21px;color:#f2f3f5;margin:2px 0 6px} h3{font-size:18px;color:#f2f3f5;margin:2px 0 5px}
.k{display:flex;gap:8px;flex-wrap:wrap;margin-top:8px} .k b{font-weight:500;font-size:14px;
color:#fff;border-radius:7px;padding:6px 13px;min-height:32px} .k b.d{opacity:.5}
.x{background:#1e1f22;border-radius:7px;padding:9px 12px;margin-top:6px;color:#dbdee1;width:100%;
max-width:560px;display:flex;justify-content:space-between} .x i{font-style:normal;color:#87898c}
.l{background:#1e1f22;border-radius:7px;max-width:560px;width:100%;margin-top:4px}
.l div{padding:8px 12px;border-top:1px solid #3a3c42} .l small{margin-top:1px}
.v{background:#2b2d31;border:1px solid #3f4147;border-radius:9px;padding:14px 16px;max-width:640px}
.v>*+*{margin-top:8px} img.i{max-width:550px;border-radius:8px;margin-top:8px;display:block}
img.j{width:1.25em;height:1.25em;vertical-align:-.25em} .c{background:#2b2d31;border-radius:9px;
padding:8px;margin-bottom:2px} .c div{padding:9px 12px;border-radius:5px;font-weight:500}
.c div:first-child{color:#949ba4;font-size:12.5px;font-weight:600} .c div.t{background:#404249}
.f{background:#383a40;border-radius:9px;padding:12px 14px;margin-bottom:14px;color:#dbdee1}
.f b{background:#1e1f22;border-radius:5px;padding:2px 7px;font-weight:500} a{color:#00a8fc}
.q{border-bottom:1px solid #3f4147;color:#f2f3f5;font-weight:600;padding:0 0 9px;margin-bottom:6px}
.w{background:#383a40;border-radius:9px;padding:16px 18px;margin:10px 0 4px;max-width:560px}
.w h3{margin-bottom:10px} .w label{color:#dbdee1;display:block;font-size:13.5px;font-weight:600;
margin-top:12px} .w small{margin:1px 0} .w p{background:#1e1f22;border-radius:6px;padding:8px 11px;
margin-top:5px;min-height:37px} .w p.g{color:#87898c} .w .k{margin-top:14px} .y{background:#2b2d31;
border:1px solid #3f4147;border-radius:7px;padding:9px 12px;margin-top:6px;max-width:400px}
"""


def main() -> int:
    """Draws the scenes named, or all; says how large each picture is."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--emoji", type=Path)
    ask.add_argument("--font", type=Path, action="append", default=[])
    ask.add_argument("scenes", nargs="*")
    given = ask.parse_args()
    scenes: dict[str, list[Json]] = json.loads(SCENES.read_text(encoding="utf-8"))
    wanted = given.scenes or list(scenes)
    pages = {
        f"{name}-{nth}" if len(scenes[name]) > 1 else name: page(state, (given.emoji, given.font))
        for name in wanted
        for nth, state in enumerate(scenes[name], 1)
    }
    sizes = asyncio.run(drawn(pages))
    for name, size in sizes.items():
        print(f"{name}.png {size / 1000:.0f} kB")
    return int(max(sizes.values()) > MOST_BYTES)


async def drawn(pages: Mapping[str, str]) -> dict[str, int]:
    """Each page as a PNG for fine screens, made small; their bytes."""
    # Of the group `browser`, which is not installed where no browser is.
    playwright: Any = import_module("playwright.async_api")
    path = next(filter(None, map(shutil.which, BROWSERS)))
    sizes: dict[str, int] = {}
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        sheet = await browser.new_page(
            device_scale_factor=1.5, viewport={"width": WIDTH, "height": 9}
        )
        for name, text in pages.items():
            await sheet.set_content(text)
            await sheet.evaluate("document.fonts.ready")
            taken = await sheet.locator("#s").screenshot()
            file = io.BytesIO()
            image = Image.open(io.BytesIO(taken)).convert("RGB")
            image.quantize(128, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
            sizes[name] = (FOLDER / f"{name}.png").write_bytes(file.getvalue())
        await browser.close()
    return sizes


def page(state: Json, assets: Assets) -> str:
    """One moment of a channel, as HTML."""
    faces = "".join(
        f"@font-face{{font-family:Inter;font-weight:{re.findall(r'-([1-9]00)-', file.name)[0]};"
        f"src:url(data:font/woff2;base64,{base64.b64encode(file.read_bytes()).decode()})}}"
        for file in assets[1]
    )
    inner = "".join(choices(state) if "choices" in state else place(state))
    shown = _EMOJI.sub(lambda found: emoji(found[0], assets[0]), inner)
    return f'<meta charset="utf-8"><style>{faces}{STYLE}</style><div id="s">{shown}</div>'


def emoji(sign: str, folder: Path | None) -> str:
    """A sign as Discord draws it, where its picture is at hand."""
    file = None if folder is None else folder / f"{ord(sign[0]):x}.svg"
    if file is None or sign in _PLAIN or not file.exists():
        return sign
    data = base64.b64encode(file.read_bytes()).decode()
    return f'<img class="j" src="data:image/svg+xml;base64,{data}">'


def choices(state: Json) -> Iterator[str]:
    """What stands above the field while somebody types a command."""
    rows = "".join(
        f'<div class="{"" if nth else "t"}">{html.escape(one["name"])}</div>'
        for nth, one in enumerate(state["choices"])
    )
    yield f'<div class="c"><div>{state["option"].upper()}</div>{rows}</div>'
    typed = f"{state['command']} {state['option']}: <b>{state['typed'] or '…'}</b>"
    yield f'<div class="f">{typed}</div>'


def place(state: Json) -> Iterator[str]:
    """A channel or a thread, and the form that somebody is about to send there."""
    if "thread" in state:
        yield f'<div class="q">🧵 {html.escape(state["thread"])}</div>'
    yield from messages(state.get("messages", ()), state.get("names", {}))
    if "form" in state:
        yield from form(state["form"], state["typed"])


def form(asked: Json, typed: Mapping[str, str]) -> Iterator[str]:
    """A form with what was typed in it; of an empty field what stands there in grey."""
    yield f'<div class="w"><h3>{html.escape(asked["title"])}</h3>'
    for row in asked["components"]:
        field = row["component"]
        given = typed.get(field["custom_id"]) or field.get("value") or ""
        grey = html.escape(field.get("placeholder") or "")
        yield f"<label>{html.escape(row['label'])}{' *' if field['required'] else ''}</label>"
        yield f"<small>{html.escape(row.get('description') or '')}</small>"
        yield f"<p>{html.escape(given.strip())}</p>" if given else f'<p class="g">{grey}</p>'
    yield '<div class="k"><b style="background:#4e5058">Cancel</b>'
    yield '<b style="background:#5865f2">Submit</b></div></div>'


def messages(seen: Sequence[Json], names: Mapping[str, str]) -> Iterator[str]:
    """The messages of a channel; ``names`` are shown in place of what Discord would look up."""
    authors = list(dict.fromkeys(message["author"] for message in seen))
    for message in seen:
        name = message["author"]
        is_bot = bool(message["bot"])
        colour = _COLOURS[0] if name == "lantern" else _COLOURS[1 + authors.index(name) % 3]
        yield f'<div class="m {"e" if message["ephemeral"] else ""}">'
        yield f'<div class="a" style="background:{colour}">{name[0].upper()}</div><div class="b">'
        shown = f"{name.title() if name.islower() else name}{'<span>APP</span>' if is_bot else ''}"
        yield f'<div class="n">{shown}<time>20:41</time></div>'
        if not message["flags"] & _V2:
            text = message["content"] or ""
            for number, name in names.items():
                text = text.replace(number, name)
            yield from marked(text)
        for file in message["attachments"]:
            if not file["filename"].endswith(".png"):
                size = f"<small>{file['size'] / 1024:.1f} KB</small>"
                yield f'<div class="y"><a>📄 {html.escape(file["filename"])}</a>{size}</div>'
                continue
            data = base64.b64encode((FOLDER / "attached" / file["filename"]).read_bytes()).decode()
            yield f'<img class="i" src="data:image/png;base64,{data}">'
        yield "".join(component(part) for part in message["components"])
        if message["ephemeral"]:
            yield '<div class="h">Only you can see this</div>'
        yield "</div></div>"


def component(part: Json) -> str:
    """One of Discord's components, with what is in it."""
    kind, inner = part["type"], "".join(map(component, part.get("components", ())))
    label = html.escape(part.get("label") or part.get("placeholder") or "")
    match kind:
        case 1:
            return f'<div class="k">{inner}</div>'
        case 2:
            sign = _sign(part)
            off = "d" if part.get("disabled") else ""
            colour = _BUTTONS[part["style"]]
            return f'<b class="{off}" style="background:{colour}">{f"{sign} {label}".strip()}</b>'
        case 3:
            given = [option for option in part["options"] if option.get("default")]
            head = html.escape(given[0]["label"]) if given else label or "Make a selection"
            listed = "" if given or part["custom_id"].startswith("set:") else options(part)
            return f'<div class="x">{head}<i>⌄</i></div>{listed}'
        case 5 | 6 | 7 | 8:
            return f'<div class="x"><i>{label}</i><i>⌄</i></div>'
        case 10:
            return "".join(marked(part["content"]))
        case 17:
            return f'<div class="v">{inner}</div>'
        case _:
            return inner


def options(part: Json) -> str:
    """The lines of a select that was opened."""
    lines = (
        f"<div>{_sign(one)} {html.escape(one['label'])}"
        f"<small>{html.escape(one.get('description') or '')}</small></div>"
        for one in part["options"]
    )
    return f'<div class="l">{"".join(lines)}</div>'


def _sign(part: Json) -> str:
    found: Json = part.get("emoji") or {}
    return str(found.get("name", ""))


_MARKS = (
    (r"(?<![\w*])\*([^*\n]+)\*(?![\w*])", r"<em>\1</em>"),
    (r"&lt;@(?:&amp;)?\d+&gt;", '<span class="u">@Lantern</span>'),
    (r"&lt;([@#][^\d&][^&]*)&gt;", r'<span class="u">\1</span>'),
    (r"&lt;t:\d+:R&gt;", '<span class="u">a minute ago</span>'),
    (r"&lt;t:\d+:f&gt;", '<span class="u">23 November 2026 20:41</span>'),
    (r"(https://\S+)", r"<a>\1</a>"),
)


def marked(text: str) -> Iterator[str]:
    """Discord's Markdown, as far as these messages use it."""
    for part in re.split(r"(```\w*\n.*?(?:```|\Z))", text, flags=re.DOTALL):
        if part.startswith("```"):
            code = re.sub(r"\A```\w*\n|\n?```\Z", "", part)
            yield f"<pre>{html.escape(code)}</pre>"
            continue
        for line in part.strip("\n").split("\n") if part.strip() else ():
            yield _line(html.escape(line, quote=False))


def _line(line: str) -> str:
    # Code may stand within bold words, so these go first.
    line = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", line)
    parts = re.split(r"(`[^`]+`)", line)
    for place, text in enumerate(parts):
        if text.startswith("`"):
            parts[place] = f"<code>{text[1:-1]}</code>"
            continue
        for pattern, instead in _MARKS:
            parts[place] = re.sub(pattern, instead, parts[place])
    said = "".join(parts)
    for sign, tag in (("-# ", "small"), ("### ", "h3"), ("## ", "h2"), ("&gt; ", "blockquote")):
        if said.startswith(sign):
            return f"<{tag}>{said.removeprefix(sign)}</{tag}>"
    return f"<p>{said or '&nbsp;'}</p>"


if __name__ == "__main__":
    raise SystemExit(main())
