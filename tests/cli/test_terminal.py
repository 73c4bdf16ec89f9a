"""Tables in a terminal that is too narrow for them, and progress."""

import pytest

from gateway.cli.terminal import TableColumn, count_progress, print_table

COLUMNS = [
    TableColumn("model"), TableColumn("calls", numeric=True), TableColumn("tokens", numeric=True, rank=1),
    TableColumn("cached", numeric=True, rank=2), TableColumn("failed", numeric=True, rank=2), TableColumn("USD", numeric=True),
]  # fmt: skip
ROWS = [["m-1", "1", "2", "3", "4", "0.5"]]


def set_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))


def print_lines(
    capsys: pytest.CaptureFixture[str], columns: list[TableColumn] = COLUMNS
) -> list[str]:
    print_table(
        columns,
        ROWS,
        total=["total", "1", "2", "3", "4", "0.5"],
        notes=["One two three four five."],
    )
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("width", "heads", "dropped"),
    [
        (46, "model calls tokens cached failed USD", ""),
        (45, "model calls tokens cached USD", "failed"),
        (36, "model calls tokens USD", "cached, failed"),
        (27, "model calls USD", "tokens, cached, failed"),
        (5, "model calls USD", "tokens, cached, failed"),
    ],
)
def test_a_narrow_terminal_drops_columns_by_rank_and_names_them(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    heads: str,
    dropped: str,
) -> None:
    """Columns of the highest rank go first, the last of them first; rank 0 always stays."""
    set_width(monkeypatch, width)
    lines = print_lines(capsys)
    assert lines[0] == heads
    assert len(lines[2].split()) == len(lines[4].split()) == len(heads.split())
    notes = " ".join(lines[5:])
    assert notes == "One two three four five." + (f" Too narrow for: {dropped}." if dropped else "")


def test_columns_without_a_rank_always_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_width(monkeypatch, 9)
    assert (
        print_lines(capsys, [TableColumn(column.name, numeric=True) for column in COLUMNS])[
            0
        ].split()[-1]
        == "USD"
    )


def test_long_text_in_the_last_column_wraps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text that does not fit goes on in the next line; the cells before it are not repeated."""
    for width, lines in (
        (80, ["field value", "a one two three four five six seven"]),
        (32, ["field value", "a one two three four five", "six seven"]),
    ):
        set_width(monkeypatch, width)
        print_table(
            [TableColumn("field"), TableColumn("value")],
            [["a", "one two three four five six seven"]],
        )
        output = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        assert [output[0], *output[2:]] == lines


def test_a_pipe_gets_every_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "5")
    lines = print_lines(capsys)
    assert lines[0] == "model calls tokens cached failed USD"
    assert lines[-1] == "One two three four five."


def test_a_terminal_shows_progress_when_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal no progress is shown."""
    rows = [object(), object(), object(), object()]
    for is_terminal, expected in ((False, ""), (True, "\r1 calls\r3 calls\r\x1b[K")):
        times = iter((0.0, 0.9, 1.0, 1.4, 1.5))
        monkeypatch.setattr("sys.stderr.isatty", lambda value=is_terminal: value)
        shown = count_progress(rows, "calls", lambda: next(times))  # noqa: B023 - it ends here
        assert list(shown) == rows
        assert capsys.readouterr().err == expected
