"""The bench traces a call in a gateway that really serves: its files, in the order it comes to them."""

import shutil
from pathlib import Path

import pytest

from bench import peers, trace_call
from bench.trace_call import KINDS, Kind, Trace

compiles = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

NAMED = (
    "server/http1/protocol.py",
    "server/endpoint.py",
    "pipeline/engine.py",
    "routing/decision_record.py",
    "upstream/failover.py",
    "upstream/attempt.py",
    "ledger/writer.py",
    "upstream/http1/connection.py",
    "pipeline/response.py",
    "server/http1/response_writer.py",
)
"""The files that a call which names its model passes, in order."""


@compiles
def test_a_named_model_passes_the_files_of_the_map_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trace_call, "WINDOWS", 5)
    monkeypatch.setattr(trace_call, "KINDS", KINDS[:1])
    assert trace_call.main([]) == 0
    title, _, *lines = capsys.readouterr().out.split("   order: ")[0].splitlines()
    files = [line.split()[-1] for line in lines]
    assert title.startswith(f"a named model: {len(files)} files, ")
    assert [file for file in files if file in NAMED] == [*NAMED]
    assert not [file for file in files if "import" in file]


@compiles
@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda kind: kind.name)
def test_other_calls_pass_the_files_of_their_feature(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_call, "WINDOWS", 3)
    with peers.stage() as stage:
        files = trace_call.trace(kind, stage).files
    about = {
        "auto": {"routing/classify.py", "upstream/attempt.py"},
        "a stream": {"upstream/relay.py", "dialects/stream_commit.py"},
        "a cache hit": {"pipeline/response_cache.py"},
        "everything on": {"routing/classify.py", "limits/redis.py", "upstream/attempt.py"},
    }
    assert about[kind.name] <= set(files)
    assert ("upstream/attempt.py" in files) == (kind.name != "a cache hit")


@compiles
def test_the_bench_prints_why_a_tree_cannot_serve_a_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> Trace:
        raise peers.Unstarted("tiergate ended: no such key")

    monkeypatch.setattr(trace_call, "trace", refuse)
    assert trace_call.main([]) == 1
    printed = capsys.readouterr().out.split("\n\n")
    assert printed[0] == "a named model: tiergate ended: no such key"
    assert printed[4] == "everything on: tiergate ended: no such key"


FOUND = Trace(
    [("a.py", "f:1"), ("a.py", "g:5"), ("b.py", "h:1"), ("a.py", "f:1"), ("b.py", "h:1")],
    {"a.py": 1200, "b.py": 7},
)


def test_a_trace_counts_changes_of_file_and_distinct_functions(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway/a.py").write_text("1\n" * 10)
    (tmp_path / "gateway/b.py").write_text("2\n")
    assert trace_call.render(KINDS[0], FOUND, tmp_path).splitlines() == [
        (
            "a named model: 2 files, 3 functions, 3 changes of file, 1,207 instructions;"
            " these files have 11 lines"
        ),
        "   number  functions  instructions  lines  file",
        "        1          2          1200     10  a.py",
        "        2          1             7      1  b.py",
        "   order: 1 2 1 2",
    ]


def test_the_most_common_trace_counts() -> None:
    """One of three traces has a timer, and another is cut; among equally common ones the shortest counts."""
    timer, cut = Trace([*FOUND.functions, ("t.py", "t:1")]), Trace(FOUND.functions[:2])
    assert trace_call.most_common([timer, FOUND, cut, FOUND]) == FOUND
    assert trace_call.most_common([timer, FOUND]) == FOUND
