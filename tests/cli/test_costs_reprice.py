"""The command `costs reprice`: later prices go into the journal and never replace a row."""

import json
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import Result

from gateway.cli import costs_reprice
from gateway.cli.costs_reprice import PriceList
from gateway.core.ledger_rows import FinalRow, RepriceRow, Row
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.ledger import journal
from gateway.ledger.journal import Journal
from gateway.ledger.query_params import parse_query
from gateway.ledger.store import open_store
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from tests.cli.run import ON, config, run
from tests.ledger.rows import attempt, entry

PRICED = """\
version: 1
default: {lab: acme}
ledger: {baseline: reasoning}
providers:
  acme:
    base_url: https://acme.example/v1
    dialects: {openai-chat: /chat/completions}
    accounts: {main: "${ACME_API_KEY}"}
    prices: openai
  off:
    base_url: https://off.example/v1
    dialects: {openai-chat: /chat/completions}
    accounts: {main: "${NEVER_SET}"}
labs:
  acme:
    fast: [{model: small}]
    reasoning: [{model: huge}]
  off: {fast: [{model: gone}]}
models:
  small:
    price: {input: 1, output: 2, as_of: "2026-01-01", from: {2026-11-01: {input: 10, output: 20}}}
  huge: {price: {input: 100, output: 200}}
  gone: {price: {input: 3, output: 3}}
  painter: {price: {units: {image 1024x1792: 0.04}}}
"""
OCTOBER, NOVEMBER = 1_793_000_000.5, 1_794_000_000.5


def call(id: str, **changes: object) -> FinalRow:
    """Return a call of a million tokens in and out, without a price so far."""
    plain = {
        "lab": "acme", "provider": "acme", "model": "small", "input": 1_000_000, "output": 1_000_000,
        "cost": None, "wasted": Decimal(0), "usage": "provider", "source": "rule", "at": OCTOBER,
    }  # fmt: skip
    return entry(id, **{**plain, **changes})


def write(folder: Path, *rows: Row) -> None:
    segments = Journal(folder / "data" / "ledger")
    for row in rows:
        segments.write(row)
    segments.close()


def tiergate(folder: Path, *words: str, text: str = PRICED) -> Result:
    environ = {**ON, "TIERGATE_DATA": str(folder / "data")}
    return run("--config", config(folder, text), "costs", *words, environ=environ)


def read_costs(folder: Path) -> dict[str, object]:
    store = open_store(f"sqlite:///{folder}/data/ledger.db")
    return {row.id: row.cost for row in store.read_entries()}


def read_reprice_rows(folder: Path) -> list[RepriceRow]:
    rows = [
        row
        for path in journal.list_segments(folder / "data" / "ledger")
        for row, _ in journal.read_rows(path)
    ]
    return [row for row in rows if isinstance(row, RepriceRow)]


def test_calls_without_a_price_get_the_price_of_their_day(tmp_path: Path) -> None:
    """The command prices calls of a provider that is off by now, too.

    It leaves known costs and uncounted tokens as they are. A call to a model without a price still
    gets its baseline.
    """
    write(
        tmp_path,
        call("a"),
        call("b", at=NOVEMBER),
        call("c", provider="off", lab="off", model="gone"),
        call("d", cost=Decimal(7), baseline=Decimal(9)),
        call("e", input=None, output=None, usage=None),
        call("f", model="unheard-of"),
    )
    result = tiergate(tmp_path, "reprice")
    assert result.output.splitlines() == [
        "4 of 4 calls priced again, from $0 to $39; 3 of them had no cost before.",
        "1 are still unknown:",
        "  1: acme/unheard-of has no price: write one under `models`",
    ]
    three, thirty, six = Decimal(3), Decimal(30), Decimal(6)
    assert read_costs(tmp_path) == {
        "a": three,
        "b": thirty,
        "c": six,
        "d": Decimal(7),
        "e": None,
        "f": None,
    }
    versions = {row.id: row.price for row in read_reprice_rows(tmp_path)}
    assert versions == {
        "a": "config 2026-01-01",
        "b": "config 2026-01-01 from 2026-11-01",
        "c": "config",
        "f": None,
    }
    again = tiergate(tmp_path, "reprice")
    assert again.output.splitlines()[0].startswith("None of 2 calls has another price now.")
    assert len(read_reprice_rows(tmp_path)) == 4


def test_a_store_fed_from_the_journals_has_the_new_prices(tmp_path: Path) -> None:
    write(tmp_path, call("a"))
    tiergate(tmp_path, "reprice")
    other = open_store(f"sqlite:///{tmp_path}/other.db")
    other.feed(tmp_path / "data" / "ledger")
    (row,) = other.read_entries()
    assert (row.cost, row.price) == (Decimal(3), "config 2026-01-01")
    assert row.repriced is not None


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path, call("a"))
    before = sorted(path.name for path in (tmp_path / "data" / "ledger").glob("*.jsonl"))
    result = tiergate(tmp_path, "reprice", "--dry-run")
    assert result.output.startswith("1 of 1 calls would be priced again, from $0 to $3;")
    assert sorted(path.name for path in (tmp_path / "data" / "ledger").glob("*.jsonl")) == before
    assert read_costs(tmp_path) == {"a": None}


def test_reprice_all_corrects_a_period_after_a_wrong_price(tmp_path: Path) -> None:
    """The rows fill more than one page, and each row is repriced once."""
    count = costs_reprice._PAGE_ROWS + 1
    write(
        tmp_path,
        *(call(f"r{n}", cost=Decimal(1)) for n in range(count)),
        call("n", at=NOVEMBER, cost=Decimal(1)),
    )
    result = tiergate(tmp_path, "reprice", "--all", "--until", "2026-10-31")
    assert result.output == (
        f"{count:,} of {count:,} calls priced again, from ${count:,} to ${3 * count:,}; 0 of them had no cost before.\n"
    )
    assert len(read_reprice_rows(tmp_path)) == count
    assert read_costs(tmp_path)["n"] == Decimal(1)


def test_rows_that_a_gateway_feeds_meanwhile_are_repriced_once(tmp_path: Path) -> None:
    """The gateway runs meanwhile, and its store shows each new price as soon as it is written."""
    write(tmp_path, *(call(f"r{n}", cost=Decimal(1)) for n in range(3)))
    store = open_store(f"sqlite:///{tmp_path}/data/ledger.db")
    folder = tmp_path / "data" / "ledger"
    store.feed(folder)
    seen = []
    for row in costs_reprice._read_rows(store, parse_query(now=NOVEMBER)):
        seen.append(row.id)
        assert len(seen) < 4
        write(tmp_path, RepriceRow(id=row.id, at=time.time(), cost=Decimal(len(seen)), price="new"))
        store.feed(folder)
    assert seen == ["r0", "r1", "r2"]


def test_failed_attempts_are_part_of_the_new_cost(tmp_path: Path) -> None:
    """Attempts count even if the call's row lacks them, since the cost of one is unknown."""
    write(
        tmp_path,
        attempt("a", attempt=1, cost=Decimal("0.5"), estimate=Decimal("0.25")),
        attempt("a", attempt=2, cost=None, estimate=None),
        call("a", attempts=3, wasted=None),
        call("b"),
        attempt("c", attempt=1, cost=Decimal(2)),
        call("c", state="failed", cost=Decimal(2), wasted=Decimal(2), input=None, output=None),
    )
    assert "3 of 3 calls priced again, from $2 to $8.5" in tiergate(tmp_path, "reprice").output
    by_id = {row.id: (row.cost, row.estimate, row.baseline) for row in read_reprice_rows(tmp_path)}
    three = Decimal(300)
    assert by_id == {
        "a": (Decimal("3.5"), Decimal("0.25"), three),
        "b": (Decimal(3), Decimal(0), three),
        "c": (Decimal(2), None, Decimal(0)),
    }
    total = json.loads(tiergate(tmp_path, "--json").output)["total"]
    assert (total["cost"], total["saved"], total["unknown"]) == ("8.5", "591.5", 1)


def test_a_baseline_that_is_declared_later_applies_to_earlier_calls(tmp_path: Path) -> None:
    """The baseline of a call that its client pinned is the call's own target."""
    write(tmp_path, call("a", cost=Decimal(3)), call("b", cost=Decimal(3), source="pin"))
    assert "2 of 2 calls priced again" in tiergate(tmp_path, "reprice").output
    report = json.loads(tiergate(tmp_path, "--json", "--by", "source").output)
    by_source = {group["source"]: (group["baseline"], group["saved"]) for group in report["groups"]}
    assert by_source == {"rule": ("300", "297"), "pin": ("3", "0")}


def test_a_known_cost_stays_unless_the_operator_asks_for_all(tmp_path: Path) -> None:
    """A cost stays even if the row lacks a baseline and its price has changed since."""
    write(tmp_path, call("a", cost=Decimal(1), price="old"))
    assert "from $1 to $1" in tiergate(tmp_path, "reprice").output
    (row,) = read_reprice_rows(tmp_path)
    assert (row.cost, row.price, row.baseline) == (Decimal(1), "old", Decimal(300))
    assert "from $1 to $3" in tiergate(tmp_path, "reprice", "--all").output


def test_without_a_ledger_reprice_creates_nothing(tmp_path: Path) -> None:
    result = tiergate(tmp_path, "reprice")
    assert (result.exit_code, result.output) == (0, "There is nothing to price again.\n")
    assert not (tmp_path / "data").exists()


def test_reprice_says_why_a_cost_stays_unknown(tmp_path: Path) -> None:
    many = [call(f"m{n}", model=f"model-{n}") for n in range(costs_reprice._MAX_REASON_LINES + 2)]
    write(
        tmp_path, *many,
        call("s", service="priority"),
        call("t", tools={"web_search": 2}),
    )  # fmt: skip
    lines = tiergate(tmp_path, "reprice").output.splitlines()
    assert lines[1] == f"{costs_reprice._MAX_REASON_LINES + 4} are still unknown:"
    assert lines[-1] == "  and 4 more reasons"
    assert len(lines) == costs_reprice._MAX_REASON_LINES + 3
    write(tmp_path, call("c", state="unknown_crash"), call("f", state="failed", wasted=None))
    output = tiergate(tmp_path, "reprice", "--all").output
    assert "\n26 are still unknown:\n" in output


def test_without_the_price_list_the_message_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, call("a", model="model-1"))
    lines = [tiergate(tmp_path, "reprice").output.splitlines()[-1]]
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    lines.append(tiergate(tmp_path, "reprice").output.splitlines()[-1])
    assert lines[1] == f"{lines[0]}, or install tiergate[prices]"


def test_a_journal_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write(tmp_path, call("a"))
    monkeypatch.setattr(Journal, "write", fail)
    result = tiergate(tmp_path, "reprice")
    assert result.exit_code == 1
    assert "No space left on device" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("declared", "entry_", "expected"),
    [
        ("reasoning", call("a"), 100),
        ("acme/reasoning", call("a", lab="off"), 100),
        ("acme/huge", call("a", lab="off"), 100),
        ("off/gone", call("a"), 3),
        ("smart", call("a"), None),
        ("reasoning", call("a", source="pin"), 1),
        ("reasoning", call("a", tier=None), 1),
        ("reasoning", call("a", lab=None), None),
        ("reasoning", call("a", source="pin", provider=None, model=None), None),
        (None, call("a"), None),
    ],
)  # fmt: skip
def test_the_baseline_price_of_a_call_follows_the_declared_baseline(
    tmp_path: Path, declared: str | None, entry_: FinalRow, expected: int | None
) -> None:
    line = f"ledger: {{baseline: {declared}}}" if declared else ""
    text = PRICED.replace("ledger: {baseline: reasoning}", line)
    built = build_config(load(config(tmp_path, text), ON), datetime.now(UTC))
    price = PriceList(built, lambda *_: None).find_baseline_price(entry_)
    assert (None if price is None else price.rates.input) == expected


def test_list_prices_are_looked_up_by_the_day_of_the_call(tmp_path: Path) -> None:
    """The lookup uses the provider's name for the model in the list, once per model and day."""
    lookups: list[tuple[str, str, str]] = []

    def look_up(provider: str, model: str, now: datetime) -> Price:
        lookups.append((provider, model, now.date().isoformat()))
        return Price(rates=Rates(), version="list")

    built = build_config(load(config(tmp_path, PRICED), ON), datetime.now(UTC))
    prices = PriceList(built, look_up)
    for row in (
        call("a", model="m"),
        call("b", model="m"),
        call("c", model="m", at=NOVEMBER),
        call("d", provider="gone", model="m"),
    ):
        price = prices.find_price(row)
        assert price is not None
        assert price.version == "list"
    assert lookups == [
        ("openai", "m", "2026-10-26"),
        ("openai", "m", "2026-11-06"),
        ("gone", "m", "2026-10-26"),
    ]
    assert prices.find_price(call("e", provider=None)) is None
