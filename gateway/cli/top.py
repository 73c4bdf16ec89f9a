"""`tiergate top`: what a gateway does now, in a terminal; one look for a pipe."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import tzinfo
from threading import Thread
from typing import Any

import click

from gateway.cli import color, running
from gateway.cli.panel import SORTS, Wanted, lines, ordered
from gateway.cli.screen import Screen, screen
from gateway.cli.session import Session, pass_session
from gateway.cli.sight import BY, WINDOWS, Sight, look, plain
from gateway.cli.table import Column, draw, number, usd
from gateway.core import jsonio
from gateway.ledger.question import place


@click.command("top")
@click.option(
    "--by", type=click.Choice(BY), default="tier", show_default=True, help="What rows are of."
)
@click.option(
    "--sort", type=click.Choice(SORTS), default="cost", show_default=True, help="Which stand first."
)
@click.option(
    "--window",
    type=click.Choice([*WINDOWS]),
    default="5m",
    show_default=True,
    help="How far it looks back.",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.5, 60),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--url", help="Where the gateway answers. [server.host, server.port]")
@click.option("--once", is_flag=True, help="One look, as plain text; so it is in a pipe too.")
@click.option("--json", "as_json", is_flag=True, help="One look as JSON.")
@pass_session
def command(
    session: Session,
    by: str,
    sort: str,
    window: str,
    interval: float,
    url: str | None,
    *,
    once: bool,
    as_json: bool,
) -> None:
    """Show what a gateway does now: calls, costs, times, errors, budgets, what is out of its turn.

    It asks a gateway that runs, with TIERGATE_ADMIN_KEY where that is set, and reads the ledger
    where none answers. Keys: q quits, p pauses, s sorts, w takes another window, left and right
    take other rows (by lab, model, key ...), up and down move in them.

    \b
    Examples:
      tiergate top
      tiergate top --by model --window 1h
      tiergate top --once --by key
      tiergate top --json

    \b
    Exit status:
      0  it was shown
      1  the gateway wants a key, or there is no ledger that can be read
      2  the command itself was not understood
    """  # noqa: D301 - \b is click's sign that lines stay apart
    base = (url or running.address(session)).rstrip("/")
    if as_json:
        click.echo(jsonio.shown(plain(look(session, base, by, window))))
        return
    zone = place(session().time_zone)
    if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _once(look(session, base, by, window), sort)
        return
    top = Top(lambda by, window: look(session, base, by, window), zone, interval)
    top.by, top.window, top.wanted = by, window, Wanted(sort=sort)
    top.sight = look(session, base, by, window)  # what is wrong is told before the screen is taken
    with screen() as found:
        top.run(found)


class Top:
    """What is shown, by the keys that are pressed; each look is taken aside."""

    def __init__(
        self,
        see: Callable[[str, str], Sight],
        zone: tzinfo,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._see = see
        self._zone = zone
        self._interval = interval
        self._clock = clock
        self.by, self.window, self.wanted = BY[0], "5m", Wanted()
        self.sight: Sight | None = None
        self.trouble = ""
        """Why the last look failed."""

    def run(self, on: Screen) -> None:
        """Until q is pressed. A look that hangs keeps nobody: its thread ends with the program."""
        waits: Future[Sight] | None = None
        due = self._clock() + self._interval
        while True:
            on.draw(self.lines(on.size))
            key = on.key(due - self._clock() if waits is None else self._interval)
            if key in ("q", "escape"):
                return
            if key and self.press(key):
                due = self._clock()
            if waits is not None and waits.done():
                self._take(waits)
                waits, due = None, max(due, self._clock() + self._interval)
            if self.wanted.paused:
                due = self._clock() + self._interval
            elif waits is None and self._clock() >= due:
                waits = self._aside(on)

    def _aside(self, on: Screen) -> "Future[Sight]":
        """A look in a thread of its own."""
        found: Future[Sight] = Future()
        by, window = self.by, self.window

        def work() -> None:
            try:
                found.set_result(self._see(by, window))
            except Exception as error:  # noqa: BLE001 - told where it is taken
                found.set_exception(error)
            on.wake()

        Thread(target=work, daemon=True).start()
        return found

    def press(self, key: str) -> bool:
        """Do what a key is for; whether another look is needed."""
        wanted = self.wanted
        if key == "p":
            self.wanted = wanted._replace(paused=not wanted.paused)
            return wanted.paused
        if key == "s":
            self.wanted = wanted._replace(sort=_next(SORTS, wanted.sort, 1), first=0)
        elif key in ("up", "down"):
            most = len(self.sight.rows) - 1 if self.sight is not None else 0
            step = 1 if key == "down" else -1
            self.wanted = wanted._replace(first=min(max(0, wanted.first + step), max(0, most)))
        elif key in ("left", "right"):
            self.by = _next(BY, self.by, 1 if key == "right" else -1)
            self.wanted = wanted._replace(first=0)
            return True
        elif key == "w":
            self.window = _next(tuple(WINDOWS), self.window, 1)
            return True
        return False

    def lines(self, size: tuple[int, int]) -> list[str]:
        """What stands on the screen."""
        if self.sight is None:
            return ["Looking ..."]
        found = lines(self.sight, self.wanted, size, self._zone)
        if self.trouble:
            found[-1:] = [click.style(self.trouble[: size[0]], fg="red")]
        return found if color.drawn() else [click.unstyle(line) for line in found]

    def _take(self, done: "Future[Sight]") -> None:
        try:
            found = done.result()
        except click.ClickException as error:
            self.trouble = error.format_message()
        else:
            self.trouble = ""
            if not self.wanted.paused:
                self.sight = found


def _next(names: tuple[str, ...], name: str, step: int) -> str:
    return names[(names.index(name) + step) % len(names)]


def _once(sight: Sight, sort: str) -> None:
    where = sight.source if sight.running else f"No gateway answers; this is of {sight.source}"
    click.secho(f"{where}, the last {sight.window // 60} minutes", bold=True)
    heads = [
        "calls",
        "per s",
        "USD",
        "USD/h",
        "p50 s",
        "p95 s",
        "first p50",
        "first p95",
        "failed",
        "cached",
    ]
    draw(
        [
            Column(sight.by),
            *(Column(one, right=True, rank=at // 4) for at, one in enumerate(heads)),
        ],
        [_cells(one) for one in ordered(sight, sort)],
        total=_cells(sight.total),
        notes=[
            *(
                [f"{number(sight.total.unknown)} calls have costs that are not known."]
                if sight.total.unknown
                else []
            ),
            *(
                f"budget {one.name} ({one.scope}): "
                f"{usd(one.used)} of {usd(one.limit)} this {one.every}"
                for one in sight.budgets
            ),
            *(
                f"{one.name} is {one.state}{f' ({one.cause})' if one.cause else ''}"
                for one in sight.out
            ),
        ],
    )
    if sight.in_flight is not None:
        click.echo(f"in flight: {sight.in_flight}")


def _cells(row: Any) -> list[str]:
    times = [row.p50, row.p95, row.first_p50, row.first_p95]
    hour = "-" if row.usd_per_hour is None else f"{row.usd_per_hour:,.4f}"
    return [
        row.name,
        number(row.calls),
        f"{row.per_second:.2f}",
        usd(row.usd),
        hour,
        *("-" if one is None else f"{one:.3f}" for one in times),
        number(row.failed),
        number(row.cached),
    ]
