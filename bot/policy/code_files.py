"""Long code of an answer, taken out of it as files."""

import re

from bot.domain.values import value
from bot.policy.markup import lines_of
from bot.policy.splitting import cut_reply

MOST_LINES = 60
"""A longer block scrolls past a screen, and selecting it on a phone is misery."""

MOST_FILES = 10
"""Files of one message: Discord's limit."""

_ENDINGS = {
    "bash": "sh", "sh": "sh", "shell": "sh", "zsh": "sh", "console": "sh", "powershell": "ps1",
    "c": "c", "h": "h", "c++": "cpp", "cpp": "cpp", "c#": "cs", "csharp": "cs", "cs": "cs",
    "css": "css", "csv": "csv", "dart": "dart", "diff": "diff", "go": "go", "golang": "go",
    "haskell": "hs", "html": "html", "ini": "ini", "java": "java", "javascript": "js", "js": "js",
    "jsx": "jsx", "json": "json", "julia": "jl", "kotlin": "kt", "latex": "tex", "tex": "tex",
    "lua": "lua", "markdown": "md", "md": "md", "perl": "pl", "php": "php", "python": "py",
    "py": "py", "python3": "py", "r": "r", "ruby": "rb", "rb": "rb", "rust": "rs", "rs": "rs",
    "scala": "scala", "sql": "sql", "swift": "swift", "toml": "toml", "ts": "ts", "tsx": "tsx",
    "typescript": "ts", "xml": "xml", "yaml": "yaml", "yml": "yaml", "zig": "zig",
}  # fmt: skip
"""How the file of a language ends; others end in txt."""


@value
class CodeFile:
    """One block of code as a file."""

    name: str
    code: str


def long_code(text: str) -> tuple[CodeFile, ...]:
    """The first ten blocks of an answer that are longer than 60 lines or than its messages.

    A block that was never closed ends with the text.
    """
    # The last part ends with the text, which cuts nothing.
    cuts = [part.end for part in cut_reply(text)[:-1] if part.fence is not None]
    found: list[CodeFile] = []
    block, language, start = list[str](), "", 0
    for line in lines_of(text):
        if line.before is None and line.after is not None:
            block, language, start = [], line.after.info.lower(), line.start
        elif line.after is not None:
            block.append(line.text)
        is_end = line.after is None or line.end == len(text)
        is_cut = any(start < cut < line.end for cut in cuts)
        if is_end and block and (len(block) > MOST_LINES or is_cut):
            word, *_ = re.split(r"[\s{,:]", language)
            ending = _ENDINGS.get(word, "txt")
            nth = f"-{len(found) + 1}" if found else ""
            found.append(CodeFile(f"answer{nth}.{ending}", "".join(block)))
        if is_end:
            block = []
    return tuple(found[:MOST_FILES])
