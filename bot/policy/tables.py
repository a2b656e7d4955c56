"""Markdown's tables, which Discord does not know, as text that reads like one.

A narrow table becomes an aligned block of code; a wide one, which would wrap into a tangle on a
phone, a list with each cell behind its column's name. A table is one where its lines begin with a
bar and its second line parts head and rows.
"""

import re
import unicodedata

from bot.policy.markup import Line, lines_of

WIDTH = 60
"""Columns of a block: what Discord shows on a small window without a wrap."""

SAMPLE = 3
"""Rows by which a growing table is laid out: more would hold back what could be read already."""

_MOST_COLUMNS = 12
_LONGEST_HEAD = 200
"""Characters of all names together: in a list they come again with each row."""

_RULE = re.compile(r" {0,3}\|(?:[ \t]*:?-+:?[ \t]*\|)*(?:[ \t]*:?-+:?)?[ \t\r]*\n?")
_RULE_BEGUN = re.compile(r"[ |:\t\r-]*")
_BAR = re.compile(r"(?<!\\)\|")
_WRAPPED = re.compile(r"(\*\*|__|~~|`)([^\n]{1,200}?)\1")


def tabled(text: str, *, is_whole: bool = True) -> str:
    """The text with its tables as Discord can show them; what stands in fences stays as it is.

    Of a text that grows (``is_whole`` is False) a table is left out until its head, its rule and
    three rows are known, and its last row until that has ended: the result is a beginning of every
    later one, so that it may be split before the rest has come. In a whole text all rows count for
    the width.
    """
    # Of an unfinished line of blanks nobody knows yet whether it is a row.
    text = text if is_whole else text.rstrip(" ")
    if "|" not in text:
        return text
    lines, shown, at = list(lines_of(text)), list[str](), 0
    while at < len(lines):
        line = lines[at]
        is_edge = (line.before is None) != (line.after is None)
        if "```" in line.text and not (is_edge and line.text.strip().startswith("```")):
            # Discord pairs backticks from the top: it may see a block here, and ours would end it.
            return "".join((*shown, text[line.start :]))
        if not _is_row(line):
            shown.append(line.text)
            at += 1
            continue
        head = _cells(line.text)
        rule = lines[at + 1].text if at + 1 < len(lines) else ""
        if not is_whole and not rule.endswith("\n") and _RULE_BEGUN.fullmatch(rule):
            return "".join(shown)
        if not _begins(head, rule):
            shown.append(line.text)
            at += 1
            continue
        first = at = at + 2
        while at < len(lines) and _is_row(lines[at]):
            at += 1
        rows = [_cells(row.text) for row in lines[first:at]]
        if at == len(lines) and not is_whole:
            if not text.endswith("\n"):
                rows.pop()
            is_shown = len(rows) >= SAMPLE
            begun = _laid_out(head, rule, rows, is_whole=False) if is_shown else ""
            return "".join((*shown, begun))
        shown.append(_laid_out(head, rule, rows, is_whole=is_whole, is_over=True))
    return "".join(shown)


def _is_row(line: Line) -> bool:
    is_code = line.before is not None or line.after is not None
    return not is_code and line.text.lstrip(" ").startswith("|")


def _begins(head: list[str], rule: str) -> bool:
    """Whether a table of a bearable size begins with these two lines."""
    if "-" not in rule or not _RULE.fullmatch(rule):
        return False
    is_small = len(head) <= _MOST_COLUMNS and sum(map(len, head)) <= _LONGEST_HEAD
    return is_small and len(_cells(rule)) == len(head)


def _cells(row: str) -> list[str]:
    _, *cells = _BAR.split(row.strip())
    if len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    return [cell.strip().replace("\\|", "|").replace("<br>", " / ") for cell in cells]


def _columns(text: str) -> int:
    """Columns a text takes where every letter is as wide as the next, and some are two."""
    return sum(
        0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF")
        for sign in text
    )


def _aligned(cell: str, width: int, mark: str) -> str:
    """A cell in its column, on the side that the colons of the rule under its head say."""
    room = width - _columns(cell)
    before = 0 if not mark.endswith(":") else room // 2 if mark.startswith(":") else room
    return " " * before + cell + " " * (room - before)


def _laid_out(
    head: list[str], rule: str, rows: list[list[str]], *, is_whole: bool, is_over: bool = False
) -> str:
    # Nothing in a block of code is bold, and no cell may end it.
    plain = [
        [_WRAPPED.sub(r"\2", cell).replace("```", "'''") for cell in row[: len(head)]]
        for row in (head, *rows)
    ]

    sampled, every = (
        [max(_columns(row[nth]) for row in of if nth < len(row)) for nth in range(len(head))]
        for of in (plain[: SAMPLE + 1], plain if is_whole else plain[: SAMPLE + 1])
    )
    if sum(sampled) + 3 * (len(head) - 1) > WIDTH:
        # A cell that breaks what is bold in it breaks that alone: each has a line of its own.
        return "".join(
            f"{'- ' if nth == 0 else '  '}**{name or '…'}:** {cell}\n"
            for row in rows
            for nth, (name, cell) in enumerate(
                (name, cell) for name, cell in zip(plain[0], row, strict=False) if cell
            )
        )
    wide = every if sum(every) + 3 * (len(head) - 1) <= WIDTH else sampled
    marks = _cells(rule)
    told = [
        " │ ".join(map(_aligned, row, wide[: len(row)], marks[: len(row)])).rstrip() + "\n"
        for row in plain
    ]
    line = "─┼─".join("─" * width for width in wide)
    return "".join(("```\n", told[0], f"{line}\n", *told[1:], "```\n" if is_over else ""))
