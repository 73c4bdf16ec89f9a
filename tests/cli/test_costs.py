"""The command `costs`: what people, spreadsheets and programs read of the ledger."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import pytest
from click.testing import CliRunner, Result

from gateway.cli.costs import costs, moment
from gateway.cli.table import Column, draw, number, usd
from gateway.core.entry import Entry
from gateway.ledger.journal import Journal
from tests.ledger.rows import entry

BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True)
class Ledger:
    store_path: Path
    journal_folder: Path
    time_zone: str = "UTC"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db", tmp_path / "journal")


def write(ledger: Ledger, *rows: Entry) -> None:
    journal = Journal(ledger.journal_folder)
    for row in rows:
        journal.write(row)
    journal.close()


def run(ledger: Ledger, *words: str) -> Result:
    return CliRunner().invoke(costs, words, obj=lambda: ledger)


ROWS = (
    entry("a", tier="reasoning", cost=Decimal("1.50"), input=1_000, output=2_000, reasoning=9),
    entry("b", tier="fast", cost=Decimal("0.0000126"), input=12, output=30),
    entry("c", tier="fast", state="cache_hit", cost=Decimal(0)),
    entry("d", tier="smart", cost=None, model="new", input=5, output=6, key="bob"),
)


def test_a_table_by_tier_shows_what_is_unknown_as_unknown(ledger: Ledger) -> None:
    write(ledger, *ROWS)
    result = run(ledger)
    assert result.exit_code == 0
    lines = [line.rstrip() for line in result.output.splitlines()]
    assert lines == [
        "tier        calls   cached   input   output   reasoning        USD   unknown",
        "─" * 76,
        "reasoning       1        0   1,000    2,000           9   1.500000         0",
        "fast            2        1      12       30           -   0.000013         0",
        "smart           1        0       5        6           -    unknown         1",
        "─" * 76,
        "total           4        1   1,017    2,036           9   1.500013         1",
        "1 call has no known cost; the sums leave it out.",
    ]


def test_a_pipe_gets_every_column_however_wide(ledger: Ledger) -> None:
    write(ledger, *(entry(str(n), model="m" * 150, cost=None, cache_read=1) for n in range(2)))
    result = run(ledger, "--by", "model,key", "--by", "lab")
    assert "\x1b" not in result.output
    head, _, row, *_, note = result.output.splitlines()
    heads = "model key lab calls cached input cache read output USD unknown"
    assert " ".join(head.split()) == heads
    assert row.split()[:3] == ["m" * 150, "alice", "openai"]
    assert note == "2 calls have no known cost; the sums leave them out."


def test_where_every_cost_is_known_nothing_is_said_of_the_unknown(ledger: Ledger) -> None:
    write(ledger, *ROWS[:3])
    assert "known" not in run(ledger).output


def test_fresh_calls_show_without_anything_else_running(ledger: Ledger) -> None:
    write(ledger, ROWS[0])
    assert json.loads(run(ledger, "--json").output)["total"]["calls"] == 1
    write(ledger, ROWS[1])
    assert json.loads(run(ledger, "--json").output)["total"]["calls"] == 2


def test_json_has_exact_decimals_and_null_for_unknown(ledger: Ledger) -> None:
    write(ledger, *ROWS, entry("e", tier="fast", cost=Decimal("1E-12")))
    result = run(ledger, "--json", "--zone", "Europe/Berlin", "--since", "2026-10-01")
    assert json.loads(result.output) == {
        "since": datetime(2026, 10, 1, tzinfo=BERLIN).timestamp(),
        "until": None,
        "zone": "Europe/Berlin",
        "by": ["tier"],
        "groups": [
            {
                "tier": "reasoning",
                "calls": 1,
                "cached": 0,
                "failed": 0,
                "input": 1000,
                "cache_read": None,
                "cache_write": None,
                "output": 2000,
                "reasoning": 9,
                "cost": "1.50",
                "unknown": 0,
            },
            {
                "tier": "fast",
                "calls": 3,
                "cached": 1,
                "failed": 0,
                "input": 24,
                "cache_read": None,
                "cache_write": None,
                "output": 60,
                "reasoning": None,
                "cost": "0.000012600001",
                "unknown": 0,
            },
            {
                "tier": "smart",
                "calls": 1,
                "cached": 0,
                "failed": 0,
                "input": 5,
                "cache_read": None,
                "cache_write": None,
                "output": 6,
                "reasoning": None,
                "cost": None,
                "unknown": 1,
            },
        ],
        "total": {
            "calls": 5,
            "cached": 1,
            "failed": 0,
            "input": 1029,
            "cache_read": None,
            "cache_write": None,
            "output": 2066,
            "reasoning": 9,
            "cost": "1.500012600001",
            "unknown": 1,
        },
    }


def test_csv_has_exact_decimals_and_nothing_for_unknown(ledger: Ledger) -> None:
    write(ledger, *ROWS, entry("e", tier="fast", key='a,"b', cost=Decimal("1E-12")))
    result = run(ledger, "--csv", "--by", "tier,key")
    assert result.output.splitlines()[0] == (
        "tier,key,calls,cached,failed,input,cache_read,cache_write,output,reasoning,cost,unknown"
    )
    table = list(csv.DictReader(io.StringIO(result.output)))
    assert [(row["tier"], row["key"], row["cost"]) for row in table] == [
        ("reasoning", "alice", "1.50"),
        ("fast", "alice", "0.0000126"),
        ("fast", 'a,"b', "0.000000000001"),
        ("smart", "bob", ""),
    ]
    assert result.output.splitlines()[-1] == "smart,bob,1,0,0,5,,,6,,,1"


def test_days_are_those_of_the_configured_zone_or_of_the_one_asked_for(ledger: Ledger) -> None:
    late = datetime(2026, 10, 31, 23, 30, tzinfo=UTC).timestamp()
    write(ledger, entry("a", at=late))
    for zone, words, day in (
        ("UTC", [], "2026-10-31"),
        ("Europe/Berlin", [], "2026-11-01"),
        ("Europe/Berlin", ["--zone", "UTC"], "2026-10-31"),
    ):
        here = Ledger(ledger.store_path, ledger.journal_folder, zone)
        found = json.loads(run(here, "--json", "--by", "day", *words).output)
        assert [group["day"] for group in found["groups"]] == [day]


def test_only_and_a_period_choose_calls(ledger: Ledger) -> None:
    write(ledger, *ROWS)
    found = json.loads(run(ledger, "--json", "--only", "key=bob", "--only", "key=eve").output)
    assert (found["total"]["calls"], found["groups"][0]["tier"]) == (1, "smart")
    for words in (["--until", "2026-10-25"], ["--since", "2026-10-27"], ["--only", "tier=none"]):
        result = run(ledger, *words)
        assert (result.exit_code, result.output) == (0, "No such calls.\n")
    assert json.loads(run(ledger, "--json", "--until", "2026-10-26").output)["total"]["calls"] == 4
    long_ago = run(ledger, "--json", "--since", "7d")  # the rows are of a day that has a date
    assert long_ago.exit_code == 0


def test_an_empty_ledger_says_so_and_is_not_made(ledger: Ledger) -> None:
    result = run(ledger)
    assert (result.exit_code, result.output) == (0, "No calls in the ledger.\n")
    assert not ledger.store_path.exists()
    assert not ledger.journal_folder.exists()
    found = json.loads(run(ledger, "--json").output)
    assert (found["groups"], found["total"]["calls"], found["total"]["cost"]) == ([], 0, None)
    ledger.journal_folder.mkdir()
    assert run(ledger).output == "No calls in the ledger.\n"


def test_a_ledger_that_cannot_be_read_is_one_clear_line(ledger: Ledger) -> None:
    ledger.store_path.write_bytes(b"this is no database, and long enough to be looked at" * 20)
    result = run(ledger)
    assert result.exit_code == 1
    assert result.output == "Error: the ledger cannot be read: file is not a database\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "colour"], "'colour' is none of tier, lab, model, provider, key, tag, day"),
        (["--only", "tier"], "'tier' is not NAME=VALUE"),
        (["--only", "tier="], "'tier=' is not NAME=VALUE"),
        (["--only", "colour=red"], "'colour=red' is not NAME=VALUE"),
        (["--zone", "Mars/Olympus"], "there is no time zone 'Mars/Olympus'"),
        (["--zone", "../../etc/passwd"], "there is no time zone"),
        (["--since", "yesterday"], "'yesterday' is no time"),
        (["--until", "2026-13-01"], "'2026-13-01' is no time"),
    ],
)
def test_what_was_written_wrong_is_said(ledger: Ledger, words: list[str], message: str) -> None:
    result = run(ledger, *words)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        ("90s", False, 1_793_000_000 - 90),
        ("90m", False, 1_793_000_000 - 5_400),
        ("24h", False, 1_793_000_000 - 86_400),
        ("7d", True, 1_793_000_000 - 604_800),
        ("2w", False, 1_793_000_000 - 1_209_600),
        ("2026-03-29", False, datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp()),
        ("2026-03-29", True, datetime(2026, 3, 29, 22, tzinfo=UTC).timestamp()),
        ("2026-10-25", True, datetime(2026, 10, 25, 23, tzinfo=UTC).timestamp()),
        ("2026-11-01T09:30", True, datetime(2026, 11, 1, 8, 30, tzinfo=UTC).timestamp()),
        ("2026-11-01T09:30+00:00", True, datetime(2026, 11, 1, 9, 30, tzinfo=UTC).timestamp()),
        ("2026-11-01 09:30Z", False, datetime(2026, 11, 1, 9, 30, tzinfo=UTC).timestamp()),
    ],
)
def test_moments(text: str, end: bool, expected: float) -> None:
    assert moment(text, 1_793_000_000, BERLIN, end=end) == expected


@pytest.mark.parametrize("text", ["", "7", "7y", "-7d", "9999-12-31", "2026-11", "1" * 400 + "d"])
def test_no_moments(text: str) -> None:
    with pytest.raises(click.BadParameter):
        moment(text, 1_793_000_000.0, BERLIN, end=True)


def test_numbers_and_amounts() -> None:
    assert (number(None), number(0), number(1_234_567)) == ("-", "0", "1,234,567")
    assert (usd(None), usd(Decimal(0)), usd(Decimal("1234.5"))) == ("-", "0.000000", "1,234.500000")
    assert usd(Decimal("0.0000004")) == "<0.000001"
    assert usd(Decimal("0.000001")) == "0.000001"


def test_cells_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    draw([Column("[red]a[/]")], [["[bold]b"], ["\x1b[31mc\n"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [lines[0], *lines[2:]] == ["[red]a[/]", "[bold]b", "\ufffd[31mc\ufffd"]


@pytest.mark.parametrize(("no_color", "colour"), [("", True), ("1", False)])
def test_in_a_terminal_no_color_is_respected(no_color: str, colour: bool) -> None:
    """A real terminal, 60 columns wide, in which no number is cut."""
    program = (
        "from gateway.cli.table import Column, draw\n"
        "draw([Column('name'), Column('USD', right=True)], [['m' * 90, '1,234,567.000001']],"
        " total=['total', '1'], notes=['a note'])"
    )
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60", "NO_COLOR": no_color}
    child = subprocess.Popen([sys.executable, "-c", program], stdout=theirs, env=env)
    os.close(theirs)
    out = b""
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
        try:
            while data := terminal.read(4096):
                out += data
        except OSError:  # EIO: the end of a terminal on Linux
            pass
    assert child.wait(timeout=60) == 0
    assert b"1,234,567.000001" in out
    assert (b"\x1b[3" in out) is colour


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_sec_log_csv_names_are_no_formulas(ledger: Ledger, sign: str) -> None:
    """SEC-LOG: clients choose tags and names, and spreadsheets run what looks like a formula."""
    name = f"{sign}cmd|' /C calc'!A0\r\n\x1b[2J,\"x"
    write(ledger, entry("a", key=name, tier=None, cost=Decimal("0.5")))
    output = run(ledger, "--by", "key,tier,lab", "--csv").output
    assert len(output.splitlines()) == 2
    _, row = csv.reader(io.StringIO(output))
    assert row[0] == f"'{sign}cmd|' /C calc'!A0" + "\N{REPLACEMENT CHARACTER}" * 3 + '[2J,"x'
    assert row[1:4] == ["", "openai", "1"]
    assert "0.5" in row
