"""What happens, shown while it happens: bars in a terminal, a line every few seconds elsewhere. Both only watch events."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from anylatent.cli.text import duration, rate
from anylatent.training.events import Event, Note, Saved, Stage, Step

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

QUIET = ("checkpoint", "preview", "report")
"""What is saved too often to be told, or is told at the end."""
EVERY = 3.0
"""Seconds between plain lines."""

Watch = Callable[[Event], None]


def speaks() -> bool:
    """Whether this process is the only one, or the first of several that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def watching() -> Iterator[Watch]:
    """A watcher that suits the terminal. Of several processes that train together only the first one speaks."""
    if not speaks():
        yield lambda event: None
    elif sys.stderr.isatty():
        with bars() as watch:
            yield watch
    else:
        yield Lines(sys.stderr)


def follow(events: Iterable[Event]) -> None:
    """Run a generator of events to its end, showing them."""
    with watching() as watch:
        for event in events:
            watch(event)


class Tally:
    """Where a stage stands: its rate since it began here, the loss smoothed over about 20 steps."""

    def __init__(self, stage: Stage, clock: Callable[[], float] = time.perf_counter) -> None:
        self.name, self.total, self.done = stage.name, stage.total, stage.done
        self.clock, self.began, self.begun = clock, clock(), stage.done
        self.loss: float | None = None

    def see(self, step: Step) -> None:
        self.done, self.total = step.done, step.total
        if step.loss is not None:
            share = max(0.05, 1 / max(1, self.done - self.begun))
            self.loss = step.loss if self.loss is None else self.loss + share * (step.loss - self.loss)

    @property
    def seconds(self) -> float:
        return self.clock() - self.began

    @property
    def per_second(self) -> float:
        return (self.done - self.begun) / max(self.seconds, 1e-9)

    def text(self) -> str:
        """Rate, loss and time left (or taken, at the end), where they are known."""
        over = self.done >= self.total
        left = (self.total - self.done) / self.per_second if self.per_second else None
        when = f"in {duration(self.seconds)}" if over else "" if left is None else f"{duration(left)} left"
        several = rate(self.per_second) if self.total > 1 and self.done > self.begun else ""
        loss = "" if self.loss is None else f"loss {self.loss:.4g}"
        return "  ".join(part for part in (several, loss, when) if part)


class Lines:
    """Plain lines: one when a stage begins and ends, and one every few seconds between."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.perf_counter) -> None:
        self.out, self.clock = out, clock
        self.tally: Tally | None = None
        self.spoke = clock()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Stage):
            self.tally = Tally(event, self.clock)
            self._say(f"{event.name} …")
        elif isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Note):
            self._say(f"note: {event.text}")
        elif event.what not in QUIET:
            self._say(f"{event.what}: {event.path}")

    def _step(self, event: Step) -> None:
        assert self.tally is not None, "a stage begins before its steps"
        self.tally.see(event)
        if event.done >= event.total or self.clock() - self.spoke >= EVERY:
            count = f"{event.done:,}/{event.total:,}"
            self._say(f"{event.stage}  {count}  {self.tally.text()}")

    def _say(self, text: str) -> None:
        self.spoke = self.clock()
        print(text, file=self.out, flush=True)


@contextmanager
def bars(console: "Console | None" = None) -> Iterator[Watch]:
    """One bar a stage, on standard error or the given console."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description:<9}"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[tally]}", style="dim"))
    with Progress(*columns, console=console or Console(stderr=True, highlight=False)) as progress:
        watch = Bars(progress)
        yield watch
        watch.end_stage()


class Bars:
    """Draws events with rich."""

    def __init__(self, progress: "Progress") -> None:
        self.progress = progress
        self.tally: Tally | None = None
        self.task = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Stage):
            self.end_stage()
            self.tally = Tally(event)
            self.task = self.progress.add_task(event.name, total=event.total, completed=event.done, tally="")
        elif isinstance(event, Step):
            assert self.tally is not None, "a stage begins before its steps"
            self.tally.see(event)
            self._draw(event.done)
        elif isinstance(event, Note):
            self._say(f"note: {event.text}")
        elif isinstance(event, Saved) and event.what not in QUIET:
            self._say(f"{event.what}: {event.path}")

    def end_stage(self) -> None:
        """Fill the bar of a stage that ended without a step for each of its parts (it had little to do)."""
        if self.tally is not None and self.tally.done < self.tally.total:
            self.tally.done = self.tally.begun = self.tally.total
            self._draw(self.tally.total)

    def _draw(self, done: int) -> None:
        assert self.tally is not None
        assert self.task is not None
        self.progress.update(self.task, completed=done, total=self.tally.total, tally=self.tally.text())

    def _say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, soft_wrap=True)
