"""The list of agreed differences: each entry has a reason, and covers only what it names."""

from pathlib import Path

import pytest

from tests.twin import agreed, report
from tests.twin.compare import TwinDifference
from tests.twin.run import StageResult

HEADER = TwinDifference("mixed", "mixed 1", "client head", "x-tiergate-near", "0.6", "(nothing)")
MEMBER = TwinDifference("mixed", "mixed 2", "client body", "$.choices[].near", "1", "2")


def entries(folder: Path, text: str) -> list[agreed.AgreedDifference]:
    file = folder / "agreed.yaml"
    file.write_text(text)
    return agreed.read(file)


def test_the_list_of_this_tree_can_be_read() -> None:
    assert all(entry.reason for entry in agreed.read())


def test_an_entry_covers_only_what_it_names(tmp_path: Path) -> None:
    listed = entries(
        tmp_path,
        """
        - {where: client head, what: x-tiergate-near, reason: it is gone}
        - {where: client body, what: "$.choices[].*", section: recorded*, reason: of recordings alone}
        - {where: client body, what: "*", exchange: mixed 1, reason: of one exchange alone}
        """,
    )
    unexplained, covered = agreed.split([HEADER, HEADER, MEMBER], listed)
    assert unexplained == [MEMBER]
    assert [*covered.values()] == [2, 0, 0]
    lines = report.agreed(covered)
    assert lines[0] == "agreed, 2 times: client head: x-tiergate-near, in * (it is gone)"
    assert lines[1].startswith("agreed, 0 times: client body: ")


def test_only_an_asterisk_is_special_in_a_pattern(tmp_path: Path) -> None:
    entry = '[{where: client body, what: "$.choices[].near", reason: it is gone}]'
    assert agreed.split([MEMBER], entries(tmp_path, entry))[0] == []
    entry = '[{where: client bod?, what: "*", reason: it is gone}]'
    assert agreed.split([MEMBER], entries(tmp_path, entry))[0] == [MEMBER]


@pytest.mark.parametrize("members", ["", ", reason: it is gone, near: x"])
def test_an_entry_needs_a_reason_and_no_unknown_member(tmp_path: Path, members: str) -> None:
    with pytest.raises(ValueError, match="needs where, what and reason"):
        entries(tmp_path, f"[{{where: client head, what: x-tiergate-near{members}}}]")


def test_the_report_shows_each_kind_of_difference_once_with_its_number() -> None:
    lines = report.differences([HEADER] * 300 + [MEMBER])
    assert lines[1] == "client head: x-tiergate-near  (300 times: mixed 300)"
    assert lines[2:5] == ["    in: mixed 1", "    - 0.6", "    + (nothing)"]
    assert sum(line.startswith("client ") for line in lines) == 2
    counts = report.counts(StageResult({"mixed": 3, "faults": 4}, {"ledger": 9}))
    assert counts[-1] == "     7  exchanges in all, at each gateway; left behind: 9 ledger"
