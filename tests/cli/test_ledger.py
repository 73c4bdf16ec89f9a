"""The command `ledger`: damage is listed with its place, and the store can be made anew."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import ledger as ledger_module
from gateway.cli.ledger import ledger
from gateway.cli.session import LedgerLocation
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.journal import Journal, list_segments
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import open_store
from gateway.state.audit import AuditLog, AuditQuery, read_audit
from tests.cli.run import ON, config
from tests.cli.run import run as run_program
from tests.cli.test_costs import ledger_at
from tests.cli.test_costs import run as run_costs
from tests.ledger.rows import entry


@pytest.fixture
def place(tmp_path: Path) -> LedgerLocation:
    """A ledger of one file with eight calls."""
    place = ledger_at(tmp_path)
    journal = Journal(place.journal_folder, clock=lambda: 1_793_000_000.0, token=lambda: "abcd")
    for name in "abcdefgh":
        journal.write(entry(name))
    journal.close()
    return place


def run(place: LedgerLocation, *words: str) -> Result:
    return CliRunner().invoke(ledger, words, obj=lambda: place)


def damage(place: LedgerLocation, call: str = "c") -> bytes:
    """Change the cost of a call in the journal; return the file as it was."""
    (path,) = list_segments(place.journal_folder)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    index = "abcdefgh".index(call)
    lines[index] = lines[index].replace(b'"0.0000126"', b'"9.0000126"')
    path.write_bytes(b"".join(lines))
    return data


def test_verify_reports_intact_journals(place: LedgerLocation, tmp_path: Path) -> None:
    result = run(place, "verify")
    assert (result.exit_code, result.output) == (
        0,
        "1 file, 8 rows intact, 0 damaged or missing.\n",
    )
    result = run(ledger_at(tmp_path / "away"), "verify")
    assert (result.exit_code, result.output) == (
        0,
        "0 files, 0 rows intact, 0 damaged or missing.\n",
    )


def test_verify_lists_damage_and_fails(place: LedgerLocation) -> None:
    damage(place)
    (path,) = list_segments(place.journal_folder)
    result = run(place, "verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{path.name}: row 3 is damaged or missing, written until 2026-10-26 07:33:21 UTC",
        "1 file, 7 rows intact, 1 damaged or missing.",
    ]
    assert "run `tiergate ledger rebuild`" in result.stderr
    result = run(place, "verify", "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["rows"], answer["damaged_rows"]) == (1, 7, 1)
    (file,) = answer["files"]
    (row,) = file["damages"]
    assert (row["kind"], row["first"], row["last"]) == ("damaged", 3, 3)


def make_sums(place: LedgerLocation, *, wrong: bool = False) -> None:
    store = open_store(place.store)
    assert isinstance(store, SqliteStore)
    store.feed(place.journal_folder)
    store.make_sums()
    if wrong:
        with store.open_writer() as connection:
            connection.execute("UPDATE rollups SET calls = 1 WHERE calls = 8 AND kind = 0")
    store.close()


def test_verify_compares_sums_with_rows(
    place: LedgerLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.ledger.time.time", lambda: 1_793_100_000.0)
    journals = "1 file, 8 rows intact, 0 damaged or missing."
    make_sums(place)
    result = run(place, "verify")
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [journals, "Sums of 1 quarter hour and 1 day: 0 differences from their rows."],
    )
    make_sums(place, wrong=True)
    result = run(place, "verify")
    assert (result.exit_code, result.stdout.splitlines()) == (
        1,
        [
            journals,
            "2026-10-26 07:30:00 UTC to 2026-10-26 07:45:00 UTC: 2 differences of sums from their rows",
            "Sums of 1 quarter hour and 1 day: 2 differences from their rows.",
        ],
    )
    assert "`tiergate ledger rebuild` has all sums made again." in result.stderr
    answer = json.loads(run(place, "verify", "--json").stdout)
    assert (answer["damaged_rows"], answer["sum_differences"]) == (0, 2)
    assert answer["sums"] == [{"since": 1_792_999_800, "until": 1_793_000_700, "differences": 2}]
    monkeypatch.setattr("gateway.cli.ledger.time.time", lambda: 1_799_000_000.0)
    assert run(place, "verify").stdout.splitlines() == [journals]
    assert run(place, "verify", "--all").exit_code == 1
    assert run(place, "rebuild").exit_code == 0
    make_sums(place)
    assert run(place, "verify", "--all").exit_code == 0


def test_verify_says_if_sums_cannot_be_read(place: LedgerLocation, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all, and long enough" * 200)
    result = run(place, "verify")
    assert (result.exit_code, result.stdout.count("8 rows intact")) == (1, 1)
    assert "the sums cannot be checked: " in result.stderr


def test_verify_describes_all_that_it_finds(place: LedgerLocation) -> None:
    (path,) = list_segments(place.journal_folder)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join([lines[0], b"piece\n", lines[1], *lines[4:6], lines[4], lines[5], b'{"kind"'])
    )
    (place.journal_folder / "old.jsonl").write_bytes(b"no row\n")
    moment = "2026-10-26 07:33:21 UTC"
    assert run(place, "verify").stdout.splitlines() == [
        f"{path.name}: rows 3 to 4 are damaged or missing, written until {moment}",
        f"{path.name}: rows 5 to 6 are not of this file, or twice, written until {moment}",
        f"{path.name}: 1 piece of interrupted writes; no row is missing there",
        f"{path.name}: ends within a row, which no call has waited for",
        "old.jsonl: 1 line cannot be read: torn in a crash, or damaged",
        "2 files, 6 rows intact, 4 damaged or missing.",
    ]


def test_verify_says_what_it_cannot_read(place: LedgerLocation) -> None:
    (place.journal_folder / "a.jsonl").mkdir()
    result = run(place, "verify")
    assert result.exit_code == 1
    assert "the journal cannot be read" in result.stderr


def test_rebuild_reads_a_restored_file(place: LedgerLocation) -> None:
    whole = damage(place)
    assert "1 row of the journal, written until 2026-10-26 07:33" in run_costs(place).output
    result = run(place, "rebuild")
    assert result.exit_code == 0
    assert result.stdout == "7 rows read; the store has 7 calls.\n"
    assert "1 row of the journals cannot be read: `tiergate ledger verify`" in result.stderr
    list_segments(place.journal_folder)[0].write_bytes(whole)
    assert "cannot be read" in run_costs(place).output  # the feed has read that far
    assert run(place, "rebuild").output == "8 rows read; the store has 8 calls.\n"
    assert "cannot be read" not in run_costs(place).output


def test_rebuild_replaces_a_damaged_store(place: LedgerLocation, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all, and long enough" * 200)
    (place.journal_folder / "removed-until").write_text("1793000000.0\n")
    result = run(place, "rebuild")
    assert result.exit_code == 0
    assert "The store's file was unusable: file is not a database; it is now" in result.stderr
    assert "Journals until 2026-10-26 07:33:20 UTC were removed" in result.stderr
    assert result.stdout == "8 rows read; the store has 8 calls.\n"


def test_rebuild_needs_journals_and_a_store(
    place: LedgerLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(ledger_at(tmp_path / "away"), "rebuild")
    assert (result.exit_code, "there are no journals in" in result.stderr) == (1, True)
    assert not (tmp_path / "away").exists()
    monkeypatch.setattr(ledger_module, "FEED_WAIT_SECONDS", 0.0)
    monkeypatch.setattr("gateway.ledger.sql_store.FEED_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(ledger_module, "MAX_FEED_TRIES", 2)
    open_store(place.store).close()
    with try_lock_file(place.journal_folder / "feed.lock"):
        result = run(place, "rebuild")
    assert (result.exit_code, "another process feeds it" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "is_noted"),
    [
        ((), True),
        (("--csv",), True),
        (("--since", "2026-10-26T07:00:00"), True),
        (("--since", "2026-10-27"), False),
        (("--only", "key=nobody"), True),
        (("--until", "2026-10-25"), False),
    ],
)
def test_costs_notes_damage_under_the_sums_that_it_touches(
    place: LedgerLocation, words: tuple[str, ...], is_noted: bool
) -> None:
    damage(place)
    assert ("1 row of the journal, written until" in run_costs(place, *words).output) is is_noted


def test_costs_has_the_number_of_damaged_rows_as_json(place: LedgerLocation) -> None:
    assert json.loads(run_costs(place, "--json").stdout)["damaged_rows"] == 0
    damage(place, "h")
    run(place, "rebuild")
    assert json.loads(run_costs(place, "--json").stdout)["damaged_rows"] == 1


def run_erase(folder: Path, *words: str, stdin: str | None = None) -> Result:
    environ = {**ON, "TIERGATE_DATA": str(folder / "data")}
    words = ("--config", str(config(folder)), "ledger", "erase", *words)
    return run_program(*words, environ=environ, stdin=stdin)


def test_erase_takes_a_person_out_of_rows_and_leaves_an_act(tmp_path: Path) -> None:
    user = "3f9a0c1d2e4b5a67"
    journal = Journal(tmp_path / "data" / "ledger")
    for name in "ab":
        journal.write(entry(name, end_user=user))
    journal.close()
    result = run_erase(tmp_path, "--user", user, stdin="n\n")
    assert (result.exit_code, "Nobody can undo it" in result.output) == (130, True)
    result = run_erase(tmp_path, "--user", user, stdin="y\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == "2 calls: 2 rows of the journals erased, 0 texts deleted.\n"
    (row,) = read_audit([AuditLog(tmp_path / "data")], AuditQuery(), 10).rows
    assert (row.act, row.after) == ("ledger.erase", {"calls": 2, "texts": 0})
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(files) > 2
    assert not any(user.encode() in path.read_bytes() for path in files)
    result = run_erase(tmp_path, "--user", user, "--yes")
    assert result.stdout == "0 calls: 0 rows of the journals erased, 0 texts deleted.\n"


def test_erase_says_what_is_wrong(tmp_path: Path) -> None:
    result = run_erase(tmp_path, "--user", "u-4711")
    assert (result.exit_code, "`tiergate costs user` prints it" in result.stderr) == (2, True)
    result = run_erase(tmp_path, "--user", "3f9a0c1d2e4b5a67", "--yes")
    assert (result.exit_code, "there are no journals in" in result.stderr) == (1, True)
    (tmp_path / "data" / "ledger").mkdir(parents=True)
    (tmp_path / "data" / "ledger.db").mkdir()
    result = run_erase(tmp_path, "--user", "3f9a0c1d2e4b5a67", "--yes")
    assert (result.exit_code, "not all is erased, run it again" in result.stderr) == (1, True)
