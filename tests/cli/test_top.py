"""`tiergate top`: what it shows of a gateway and of the ledger, its keys, and a terminal given back."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from gateway.cli.panel import SORTS, Wanted, lines, ordered
from gateway.cli.sight import BY, Budget, Out, Row, Sight, plain
from gateway.cli.top import Top
from tests.cli.run import GOOD, ON, config, run
from tests.cli.terminal import Terminal
from tests.e2e.child import Child, until
from tests.e2e.upstream import Upstream, answering, failing
from tests.e2e.world import Loop

NONE: dict[str, Any] = dict.fromkeys(
    ["p50", "p95", "first_p50", "first_p95", "usd", "usd_per_hour"]
)


def row(name: str, **given: Any) -> Row:
    kept = {"calls": 10, "failed": 0, "cached": 0, "unknown": 0, "per_second": 0.1, **NONE}
    return Row(name=name, **{**kept, **given})


def sight(*rows: Row, **given: Any) -> Sight:
    kept = {
        "at": 1_795_000_000.0, "source": "http://127.0.0.1:8484", "running": True, "window": 300, "by": "tier",
        "total": row("total"), "in_flight": 3, "budgets": [], "out": [],
    }  # fmt: skip
    return Sight(rows=list(rows), **{**kept, **given})


FULL = sight(
    row("fast", calls=5, usd=Decimal("0.5"), usd_per_hour=Decimal(6), p50=0.2, p95=1.25, first_p50=0.05, first_p95=12.3),
    row("smart", calls=9, usd=Decimal(2), usd_per_hour=Decimal("0.0123"), p50=120.0, p95=0.5, failed=8),
    row("a-name-that-is-longer-than-its-column-has-room-for", calls=20, unknown=1, per_second=1234.5),
    budgets=[
        Budget(name="all", scope="all tenants", used=Decimal("4.5"), limit=Decimal(5), every="day", kind="usd"),
        Budget(name="one", scope="key ann", used=Decimal(2), limit=Decimal(1), every="month", kind="usd"),
        Budget(name="share", scope="tenant acme", used=Decimal(1), limit=Decimal(100), every="day", kind="share"),
        Budget(name="none", scope="all tenants", used=Decimal(0), limit=Decimal(0), every="day", kind="usd"),
    ],
    out=[
        Out(name=f"openai/m{at}", state="open", cause="failing", until=1_795_000_060.0 if at else 1.0) for at in range(5)
    ],
)  # fmt: skip


USUAL = Wanted()


def shown(
    found: Sight = FULL, wanted: Wanted = USUAL, size: tuple[int, int] = (80, 24)
) -> list[str]:
    return [click.unstyle(line) for line in lines(found, wanted, size, UTC)]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("height", [6, 14, 24, 60])
def test_it_has_room_in_any_terminal(width: int, height: int) -> None:
    """No line is wider, there are no more lines, and the name of a row always stands."""
    found = shown(size=(width, height))
    assert len(found) <= height
    assert max(map(len, found)) <= width
    if height >= 24:
        assert any(line.startswith("fast") for line in found)
        assert found[-1].startswith("q quit")


def test_what_a_screen_of_80_by_24_says() -> None:
    assert [re.sub(r" +", " ", line).rstrip() for line in shown() if line.strip()] == [
        "tiergate http://127.0.0.1:8484 11:06:40",
        "last 5 min calls 10 (0.10/s) in flight 3 USD/h -",
        "answers p50 - p95 - first p50 - p95 - failed 0.0% cached 0.0%",
        "tier calls/s USD/h p50 p95 first failed cached",
        "smart 0.10 0.0123 120s 500ms - 88.9% 0.0%",
        "fast 0.10 6.00 200ms 1.2s 50ms 0.0% 0.0%",
        "a-name-that-is-longer-th~ 1,234 ? - - - 0.0% 0.0%",
        "budget one (key ann) [################] 200% 2.00 of 1 USD this month",
        "budget all (all tenants) [##############..] 90% 4.50 of 5 USD this day",
        "budget share (tenant acme) [................] 1% 1.00 of 100 this day",
        "out openai/m0 is open (failing)",
        "out openai/m1 is open (failing) until 11:07:40",
        "out openai/m2 is open (failing) until 11:07:40",
        "2 more are out",
        "q quit p pause s sort w window left/right by tier, lab, model, provider, ke~",
    ]


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("calls", "a-name"),
        ("cost", "smart"),
        ("p95", "fast"),
        ("failed", "smart"),
        ("name", "a-name"),
    ],
)
def test_rows_are_sorted(sort: str, first: str) -> None:
    assert ordered(FULL, sort)[0].name.startswith(first)


def test_rows_that_have_no_room_are_counted_and_can_be_reached() -> None:
    many = sight(*(row(f"r{at:02}") for at in range(30)))
    found = shown(many, Wanted(sort="name"))
    assert "13 more, press down" in found
    last = shown(many, Wanted(sort="name", first=29))
    assert any(line.startswith("r29") for line in last)


def test_failing_rows_and_full_budgets_have_a_colour() -> None:
    styled = lines(FULL, Wanted(), (80, 24), UTC)
    assert any(line.startswith("\x1b[31m") and "smart" in line for line in styled)
    assert any(line.startswith("\x1b[31mbudget one") for line in styled)
    assert any(line.startswith("\x1b[33mbudget all") for line in styled)


def test_a_name_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in "".join(shown(sight(row("\x1b[2Jx"))))


def test_without_calls_it_says_so() -> None:
    assert "No calls." in shown(sight(source="data/ledger", running=False, in_flight=None))
    assert shown(sight(running=False))[0].startswith("tiergate  no gateway answers;")


def test_keys_change_what_is_shown() -> None:
    top = Top(lambda by, window: FULL, UTC, 2.0)
    top.sight = FULL
    assert [top.press(key) for key in ("right", "left", "left", "w")] == [True] * 4
    assert (top.by, top.window) == (BY[-1], "15m")
    assert [top.press(key) for key in ("s", "down", "down", "down", "up", "x")] == [False] * 6
    assert (top.wanted.sort, top.wanted.first) == (SORTS[SORTS.index("cost") + 1], 1)
    assert top.press("p") is False
    assert top.wanted.paused
    assert "paused" in click.unstyle(top.lines((80, 24))[0])
    assert top.press("p") is True
    top.trouble = "This wants an admin key."
    assert click.unstyle(top.lines((80, 24))[-1]) == "This wants an admin key."


def test_money_in_json_is_text() -> None:
    told = plain(FULL)
    assert told["rows"][0]["usd"] == "0.5"
    assert told["rows"][1]["p50"] == 120.0
    assert json.loads(json.dumps(told)) == told


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    loop, upstream = Loop(), Upstream()
    loop.run(upstream.start())
    yield upstream
    loop.run(upstream.stop())
    loop.close()


@pytest.fixture
def place(tmp_path: Path, upstream: Upstream) -> Iterator[tuple[Path, str, dict[str, str], Child]]:
    """A gateway that has answered three calls and failed at one."""
    text = GOOD.replace("https://acme.example/v1", f"{upstream.url}/v1") + (
        "budgets: [{name: all, usd: 5, every: day, hard: false}]\n"
    )
    file = config(tmp_path, text)
    environ = {
        **ON,
        "TIERGATE_DATA": str(tmp_path / "data"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", "gateway", "--config", str(file), "serve", "--port", "0"]
    child = Child(command, tmp_path / "gateway", PYTHONUNBUFFERED="1", **environ)
    found = until(lambda: re.search(r"on (http://127\.0\.0\.1:\d+)", child.out), f"{child.err}")
    assert found is not None
    upstream.on("", answering)
    for at, model in enumerate(["fast", "fast", "smart", "reasoning"]):
        if model == "reasoning":
            upstream.on("", failing(400))
        body = {
            "model": model,
            "max_tokens": 9,
            "messages": [{"role": "user", "content": f"one two {at}"}],
        }
        httpx.post(f"{found[1]}/v1/chat/completions", json=body, timeout=30)
    yield file, found[1], environ, child
    child.stop()


def test_one_look_at_a_gateway_and_one_at_its_ledger(
    place: tuple[Path, str, dict[str, str], Child],
) -> None:
    """They tell the same calls and money; only who runs knows of budgets and what is in flight."""
    file, url, environ, child = place
    words: list[str | Path] = ["--config", file, "top", "--url", url, "--window", "1h"]
    told = json.loads(run(*words, "--json", environ=environ).stdout)
    assert (told["running"], told["source"], told["in_flight"]) == (True, url, 0)
    assert {one["name"]: (one["calls"], one["failed"]) for one in told["rows"]} == {
        "fast": (2, 0), "smart": (1, 0), "reasoning": (1, 1),
    }  # fmt: skip
    assert [one["name"] for one in told["budgets"]] == ["all"]
    text = run(*words, "--once", "--sort", "name", environ=environ).stdout
    assert [line.split()[0] for line in text.splitlines()[3:6]] == ["fast", "reasoning", "smart"]
    assert "budget all (all tenants): " in text
    assert "in flight: 0" in text
    child.stop()
    after = json.loads(run(*words, "--json", environ=environ).stdout)
    assert (after["running"], after["in_flight"], after["budgets"]) == (False, None, [])
    assert {one["name"]: (one["calls"], one["usd"]) for one in after["rows"]} == {
        one["name"]: (one["calls"], one["usd"]) for one in told["rows"]
    }
    assert after["total"]["p50"] == pytest.approx(told["total"]["p50"])
    piped = run(*words, environ=environ)  # no terminal: one look
    assert "No gateway answers; this is of" in piped.stdout


def test_a_gateway_that_wants_an_admin_key_is_told(
    tmp_path: Path, place: tuple[Path, str, dict[str, str], Child]
) -> None:
    file, _, environ, _ = place
    command = [sys.executable, "-m", "gateway", "--config", str(file), "serve", "--port", "0"]
    other = {**environ, "TIERGATE_ADMIN_KEY": "k" * 32, "TIERGATE_DATA": str(tmp_path / "other")}
    child = Child(command, tmp_path / "closed", PYTHONUNBUFFERED="1", **other)
    try:
        found = until(lambda: re.search(r"on (http://127\.0\.0\.1:\d+)", child.out), f"{child.err}")
        assert found is not None
        words: list[str | Path] = ["--config", file, "top", "--url", found[1], "--json"]
        refused = run(*words, environ=environ)
        assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
        assert run(*words, environ=other).exit_code == 0
    finally:
        child.stop()


def test_in_a_terminal_keys_and_sizes_do_what_they_say(
    tmp_path: Path, place: tuple[Path, str, dict[str, str], Child]
) -> None:
    file, url, environ, _ = place
    words: list[str | Path] = ["--config", file, "top", "--url", url, "--interval", "0.5"]
    with Terminal(words, folder=tmp_path, environ=environ) as terminal:
        assert "\x1b[?1049h" in terminal.until("calls/s")
        assert "fast" in terminal.until("q quit")
        terminal.press("\x1b[C")
        terminal.until("lab   ")
        assert "acme" in terminal.until("q quit")
        terminal.press("p")
        terminal.until("paused")
        terminal.resize(50, 12)
        frame = terminal.until("left/right by ~").rpartition("\x1b[H")[2]
        assert (
            max(len(click.unstyle(line)) for line in frame.replace("\x1b[K", "").split("\r\n"))
            <= 50
        )
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.text.endswith("\x1b[?25h\x1b[?1049l")
        assert terminal.after == terminal.before


@pytest.mark.parametrize(
    ("how", "status"), [("\x03", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_however_it_ends_the_terminal_is_as_before(
    tmp_path: Path, how: str | signal.Signals, status: int
) -> None:
    """Of the ledger here: nothing runs."""
    file = config(tmp_path)
    environ = {**ON, "TIERGATE_DATA": str(tmp_path / "data")}
    words: list[str | Path] = ["--config", file, "top", "--url", "http://127.0.0.1:1"]
    with Terminal(words, folder=tmp_path, environ=environ) as terminal:
        assert "no gateway answers" in terminal.until("q quit")
        if isinstance(how, str):
            terminal.press(how)
        else:
            terminal.signal(how)
        assert terminal.end() == status
        assert "\x1b[?25h\x1b[?1049l" in terminal.text
        assert terminal.after == terminal.before


def test_without_colours_there_are_none(tmp_path: Path) -> None:
    environ = {**ON, "TIERGATE_DATA": str(tmp_path / "data"), "NO_COLOR": "1"}
    words: list[str | Path] = ["--config", config(tmp_path), "top", "--url", "http://127.0.0.1:1"]
    with Terminal(words, folder=tmp_path, environ=environ) as terminal:
        frame = terminal.until("q quit")
        terminal.press("q")
        assert terminal.end() == 0
    assert not re.search(r"\x1b\[[\d;]*m", frame)
