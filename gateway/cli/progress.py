"""How far something is, on a terminal's standard error; a pipe and a file see nothing of it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[], None]]:
    """Within it, each call of what it gives is one of `length` steps."""
    with click.progressbar(
        length=length,
        label=label,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        update_min_steps=max(1, length // 200),
    ) as bar:
        yield lambda: bar.update(1)
