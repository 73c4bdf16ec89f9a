"""The command `costs show`: all that the ledger knows of one call."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FinalRow
from gateway.ledger.transcripts import Transcript
from tests.cli.test_costs_reprice import NOVEMBER, call, tiergate, write


def show(folder: Path, *rows: FinalRow | AttemptRow, id: str = "a") -> list[str]:
    write(folder, *rows)
    result = tiergate(folder, "show", id)
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.output.splitlines()]


def test_costs_show_prints_a_row_field_by_field(tmp_path: Path) -> None:
    """Empty fields are left out; numbers and times are formatted for people."""
    row = call(
        "a", at=NOVEMBER, cost=Decimal("0.00000001"), tags=("eu", "x\x1b[2J"), stream=True, dropped=("top_k",),
        cache_write=2048, cache_write_by={"1h": 2000, "": 48}, service="priority", price="config 2026-01-01",
    )  # fmt: skip
    lines = show(tmp_path, row)
    for line in (
        "at 1794000000.500000 (2026-11-06 21:20:00 UTC)", "tags eu, x\ufffd[2J", "stream yes", "status 200",
        "input 1,000,000", "cache_write_by 1h 2,000, unsaid 48", "cost 0.00000001", "wasted 0", "dropped top_k",
    ):  # fmt: skip
        assert line in lines
    assert not [
        line
        for line in lines
        if line.startswith(("confidence", "billed", "cursor", "repriced", "v "))
    ]


def test_costs_show_prints_the_old_price_and_the_price_of_now(tmp_path: Path) -> None:
    lines = show(
        tmp_path,
        call("a", cost=Decimal(3), price="config 2026-01-01"),
        call("b", cost=Decimal(3), price="old"),
    )
    assert lines[-1] == "The price, config 2026-01-01: input 1, output 2 USD per million tokens."
    assert show(tmp_path, id="b")[-1] == (
        "The price now would be config 2026-01-01: input 1, output 2 USD per million tokens."
    )


def test_costs_show_prints_the_prices_of_units(tmp_path: Path) -> None:
    units = {"image 1024x1792": Decimal("2.5"), "second": Decimal(1200)}
    row = call("a", operation="images.generate", units=units, model="painter", price="old")
    lines = show(tmp_path, row)
    assert "operation images.generate" in lines
    assert "units image 1024x1792 2.5, second 1,200" in lines
    assert "The price now would be config: 0.04 USD for one image 1024x1792." in lines
    assert "Unknown: acme/painter has no price of second: write one under `models`." in lines
    lines = show(tmp_path, call("b", model="painter", price="old"), id="b")
    assert "The price now would be config: nothing is known of it." in lines


def test_costs_show_prints_the_attempts_of_a_call(tmp_path: Path) -> None:
    attempts = [
        AttemptRow(id="a", attempt=1, at=1.5, provider="acme", account="main", model="huge", status=500, problem="upstream_error",
                duration=0.25, cost=Decimal(0)),
        AttemptRow(id="a", attempt=2, at=1.5, provider="acme", model="small", problem="upstream_timeout", reserved=Decimal("0.5")),
    ]  # fmt: skip
    lines = show(
        tmp_path,
        *attempts,
        call("a", attempts=3, cost=Decimal(3), wasted=None, reserved=Decimal("0.5")),
    )
    assert lines[-4:] == [
        "1 acme/huge main 500 upstream_error 0.250 0.000000",
        "2 acme/small - - upstream_timeout - unknown",
        "",
        "Unknown: an attempt failed after the provider may have started, and reported no usage.",
    ][-4:] or lines[-5:-2] == [
        "1 acme/huge main 500 upstream_error 0.250 0.000000",
        "2 acme/small - - upstream_timeout - unknown",
        "",
    ]
    assert "It may have cost $0.5 at most." in lines


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (call("a"), "acme/small has a price now: run `tiergate costs reprice`"),
        (call("a", model="m"), "acme/m has no price: write one under `models`"),
        (call("a", service="flex"), "acme/small has no price of service tier flex: write one under `models`"),
        (call("a", cache_read=5), "acme/small has no price of cached tokens: write one under `models`"),
        (call("a", tools={"web_search": 1}), "acme/small has no price of web_search requests: write one under `models`"),
        (call("a", input=None), "the usage is not known"),
        (call("a", state="unknown_crash"), "the process ended during the call, before it read what the provider billed"),
        (call("a", state="failed"), "an attempt failed after the provider may have started, and reported no usage"),
    ],
)  # fmt: skip
def test_costs_show_says_why_a_cost_is_unknown(tmp_path: Path, row: FinalRow, why: str) -> None:
    lines = show(tmp_path, row)
    assert f"Unknown: {why}." in lines


def test_costs_show_prints_the_recorded_text_without_control_characters(tmp_path: Path) -> None:
    """The text cannot control the terminal."""
    folder = tmp_path / "data" / "content"
    folder.mkdir(parents=True)
    text = Transcript(id="a", at=1.5, prompt='{"model":"auto"}\nand\x1b[2J', answer="Hello.")
    (folder / "20261106T21-1-a.jsonl").write_bytes(jsonio.dumps(text) + b"\n")
    lines = show(tmp_path, call("a", cost=Decimal(3)))
    start = lines.index("The client sent:")
    assert lines[start:] == [
        "The client sent:",
        '{"model":"auto"}',
        "and\ufffd[2J",
        "",
        "The client got:",
        "Hello.",
    ]


def test_json_has_the_fields_of_the_ledger_endpoint(tmp_path: Path) -> None:
    write(tmp_path, call("a", cost=Decimal("1E-9")))
    report = json.loads(tiergate(tmp_path, "show", "a", "--json").output)
    assert (report["kind"], report["id"], report["cost"], report["tries"]) == (
        "final",
        "a",
        "0.000000001",
        [],
    )
    assert report["repriced"] is None


def test_costs_show_reports_a_call_that_the_ledger_does_not_have(tmp_path: Path) -> None:
    for _ in range(2):
        result = tiergate(tmp_path, "show", "a")
        assert result.exit_code == 1
        assert "the ledger has no row of 'a'" in result.output
        write(tmp_path, call("b"))


@pytest.mark.parametrize("id", ["\udcff", "a\0"])
def test_costs_show_accepts_an_id_that_is_not_valid_text(tmp_path: Path, id: str) -> None:
    """Bytes that are not UTF-8 reach the program from a command line as lone surrogates."""
    write(tmp_path, call("a"))
    result = tiergate(tmp_path, "show", id)
    assert result.exit_code == 1
    assert "the ledger has no row of" in result.output
