"""A few rows of each family of the fault matrix, in every dialect; `make chaos` plays all."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import sdk
from tests.chaos.matrix import ROWS
from tests.chaos.row import Cell, Expected, FaultRow, Seen
from tests.chaos.run import Result, act, chosen
from tests.e2e.world import Loop

# google-genai requires an older tenacity than the gateway does, and calls it in the older way.
pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated")

CELLS = chosen(ROWS, ci=True)


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Result]:
    """Play the cells that share one gateway, audit it, and return the results."""
    all_params = (getattr(item, "callspec", None) for item in request.session.items)
    requested = {params.params.get("cell") for params in all_params if params is not None}
    cells = [
        cell for cell in CELLS if cell in requested and not cell.row.own and not cell.row.missing()
    ]
    folder = tmp_path_factory.mktemp("chaos")
    return {result.what: result for result in act(folder, loop, "all", cells, strict=False)}


@pytest.fixture(scope="module")
def clients(
    loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[FaultRow], list[Result]]:
    """Return a function that plays a row once for all its cells."""
    results: dict[str, list[Result]] = {}

    def play(row: FaultRow) -> list[Result]:
        if row.key not in results:
            folder = tmp_path_factory.mktemp("clients")
            results[row.key] = list(act(folder, loop, row.id, list(row.cells()), strict=False))
        return results[row.key]

    return play


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_row_of_the_matrix_keeps_its_promise(
    cell: Cell, request: pytest.FixtureRequest, loop: Loop, tmp_path: Path
) -> None:
    if why := cell.row.missing():
        pytest.skip(why)
    if cell.row.together:
        played = request.getfixturevalue("clients")(cell.row)
        results = [it for it in played if it.what == str(cell) or "| afterwards |" in it.what]
    elif cell.row.own:
        results = list(act(tmp_path / "environment", loop, cell.row.id, [cell], strict=False))
    else:
        results = [request.getfixturevalue("shared")[str(cell)]]
    for result in results:
        assert result.passed, result


def test_the_rows_leave_nothing_behind(shared: dict[str, Result]) -> None:
    """Each call has one final row; no reservation, connection, task, key or prompt is left over."""
    (after,) = (result for result in shared.values() if "| afterwards |" in result.what)
    assert after.passed, after


def test_every_family_of_faults_runs_in_every_dialect() -> None:
    families = {row.family for row in ROWS}
    for family in families:
        spoken = {dialect for row in ROWS if row.family == family for dialect in row.dialects}
        assert {cell.dialect for cell in CELLS if cell.row.family == family} == spoken, family


def test_the_names_of_rows_are_unique() -> None:
    """Cells have unique names: with one name, two cells would share what one of them breaks."""
    names = [cell.name for cell in chosen(ROWS)]
    assert len(names) == len(set(names))


def test_the_verdict_names_each_difference() -> None:
    """Each difference is reported by its column, beside the faults that the row found itself."""
    expected = Expected(200, ("answer", "1 + error"), (1, 2), "settled", "none", "[0-9]+ ms")
    good = Seen(200, "answer", 2, "settled", "none", "12 ms")
    assert expected.wrong(good) == []
    assert Expected().wrong(good) == []
    bad = Seen(502, "error", 3, "failed", "hit", "late", wrong=("a bug",))
    results = [
        "a bug",
        "status 502",
        "client error",
        "attempts 3",
        "ledger failed",
        "cache hit",
        "more late",
    ]
    assert expected.wrong(bad) == results


@pytest.mark.parametrize(
    ("wrong", "unmet", "passed", "end"),
    [
        ((), "", True, "| ok"),
        (("status 502",), "", False, "| FAILED: status 502"),
        (("status 502",), "not built", True, "| known: not built"),
        ((), "not built", False, "| FAILED: no longer: not built"),
    ],
)
def test_the_printed_line_of_a_row(
    wrong: tuple[str, ...], unmet: str, passed: bool, end: str
) -> None:
    """A known gap is printed, and the row passes only while it still fails."""
    result = Result("U-99 | a fault", "200", "502", wrong, unmet=unmet)
    assert (result.passed, result.ran) == (passed, True)
    assert str(result).startswith("U-99 | a fault | expected 200 | seen 502 |")
    assert str(result).endswith(end)


def test_a_row_that_cannot_run_says_why() -> None:
    result = Result("U-99 | a fault", "", "", why="needs root")
    assert not result.ran
    assert str(result) == "U-99 | a fault | not run: needs root"


def test_the_pinned_exceptions_are_those_of_the_sdks() -> None:
    """Each fault has its line, and programs see exceptions of their SDK, not of lower libraries."""
    pinned = sdk.read()
    expected_keys = {sdk.key(cell) for cell in chosen(sdk.ROWS)}
    assert set(pinned) == expected_keys
    own = {"openai", "anthropic", "google"}
    for key, expected in pinned.items():
        exception_name = str(expected.client)
        assert exception_name == "the answer" or exception_name.partition(".")[0] in own, key


def test_no_sdk_takes_half_an_answer_for_a_whole_one() -> None:
    """No SDK returns half an answer, and no call sends more than one request beyond the SDK's.

    An SDK makes three requests by default.
    """
    pinned = sdk.read()
    assert len(pinned) > 400
    cut = [key for key in pinned if key[:4] in ("U-07", "U-08", "U-09", "U-10", "U-11", "U-14")]
    assert len(cut) >= 50
    for key, expected in pinned.items():
        assert expected.client != "half a text", key
        assert key not in cut or expected.client != "the answer", key
        assert isinstance(expected.attempts, int)
        assert "that retries" in key or expected.attempts <= 4, key
