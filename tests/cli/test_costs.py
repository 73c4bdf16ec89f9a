"""The command `costs`: what people, spreadsheets and programs get from the ledger."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from gateway.cli.costs import costs
from gateway.cli.session import LedgerLocation
from gateway.cli.terminal import (
    TableColumn,
    format_count,
    format_upper_bound,
    format_usd,
    print_table,
)
from gateway.core.ledger_rows import Row
from gateway.ledger.journal import Journal
from gateway.ledger.sqlite import SqliteStore
from tests.ledger.busy import WAITS, feeding
from tests.ledger.rows import entry

BERLIN = ZoneInfo("Europe/Berlin")
MONEY = ("cost", "wasted", "estimate", "baseline", "saved", "reserved")


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerLocation:
    return ledger_at(tmp_path)


def ledger_at(folder: Path, zone: str = "UTC") -> LedgerLocation:
    return LedgerLocation(
        f"sqlite:///{folder}/ledger.db", folder / "journal", folder / "content", zone
    )


def write(ledger: LedgerLocation, *rows: Row) -> None:
    journal = Journal(ledger.journal_folder)
    for row in rows:
        journal.write(row)
    journal.close()


def run(ledger: LedgerLocation, *words: str) -> Result:
    return CliRunner().invoke(costs, words, obj=lambda: ledger)


ROWS = (
    entry("a", tier="reasoning", cost=Decimal("1.50"), input=1_000, output=2_000, reasoning=9),
    entry("b", tier="fast", cost=Decimal("0.0000126"), input=12, output=30),
    entry("c", tier="fast", state="cache_hit", cost=Decimal(0)),
    entry("d", tier="smart", cost=None, model="new", input=5, output=6, key="bob"),
)


def test_costs_waits_for_a_gateway_that_feeds_the_store(
    ledger: LedgerLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums include every row that was written before the command started."""
    write(ledger, *ROWS)
    defaults = SqliteStore.__init__.__kwdefaults__
    assert defaults is not None
    with feeding(ledger.journal_folder) as other:
        monkeypatch.setitem(defaults, "sleep", other.sleep)
        report = json.loads(run(ledger, "--json").output)
    assert (report["total"]["calls"], len(other.waited)) == (len(ROWS), WAITS)


def test_a_table_by_tier_shows_unknown_costs_as_unknown(ledger: LedgerLocation) -> None:
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
        "1 call has an unknown cost; the sums leave it out.",
    ]


def test_a_pipe_gets_every_column_however_wide(ledger: LedgerLocation) -> None:
    write(ledger, *(entry(str(n), model="m" * 150, cost=None, cache_read=1) for n in range(2)))
    result = run(ledger, "--by", "model,key", "--by", "lab")
    assert "\x1b" not in result.output
    head, _, row, *_, note = result.output.splitlines()
    heads = "model key lab calls input cache read output USD unknown"
    assert " ".join(head.split()) == heads
    assert row.split()[:3] == ["m" * 150, "alice", "openai"]
    assert note == "2 calls have an unknown cost; the sums leave it out."


def test_savings_are_in_dollars_and_percent_of_the_baseline(ledger: LedgerLocation) -> None:
    """Savings are net of failed attempts.

    A call of unknown cost is in neither sum, and may cost more than nothing.
    """
    write(
        ledger,
        entry("a", cost=Decimal("0.30"), wasted=Decimal("0.10"), estimate=Decimal("0.05"), baseline=Decimal(1)),
        entry("b", state="cache_hit", cost=Decimal(0), wasted=Decimal(0), baseline=Decimal("0.5")),
        entry("c", tier="smart", cost=Decimal("0.75"), wasted=Decimal(0), baseline=Decimal("0.5")),
        entry("d", tier="reasoning", cost=None, baseline=Decimal(9), reserved=Decimal("0.1201")),
    )  # fmt: skip
    lines = run(ledger).output.splitlines()
    table = [line.split() for line in (lines[0], *lines[2:5], lines[6])]
    assert table == [
        ["tier", "calls", "cached", "input", "output", "USD", "wasted", "estimate", "baseline", "saved", "unknown", "saved", "%"],
        ["smart", "1", "0", "12", "30", "0.750000", "0.000000", "-", "0.500000", "-0.250000", "0", "-50.0"],
        ["fast", "2", "1", "12", "30", "0.300000", "0.100000", "0.050000", "1.500000", "1.200000", "0", "80.0"],
        ["reasoning", "1", "0", "12", "30", "unknown", "-", "-", "-", "-", "1", "-"],
        ["total", "4", "1", "36", "90", "1.050000", "0.100000", "0.050000", "2.000000", "0.950000", "1", "47.5"],
    ]  # fmt: skip
    assert lines[-1] == ("Unknown and estimated costs may be up to $0.13 more, as far as bounded.")
    (total,) = csv.DictReader(io.StringIO(run(ledger, "--csv", "--by", "lab").output))
    assert (total["saved"], total["baseline"], total["reserved"]) == ("0.95", "2.0", "0.1201")


def test_without_unknown_costs_the_table_does_not_mention_them(ledger: LedgerLocation) -> None:
    write(ledger, *ROWS[:3])
    assert "known" not in run(ledger).output


def test_costs_feeds_new_calls_without_a_running_gateway(ledger: LedgerLocation) -> None:
    write(ledger, ROWS[0])
    assert json.loads(run(ledger, "--json").output)["total"]["calls"] == 1
    write(ledger, ROWS[1])
    assert json.loads(run(ledger, "--json").output)["total"]["calls"] == 2


def test_json_has_exact_decimals_and_null_for_unknown(ledger: LedgerLocation) -> None:
    write(ledger, *ROWS, entry("e", tier="fast", cost=Decimal("1E-12")))
    result = run(ledger, "--json", "--zone", "Europe/Berlin", "--since", "2026-10-01")
    report = json.loads(result.output)
    assert list(report) == ["since", "until", "zone", "by", "groups", "total", "damaged_rows"]
    assert report["since"] == datetime(2026, 10, 1, tzinfo=BERLIN).timestamp()
    assert (report["until"], report["zone"], report["by"]) == (None, "Europe/Berlin", ["tier"])
    plain = {
        "cached": 0,
        "failed": 0,
        "retried": 0,
        "cache_read": None,
        "cache_write": None,
        **dict.fromkeys(MONEY),
    }
    assert report["groups"] == [
        {"tier": "reasoning", **plain, "calls": 1, "input": 1000, "output": 2000, "reasoning": 9, "cost": "1.50", "unknown": 0},
        {"tier": "fast", **plain, "calls": 3, "cached": 1, "input": 24, "output": 60, "reasoning": None, "cost": "0.000012600001", "unknown": 0},
        {"tier": "smart", **plain, "calls": 1, "input": 5, "output": 6, "reasoning": None, "unknown": 1},
    ]  # fmt: skip
    assert report["total"] == {
        **plain, "calls": 5, "cached": 1, "input": 1029, "output": 2066, "reasoning": 9, "cost": "1.500012600001", "unknown": 1,
    }  # fmt: skip


def test_json_on_a_terminal_escapes_control_characters_in_names(ledger: LedgerLocation) -> None:
    """Clients choose tags: U+009B begins a control sequence, U+202E reverses a line."""
    write(ledger, entry("a", tags=("\x9b2Jx", "\u202ey")))
    output = run(ledger, "--json", "--by", "tag").output
    assert {group["tag"] for group in json.loads(output)["groups"]} == {"\x9b2Jx", "\u202ey"}
    assert output.replace("\n", "").isprintable()


def test_csv_has_exact_decimals_and_an_empty_cell_for_unknown(ledger: LedgerLocation) -> None:
    write(ledger, *ROWS, entry("e", tier="fast", key='a,"b', cost=Decimal("1E-12")))
    result = run(ledger, "--csv", "--by", "tier,key")
    assert result.output.splitlines()[0] == (
        "tier,key,calls,cached,failed,input,cache_read,cache_write,output,reasoning,cost,"
        "wasted,estimate,baseline,saved,reserved,unknown,retried"
    )
    table = list(csv.DictReader(io.StringIO(result.output)))
    assert [(row["tier"], row["key"], row["cost"]) for row in table] == [
        ("reasoning", "alice", "1.50"),
        ("fast", "alice", "0.0000126"),
        ("fast", 'a,"b', "0.000000000001"),
        ("smart", "bob", ""),
    ]
    assert result.output.splitlines()[-1] == "smart,bob,1,0,0,5,,,6,,,,,,,,1,0"


def test_days_follow_the_configured_zone_or_the_option(
    ledger: LedgerLocation,
) -> None:
    late = datetime(2026, 10, 31, 23, 30, tzinfo=UTC).timestamp()
    write(ledger, entry("a", at=late))
    for zone, words, day in (
        ("UTC", [], "2026-10-31"),
        ("Europe/Berlin", [], "2026-11-01"),
        ("Europe/Berlin", ["--zone", "UTC"], "2026-10-31"),
    ):
        zoned = ledger_at(ledger.journal_folder.parent, zone)
        report = json.loads(run(zoned, "--json", "--by", "day", *words).output)
        assert [group["day"] for group in report["groups"]] == [day]


def test_only_since_and_until_select_calls(ledger: LedgerLocation) -> None:
    write(ledger, *ROWS)
    report = json.loads(run(ledger, "--json", "--only", "key=bob", "--only", "key=eve").output)
    assert (report["total"]["calls"], report["groups"][0]["tier"]) == (1, "smart")
    for words in (["--until", "2026-10-25"], ["--since", "2026-10-27"], ["--only", "tier=none"]):
        result = run(ledger, *words)
        assert (result.exit_code, result.output) == (0, "No such calls.\n")
    assert json.loads(run(ledger, "--json", "--until", "2026-10-26").output)["total"]["calls"] == 4
    long_ago = run(ledger, "--json", "--since", "7d")  # the rows have a fixed date
    assert long_ago.exit_code == 0


def test_an_empty_ledger_says_so_and_costs_creates_nothing(ledger: LedgerLocation) -> None:
    result = run(ledger)
    assert (result.exit_code, result.output) == (0, "No calls in the ledger.\n")
    assert list(ledger.journal_folder.parent.iterdir()) == []
    report = json.loads(run(ledger, "--json").output)
    assert (report["groups"], report["total"]["calls"], report["total"]["cost"]) == ([], 0, None)
    ledger.journal_folder.mkdir()
    assert run(ledger).output == "No calls in the ledger.\n"


def test_a_ledger_that_cannot_be_read_is_one_clear_line(ledger: LedgerLocation) -> None:
    (ledger.journal_folder.parent / "ledger.db").write_bytes(
        b"this is no database, and long enough to be looked at" * 20
    )
    result = run(ledger)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: the ledger cannot be read: ")
    assert "file is not a database; move it away: the gateway rebuilds it" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--by", "colour"],
            "'colour' is none of tier, lab, model, provider, key, user, team, tenant, tag, day, rule",
        ),
        (["--since", "7d", "reprice"], "write options behind 'reprice'."),
        (["repriece"], "No such command 'repriece'"),
        (["--only", "tier"], "'tier' is not NAME=VALUE"),
        (["--only", "tier="], "'tier=' is not NAME=VALUE"),
        (["--only", "colour=red"], "'colour=red' is not NAME=VALUE"),
        (["--zone", "Mars/Olympus"], "there is no time zone 'Mars/Olympus'"),
        (["--zone", "../../etc/passwd"], "there is no time zone"),
        (["--since", "yesterday"], "'yesterday' is no time"),
        (["--until", "2026-13-01"], "'2026-13-01' is no time"),
    ],
)
def test_a_wrong_option_is_refused_with_a_message(
    ledger: LedgerLocation, words: list[str], message: str
) -> None:
    result = run(ledger, *words)
    assert result.exit_code == 2
    assert message in result.output


def test_counts_and_amounts_are_formatted_for_people() -> None:
    assert (format_count(None), format_count(0), format_count(1_234_567)) == ("-", "0", "1,234,567")
    assert (format_usd(None), format_usd(Decimal(0)), format_usd(Decimal("1234.5"))) == (
        "-",
        "0.000000",
        "1,234.500000",
    )
    assert format_usd(Decimal("0.0000004")) == "<0.000001"
    assert format_usd(Decimal("0.000001")) == "0.000001"
    assert (format_usd(Decimal("-0.0000004")), format_usd(Decimal("-0.5"))) == (
        ">-0.000001",
        "-0.500000",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [("12.301", "12.31"), ("1234", "1,234.00"), ("0.0101", "0.011"), ("0.99999", "1.00"), ("0.00000123", "0.0000013")],
)  # fmt: skip
def test_an_upper_bound_is_never_rounded_down(value: str, text: str) -> None:
    assert format_upper_bound(Decimal(value)) == text


def test_a_table_cell_shows_markup_and_control_characters_as_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table([TableColumn("[red]a[/]")], [["[bold]b"], ["\x1b[31mc\n"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [lines[0], *lines[2:]] == ["[red]a[/]", "[bold]b", "\ufffd[31mc\ufffd"]


@pytest.mark.parametrize(("no_color", "colour"), [("", True), ("1", False)])
def test_a_real_terminal_honours_no_color(no_color: str, colour: bool) -> None:
    """The test uses a real terminal, 60 columns wide, in which no number is cut."""
    program = (
        "from gateway.cli.terminal import TableColumn, print_table\n"
        "print_table([TableColumn('name'), TableColumn('USD', numeric=True)], [['m' * 90, '1,234,567.000001']],"
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
def test_sec_log_csv_names_are_no_formulas(ledger: LedgerLocation, sign: str) -> None:
    """SEC-LOG: clients choose tags and names; spreadsheets run text that looks like a formula."""
    name = f"{sign}cmd|' /C calc'!A0\r\n\x1b[2J,\"x"
    write(ledger, entry("a", key=name, tier=None, cost=Decimal("0.5")))
    output = run(ledger, "--by", "key,tier,lab", "--csv").output
    assert len(output.splitlines()) == 2
    _, row = csv.reader(io.StringIO(output))
    assert row[0] == f"'{sign}cmd|' /C calc'!A0" + "\N{REPLACEMENT CHARACTER}" * 3 + '[2J,"x'
    assert row[1:4] == ["", "openai", "1"]
    assert "0.5" in row
