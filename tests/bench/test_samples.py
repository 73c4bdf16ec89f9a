"""A CPU sample counts for the innermost part of its stack; samples of the start count for no call."""

import os
import sys
from pathlib import Path

import pytest

from bench import load, machine, redis_process, samples
from bench.peers import Full, Place, Tiergate
from bench.samples import PARTS, REST, Sampled

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("stack", "part"),
    [
        ((), REST),
        (("__main__.py", "cli/serve/command.py"), REST),
        (
            ("server/app.py", "pipeline/engine.py", "routing/decision_record.py", "core/jsonio.py"),
            "reading the body",
        ),
        (
            ("server/app.py", "pipeline/engine.py", "upstream/attempt.py", "dialects/base.py"),
            "dialects",
        ),
        (("server/app.py", "pipeline/engine.py", "core/jsonio.py"), "the engine's steps"),
        (
            (
                "server/app.py",
                "pipeline/engine.py",
                "pipeline/accounting.py",
                "core/call_accounting.py",
            ),
            "the ledger",
        ),
    ],
)
def test_a_sample_counts_for_its_innermost_part(stack: samples.Stack, part: str) -> None:
    assert samples.part(stack).startswith(part)


def test_shares_are_sorted_from_the_largest() -> None:
    shares = samples.shares(
        [("pipeline/engine.py",), ("server/app.py",), ("server/http1/protocol.py",), ()]
    )
    assert [share for _, share in shares] == [0.5, 0.25, 0.25]
    assert shares[0][0].startswith("towards the client")
    assert samples.shares([]) == []


def test_samples_before_the_first_call_are_left_out() -> None:
    call = ("server/endpoint.py:Endpoint.__call__", "pipeline/engine.py:Engine.serve")
    before = ("cli/serve/command.py:command", "runtime/composition.py:Gateway.engine")
    assert samples.calls([before, (), call, ()]) == [call, ()]


@pytest.mark.parametrize("begin", sorted({begin for begins in PARTS.values() for begin in begins}))
def test_every_part_names_existing_files(begin: str) -> None:
    """A folder or module that has moved would count as the rest."""
    path = ROOT / "gateway" / begin
    assert path.is_dir() if begin.endswith("/") else path.with_suffix(".py").is_file()


def test_a_stack_lists_only_the_projects_own_files() -> None:
    assert samples.stack(sys._getframe()) == ()
    scope: dict[str, object] = {"seen": lambda: samples.stack(sys._getframe()), "found": ()}
    inner = compile("found = seen()", "/some/where/gateway/server/app.py", "exec")
    exec(inner, scope)  # noqa: S102 - a frame of a file that does not exist
    assert scope["found"] == ("server/app.py:<module>",)


def test_sampling_changes_nothing_in_a_set_up(tmp_path: Path) -> None:
    where = Place(tmp_path, 1, 2)
    for peer in (Tiergate(), Full("redis://127.0.0.1:1/0")):
        sampled = Sampled(peer, tmp_path / "samples")
        assert sampled.environment(where) == peer.environment(where)
        assert sampled.ask(where) == peer.ask(where)
        assert sampled.command(where)[1:] == ["-m", "bench.samples", "--inside", str(tmp_path / "samples")]  # fmt: skip


def test_the_bench_samples_a_gateway_under_load(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Sample a real gateway for a moment: it shows the parts that every call uses."""
    try:
        machine.find("cc")
    except machine.Missing as missing:
        pytest.skip(str(missing))
    before = os.sched_getaffinity(0)
    drawn = tmp_path / "flame.svg"
    assert samples.main(["--seconds", "1", "--flame", str(drawn)]) == 0
    assert os.sched_getaffinity(0) == before
    printed = capsys.readouterr().out.splitlines()
    assert any("towards the provider" in line for line in printed)
    assert "requests per CPU-second" in printed[-1]
    assert "pipeline/engine.py:Engine.serve" in drawn.read_text()


def test_without_a_redis_the_error_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    try:
        load.build(tmp_path)
    except machine.Missing as missing:
        pytest.skip(str(missing))
    monkeypatch.setattr(redis_process, "program", lambda: None)
    with pytest.raises(machine.Missing, match="install it with: "):
        samples.sample(1, "full")
