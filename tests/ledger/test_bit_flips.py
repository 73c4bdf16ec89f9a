"""A thousand changed bits, and sectors of zeros: each is noticed, and no row is read changed."""

import random
from pathlib import Path

import pytest

from gateway.core.jsonio import dumps
from gateway.ledger.ingest import read_batches
from gateway.ledger.journal import Journal, list_segments
from gateway.ledger.verify import verify_segment
from tests.ledger.rows import attempt, entry, feedback, intent, reprice, with_lines

_SECTOR = 512


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished file of each kind of row."""
    journal = Journal(tmp_path_factory.mktemp("journal"))
    for number in range(20):
        name = f"call-{number}"
        journal.append_together(with_lines(entry(f"{name}-other", cost=None)))
        for row in (intent(name), attempt(name), entry(name), reprice(name), feedback(name)):
            journal.write(row)
    journal.close()
    (path,) = list_segments(journal.folder)
    return path


def read_finals(path: Path) -> tuple[set[bytes], int]:
    """Return the lines of final rows as a feed reads them, and how many gaps it finds."""
    batches = list(read_batches(path, 0))
    rows = {dumps(row) for batch in batches for row in batch.entries}
    return rows, sum(len(batch.damages) for batch in batches)


def test_each_of_a_thousand_changed_bits_is_noticed_and_changes_no_row(segment: Path) -> None:
    data, chance = segment.read_bytes(), random.Random(27)
    whole, gaps = read_finals(segment)
    assert (len(whole), gaps, verify_segment(segment).damages) == (40, 0, [])
    lost_calls = 0
    try:
        for _ in range(1_000):
            place, bit = chance.randrange(len(data)), chance.randrange(8)
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            segment.write_bytes(changed)
            report = verify_segment(segment)
            assert report.damages or report.debris or report.torn, (place, bit)
            rows, gaps = read_finals(segment)
            assert rows <= whole, (place, bit)
            assert gaps or rows == whole, (place, bit)
            lost_calls += len(whole - rows)
    finally:
        segment.write_bytes(data)
    assert lost_calls > 500  # of what was noticed


@pytest.mark.parametrize("how", ["zeroed", "removed", "repeated", "garbage"])
def test_each_damaged_sector_is_noticed_and_changes_no_row(segment: Path, how: str) -> None:
    data, chance = segment.read_bytes(), random.Random(28)
    whole, _ = read_finals(segment)
    try:
        for _ in range(100):
            place = chance.randrange(len(data) - _SECTOR)
            sector = data[place : place + _SECTOR]
            put = {
                "zeroed": bytes(_SECTOR),
                "removed": b"",
                "repeated": sector * 2,
                "garbage": chance.randbytes(_SECTOR),
            }[how]
            segment.write_bytes(data[:place] + put + data[place + _SECTOR :])
            report = verify_segment(segment)
            assert report.damages or report.debris or report.torn, place
            rows, _ = read_finals(segment)
            assert rows <= whole, place
    finally:
        segment.write_bytes(data)
