"""Shows how a pull goes: a bar on a terminal, plain lines elsewhere, JSON events for programs.

All of it is written to standard error, so that standard output holds the result alone.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator

import click

from mainstay.platform.catalog.pull import Progress

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_EVENTS = 0.5


@contextlib.contextmanager
def pull_progress(model_id: str, *, as_json: bool) -> Iterator[Progress]:
    """Show a pull of one model in the way that fits who reads it."""
    try:
        if as_json:
            yield _Events(model_id)
        elif sys.stderr.isatty():
            with _bar(model_id) as bar:
                yield bar
        else:
            lines = _Lines(model_id)
            yield lines
            lines.finish()
    except KeyboardInterrupt:
        if not as_json:
            click.echo("Stopped; run it again to continue.", err=True)
        raise


class _Paced:
    """Lets a report through if the last one was long enough ago."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last: float | None = None

    def is_due(self) -> bool:
        now = self._clock()
        if self._last is not None and now - self._last < self._seconds:
            return False
        self._last = now
        return True


class _Lines:
    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._paced = _Paced(_SECONDS_BETWEEN_LINES)
        self._has_begun = False

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        self._has_begun = True
        if self._paced.is_due() and total_bytes:
            share = 100 * done_bytes // total_bytes
            click.echo(f"{self._model_id}: {done_bytes / 1e6:.0f} of {total_bytes / 1e6:.0f} MB ({share}%)", err=True)

    def noted(self, text: str) -> None:
        click.echo(f"{self._model_id}: {text}", err=True)

    def finish(self) -> None:
        """Say that all of it is here, unless it was before."""
        if self._has_begun:
            click.echo(f"{self._model_id}: done", err=True)


class _Events:
    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._paced = _Paced(_SECONDS_BETWEEN_EVENTS)

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        if self._paced.is_due() or done_bytes == total_bytes:
            self._write({"event": "progress", "done_bytes": done_bytes, "total_bytes": total_bytes})

    def noted(self, text: str) -> None:
        self._write({"event": "note", "text": text})

    def _write(self, event: dict[str, object]) -> None:
        click.echo(json.dumps({"id": self._model_id, **event}, ensure_ascii=False), err=True)


@contextlib.contextmanager
def _bar(model_id: str) -> Iterator[Progress]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(model_id, total=None)

        class Bar:
            def advanced(self, done_bytes: int, total_bytes: int) -> None:
                display.update(task, completed=done_bytes, total=total_bytes)

            def noted(self, text: str) -> None:
                display.console.print(text, style="yellow", markup=False, highlight=False)

        yield Bar()
