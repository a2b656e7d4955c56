"""What a terminal shows: streamed text, a load bar, tables. Knows rich, knows no commands."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from bot.chat.words import progress_line, seconds_text
from bot.domain.events import Evicting, Loading, Queued
from bot.domain.events import Progress as Step

_STEP = 0.25
"""Without a terminal, a load is told at every quarter instead of being drawn."""


class Screen:
    """Prints; the console decides between colours and plain text."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @property
    def is_live(self) -> bool:
        """Can lines be redrawn?"""
        return self.console.is_terminal

    def line(self, text: str = "", style: str = "") -> None:
        """One line as it is, no markup read in it."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    def markdown(self, text: str) -> None:
        """Text written with Discord's markup."""
        if self.is_live:
            from rich.markdown import Markdown  # its parser is only for this

            self.console.print(Markdown(text.replace("\n", "  \n")))
        else:
            self.line(text.replace("**", "").replace("`", ""))

    def piece(self, text: str) -> None:
        """A piece of a streamed answer, at once."""
        self.console.print(Text(text), end="", soft_wrap=True)

    def error(self, text: str) -> None:
        """Something that went wrong."""
        self.line(text, "red")

    def dim(self, text: str) -> None:
        """Something beside the point: footers, notices."""
        self.line(text, "dim")

    def steps(self) -> "Steps":
        """A drawer for the waits before an answer; leave it before text is printed."""
        return Steps(self)


class Steps:
    """Draws queue, eviction and load; one bar on a terminal, quarter lines elsewhere."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._told: tuple[str, float] | None = None
        self._last_line = ""

    def __enter__(self) -> "Steps":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def show(self, step: Step) -> None:
        """Shows one step."""
        match step:
            case Loading():
                self._load(step)
            case Queued() | Evicting():
                self.close()
                self._once(progress_line(step).replace("`", ""))

    def close(self) -> None:
        """Ends the bar, leaving it on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _once(self, line: str) -> None:
        if line != self._last_line:
            self._last_line = line
            self._screen.dim(line)

    def _load(self, step: Loading) -> None:
        if self._screen.is_live:
            self._draw(step)
            return
        key = f"{step.model} on {step.host}"
        quarter = int(step.fraction / _STEP) * _STEP
        if self._told != (key, quarter):
            self._told = (key, quarter)
            self._screen.dim(progress_line(step).replace("`", "").replace("\n", " "))

    def _draw(self, step: Loading) -> None:
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn("📦 Loading {task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TextColumn("{task.fields[left]}"),
                console=self._screen.console,
            )
            self._bar.start()
            self._task = self._bar.add_task(f"{step.model} on {step.host}", total=1.0, left="")
        left = f"{seconds_text(step.seconds_left)} left" if step.seconds_left is not None else ""
        self._bar.update(self._task, completed=step.fraction, left=left)
