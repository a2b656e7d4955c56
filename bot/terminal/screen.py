"""What a terminal shows: lines, streamed text, tables, a load bar. Knows rich and no command."""

# Every text goes to rich as a Text: words of people, models and hosts are no markup. As plain
# strings `:1234:` became a picture, `[/]` in a persona's description a traceback, and
# `[fd00::5]:1234` lost its address.

import re
import textwrap
from collections.abc import Sequence
from contextlib import closing
from functools import partial

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from bot.chat.loading import LoadSteps, Readiness
from bot.chat.words import progress_line, seconds_text
from bot.domain.errors import Bug
from bot.domain.events import Loading
from bot.domain.events import Progress as Step

# Without a terminal, a load is told at every quarter: a log of hundreds of bars reads like nothing.
_STEP = 0.25

_NARROW = 100
"""Columns below which a table that does not fit is no table any more."""

_PIPE_WIDTH = 10_000
"""Columns of what no terminal bounds."""

_MARKED = re.compile(r"\*\*(?P<bold>[^*]+)\*\*|`(?P<code>[^`]+)`")
"""The two marks that our own words use; Discord draws them."""


class Screen:
    """Prints; the console decides between colours and plain text."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.is_live = console.is_terminal
        """Lines can be redrawn."""
        if not self.is_live:
            # A table is then as wide as its content: whoever reads a pipe cannot make it wider.
            console.width = _PIPE_WIDTH

    def line(self, text: str = "", style: str = "") -> None:
        """One line as it is, in one of rich's styles, such as ``red``."""
        lines = [text]
        if self.is_live:
            # Between words, and not by rich, which cuts an address at the edge: whoever copied it
            # off two lines got half of it.
            width = max(20, self.console.width - 1)
            wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
            lines = [part for line in text.split("\n") for part in wrap(line, width) or [""]]
        self.console.print(Text("\n".join(lines), style=style), soft_wrap=True)

    def markdown(self, text: str) -> None:
        """Words of ours, with ``**bold**`` and code between backticks."""
        # Not rich's Markdown: it takes "[fd00::5]:1234" for the target of a link and drops it.
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
        self.console.print(styled, soft_wrap=not self.is_live)

    def piece(self, text: str) -> None:
        """A piece of a streamed answer, at once."""
        self.console.print(Text(text), end="", soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under their columns' names; too wide for a narrow terminal, one below the other."""
        widest = [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]
        if self.console.width < _NARROW and sum(widest) + 2 * len(widest) > self.console.width:
            # Seven columns in sixty were a tower of single letters.
            for row in rows:
                self.line(row[0], "bold")
                for column, cell in zip(columns[1:], row[1:], strict=True):
                    if cell:
                        self.console.print(Text(f"  {column}: {cell}"))
            return
        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
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

    def show(self, step: Step) -> None:
        """Shows one step."""
        if isinstance(step, Loading) and self._screen.is_live:
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

    def close(self) -> None:
        """Ends the bar, leaving it on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _draw(self, step: Loading) -> None:
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn("📦 Loading {task.description}", markup=False),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TextColumn("{task.fields[left]}"),
                console=self._screen.console,
            )
            self._bar.start()
            self._task = self._bar.add_task(f"{step.model} on {step.host}", total=1.0, left="")
        left = f"{seconds_text(step.seconds_left)} left" if step.seconds_left is not None else ""
        self._bar.update(self._task, completed=step.fraction, left=left)
