"""What a terminal shows: lines, streamed text, tables, a load bar. Knows rich and no command."""

# Every text goes to rich as a Text: words of people, models and hosts are no markup. As plain
# strings `:1234:` became a picture, `[/]` in a persona's description a traceback, and
# `[fd00::5]:1234` lost its address.

import re
import textwrap
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from shutil import get_terminal_size

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
)
from rich.table import Table
from rich.text import Text

from bot.chat.walk import LoadSteps, Readiness
from bot.chat.words import left_words, progress_line, reading_line
from bot.domain.errors import Bug
from bot.domain.events import Loading, Reading, ReasoningDelta
from bot.domain.events import Progress as Step
from bot.policy.privacy import OPEN_OWN

# Without a terminal, a load is told at every quarter: a log of hundreds of bars reads like nothing.
_STEP = 0.25

_NARROW = 100
"""Columns below which a table that does not fit is no table any more."""

_BAR_FROM = 80
"""Columns that hold a model's name, its host and a bar."""

_PIPE_WIDTH = 10_000
"""Columns of what no terminal bounds."""

# Languages that put no spaces between words may be broken at each of their characters.
_WORD = re.compile(r"\n|[^\S\n]+|[\u2e80-\ud7ff\uf900-\uffef]|[^\s\u2e80-\ud7ff\uf900-\uffef]+")
_HALF = re.compile(r"[^\s\u2e80-\ud7ff\uf900-\uffef]+")

_OPEN_HERE = "`/private off`"
"""In place of Discord's command, which there is none of here."""

_TURNS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_HARMLESS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160), *_TURNS), "") | {0x1B: "␛"}
"""The library takes out five of them: by the others a model's words cleared the screen, changed the
window's title, wrote over what stood above and turned the rest of a line around."""

_MARKED = re.compile(r"\*\*(?P<bold>[^*]+)\*\*|`(?P<code>[^`]+)`")
"""The two marks that our own words use; Discord draws them."""


def _text(words: str, style: str = "") -> Text:
    return Text(words.translate(_HARMLESS), style=style)


class Screen:
    """Prints; the console decides between colours and plain text."""

    def __init__(self, console: Console) -> None:
        self.console = console
        # On TERM=dumb a bar stood still until it was full: nothing there can be drawn twice.
        self.is_live = console.is_terminal and not console.is_dumb_terminal
        """Lines can be redrawn."""
        self._flow = _Flow()
        self._is_mid_line = False
        self._is_answering = False
        self._held: list[tuple[str, str]] = []
        """News that came while an answer was shown."""
        if not console.is_terminal:
            # A table is then as wide as its content: whoever reads a pipe cannot make it wider.
            console.width = _PIPE_WIDTH
        elif console.is_dumb_terminal:
            # The library takes each such for 80 columns, and tables broke in one of sixty.
            console.size = ConsoleDimensions(*get_terminal_size())

    def line(self, text: str = "", style: str = "") -> None:
        """One line as it is, in one of rich's styles, such as ``red``."""
        if self._end_stream() and not text:
            return
        text = text.replace(OPEN_OWN, _OPEN_HERE)
        lines = [text]
        if self.console.is_terminal:
            # Between words, and not by rich, which cuts an address at the edge: whoever copied it
            # off two lines got half of it.
            width = max(20, self.console.width - 1)
            wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
            lines = [part for line in text.split("\n") for part in wrap(line, width) or [""]]
        self.console.print(_text("\n".join(lines), style), soft_wrap=True)

    def markdown(self, text: str) -> None:
        """Words of ours, with ``**bold**`` and code between backticks."""
        self._end_stream()
        # Not rich's Markdown: it takes "[fd00::5]:1234" for the target of a link and drops it.
        text = text.replace(OPEN_OWN, _OPEN_HERE).translate(_HARMLESS)
        styled, end = Text(), 0
        for found in _MARKED.finditer(text):
            styled.append(text[end : found.start()])
            if found["bold"]:
                styled.append(found["bold"], "bold")
            else:
                styled.append(found["code"], "cyan")
            end = found.end()
        styled.append(text[end:])
        # Broken between words where somebody reads; whole lines for whoever searches them.
        self.console.print(styled, soft_wrap=not self.console.is_terminal)

    def news(self, text: str, style: str = "") -> None:
        """A line of what happens by itself; in the middle of an answer it waits for its end."""
        if self._is_answering:
            self._held.append((text, style))
        else:
            self.line(text, style)

    def piece(self, text: str, *, is_answer: bool = True) -> None:
        """A piece of an answer, or a prompt, at once; on a terminal broken between words."""
        self._is_answering = is_answer
        text = text.translate(_HARMLESS)
        if self.console.is_terminal:
            text = self._flow.feed(text, self.console.width)
        self._print_piece(text)

    def _print_piece(self, text: str) -> None:
        if text:
            self.console.print(Text(text), end="", soft_wrap=True)
            self._is_mid_line = not text.endswith("\n")

    def _end_stream(self) -> bool:
        """Was an answer's line left open? Then it is ended, and what waited for that is told."""
        rest = self._flow.feed("", self.console.width, is_last=True)
        self._flow = _Flow()
        self._print_piece(rest)
        was_mid_line, self._is_mid_line = self._is_mid_line, False
        if was_mid_line:
            self.console.print()
        # News of a host once stood in the middle of an answer's sentence.
        held, self._held, self._is_answering = self._held, [], False
        for news in held:
            self.line(*news)
        return was_mid_line

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        above: Sequence[Sequence[str]] = (),
    ) -> None:
        """Rows under their columns' names; too wide for a narrow terminal, one below the other.

        Args:
            columns: Their names.
            rows: A cell for each column.
            above: The rows that stand above these already, with the names.
        """
        self._end_stream()
        # A model's key may hold one, and broke its row in two.
        rows = [[" ".join(cell.split("\n")) for cell in row] for row in rows]
        widest = [max(map(cell_len, cells)) for cells in zip(columns, *above, *rows, strict=True)]
        fits = sum(widest) + 2 * (len(widest) - 1) <= self.console.width
        if self.console.width < _NARROW and not fits:
            # Seven columns in sixty were a tower of single letters.
            for row in rows:
                self.line(row[0], "bold")
                for column, cell in zip(columns[1:], row[1:], strict=True):
                    if cell:
                        self.console.print(_text(f"  {column}: {cell}"))
            return
        table = Table(box=None, pad_edge=False, show_header=not above)
        for column, width in zip(columns, widest, strict=True):
            table.add_column(column, overflow="fold", min_width=width if fits else None)
        for row in rows:
            table.add_row(*map(_text, row))
        self.console.print(table)

    async def waited(self, load: LoadSteps) -> Readiness:
        """Draws a load until it is over; gives how it ended."""
        async with load as steps:
            with closing(Steps(self)) as drawn:
                async for step in steps:
                    if isinstance(step, Readiness):
                        return step
                    drawn.show(step)
        raise Bug("a load ended without saying how")


class _Flow:
    """Streamed text broken between words; what may be half a word is held until more comes."""

    def __init__(self) -> None:
        self._held = ""
        self._column = 0
        self._is_code = False
        self._is_inside = False
        """A word longer than a line has begun and goes on."""

    def feed(self, text: str, width: int, *, is_last: bool = False) -> str:
        """What can be shown now, with line ends put in where a word would cross the edge."""
        words = _WORD.findall(self._held + text)
        # The terminal breaks anywhere, and a word already shown cannot be taken to the next line.
        # One longer than a line is broken anyhow, so it does not wait.
        self._held = words.pop() if words and _HALF.fullmatch(words[-1]) else ""
        is_long = cell_len(self._held) >= width
        if is_long or is_last:
            words.append(self._held)
            self._held = ""
        shown: list[str] = []
        for word in words:
            is_over = self._column + cell_len(word) > width
            if word.startswith("```") and not self._column:
                self._is_code = not self._is_code
            # Code is copied: its lines stay as they are.
            elif is_over and word != "\n" and not (self._is_code or self._is_inside):
                shown.append("\n" if self._column else "")
                self._column, word = 0, word.lstrip(" ")
            shown.append(word)
            self._column = 0 if word == "\n" else self._column + cell_len(word)
            self._is_inside = False
        self._is_inside = is_long
        return "".join(shown)


class _Waited(ProgressColumn):
    """What is waited for, by how long it has been."""

    def __init__(self, told: Callable[[float], str]) -> None:
        super().__init__()
        self._told = told

    def render(self, task: Task) -> Text:
        """The line as it reads now."""
        return Text(self._told(task.elapsed or 0.0))


def _waited(step: Reading | ReasoningDelta, elapsed_s: float) -> str:
    clock = timedelta(seconds=int(elapsed_s))
    if isinstance(step, ReasoningDelta):
        return f"💭 thinking … {clock}"
    words = reading_line(replace(step, expected_s=None), elapsed_s)
    # From then on it tells the time itself.
    is_doubted = step.doubt_s is not None and elapsed_s >= step.doubt_s
    return words if is_doubted else f"{words} {clock}"


class Steps:
    """Draws queue, eviction and load: one bar on a terminal, a line at each quarter elsewhere.

    Close it before other text is printed: a bar that still moves would be drawn over that.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._told: object = None
        """What the last line was about, so that it is said once."""
        self._waits_for = ""
        """What a clock runs for, on a terminal; it leaves no trace."""

    def show(self, step: Step | Reading | ReasoningDelta) -> None:
        """Shows one step."""
        if isinstance(step, Reading | ReasoningDelta):
            self._wait(step)
            return
        if isinstance(step, Loading) and self._screen.is_live:
            if self._waits_for:
                self.close()
            self._draw(step)
            return
        # A bar that still moves would draw over the line.
        self.close()
        line = progress_line(step).replace("`", "").replace("\n", " ")
        about: object = line
        if isinstance(step, Loading):
            about = (step.model, step.host, int(step.fraction / _STEP))
        if about != self._told:
            self._told = about
            self._screen.line(line, "dim")

    def _wait(self, step: Reading | ReasoningDelta) -> None:
        # A model that read a long prompt, or thought, for a minute looked as if it had hung.
        told = partial(_waited, step)
        words = told(0.0)
        if not self._screen.is_live or words == self._waits_for:
            return
        self.close()
        self._bar = Progress(_Waited(told), console=self._screen.console, transient=True)
        self._bar.start()
        self._bar.add_task("", total=None)
        self._waits_for = words

    def close(self) -> None:
        """Ends the bar, leaving it on the screen."""
        self._waits_for = ""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _draw(self, step: Loading) -> None:
        left, what = left_words(step), f"{step.model} on {step.host}".translate(_HARMLESS)
        told, is_narrow = f"📦 Loading {what}", self._screen.console.width < _BAR_FROM
        if is_narrow:
            # Beside a bar the seconds left were cut off, for which one looks at it.
            told = " · ".join((f"📦 {step.fraction:.0%}", *left, what))
        if step.is_held:
            # Nothing moves meanwhile: why, and how long, comes before what may be cut off.
            told, left = f"📦 {' · '.join((*left, what))}", []
        if self._bar is None or self._task is None:
            columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
            if not is_narrow:
                columns += [BarColumn(bar_width=24), TaskProgressColumn()]
                columns += [TextColumn("{task.fields[left]}")]
            self._bar = Progress(*columns, console=self._screen.console)
            self._bar.start()
            self._task = self._bar.add_task(told, total=1.0, left="")
        self._bar.update(
            self._task, completed=step.fraction, left=" · ".join(left), description=told
        )
