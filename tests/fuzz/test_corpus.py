"""All kept inputs pass, and so do changes of them by a fixed seed; a target notices a planted bug.

`make fuzz` searches further, guided by coverage: see docs/design/fuzzing.md.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio, sse
from gateway.core.jsonio import Members
from gateway.ledger.chain import ChainReader
from gateway.server.http1.request_parser import RequestParser
from tests.fuzz import branches, corpus
from tests.fuzz.mutation import mutate
from tests.fuzz.registry import TARGETS
from tests.fuzz.run import FailureCollector, describe_failure

_SEED = 1
_SHORT_RUNS = {"config": 30, "http-repeated-heads": 40, "journal": 30, "rules": 40, "websocket-frames": 40, "yaml": 30}  # fmt: skip
"""Changed inputs of targets that are slow; others have 150."""


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Log nothing: thousands of broken requests would each leave lines."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_passes(name: str) -> None:
    target = TARGETS[name]
    inputs = [*target.seeds, *corpus.read_inputs(name).values()]
    assert len(inputs) > len(target.seeds), "the target has no corpus"
    for data in inputs:
        target.check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_changes_of_kept_inputs_pass(name: str) -> None:
    target = TARGETS[name]
    inputs = [*target.seeds, *corpus.read_inputs(name).values()]
    count = _SHORT_RUNS.get(name, 150)
    for data in mutate(inputs, target.words, count, _SEED, target.max_bytes):
        target.check(data)


def test_the_corpus_has_targets_only_and_no_input_twice() -> None:
    folders = {path.name for path in corpus.FOLDER.iterdir()}
    assert folders == TARGETS.keys()
    for name in folders:
        inputs = corpus.read_inputs(name)
        assert len({*inputs.values()}) == len(inputs), name
        for file, data in inputs.items():
            assert len(data) <= corpus.MAX_KEPT_BYTES
            assert file.startswith("failed-") or file == corpus.name_input(data)


def test_the_corpus_stays_small() -> None:
    sizes = [path.stat().st_size for name in TARGETS for path in corpus.list_files(name)]
    assert sum(sizes) < 2_000_000


def _read_trailers(patch: pytest.MonkeyPatch) -> None:
    """Trailers count as headers."""

    def read(self: RequestParser, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    patch.setattr(RequestParser, "on_header", read)


def _miss_repeats(patch: pytest.MonkeyPatch) -> None:
    """A name that stands twice goes unnoticed."""

    def has_repeat(data: bytes, raw_members: Members) -> bool:
        return False

    patch.setattr(jsonio, "has_repeated_member", has_repeat)


def _lose_ends(patch: pytest.MonkeyPatch) -> None:
    """Only two line feeds end a frame."""
    patch.setattr(
        sse, "find_frames_end", lambda data: data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    )


def _accept_gaps(patch: pytest.MonkeyPatch) -> None:
    """A missing line of a journal is no damage."""
    patch.setattr(ChainReader, "_note_gap", lambda *_: None)


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("http-requests", _read_trailers),
        ("json", _miss_repeats),
        ("sse", _lose_ends),
        ("journal", _accept_gaps),
    ],
)
def test_a_target_notices_a_planted_bug(
    name: str, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017 - whatever it is
        test_every_kept_input_passes(name)


def test_each_kind_of_failure_is_written_once(tmp_path: Path) -> None:
    class Broken:
        name = "broken"

        @staticmethod
        def check(data: bytes) -> None:
            if data:
                raise ValueError(data)
            raise KeyError

    broken: Any = Broken
    collect = FailureCollector(broken, tmp_path)
    for data in (b"a", b"b", b"", b"c"):
        collect(data)
    assert {*corpus.read_inputs("broken", tmp_path).values()} == {b"a", b""}


def test_a_failure_is_known_by_its_error_and_its_place() -> None:
    def fail(data: bytes) -> str:
        try:
            jsonio.loads(data)
        except jsonio.JsonError as error:
            return describe_failure(error)
        raise AssertionError

    assert fail(b"[") == fail(b"{")
    assert fail(b"[").startswith("JsonError jsonio.py:")


def test_only_inputs_that_take_new_branches_are_chosen() -> None:
    def check(data: bytes) -> None:
        sse.FrameSplitter().feed(data)

    chosen = branches.choose_new(check, [b""], [b"x", b"y", b"a\n\nb", b"aa\n\nbb"])
    assert chosen == [b"x", b"a\n\nb"]


def test_a_seed_makes_the_same_changes_each_time() -> None:
    first, second = ([*mutate([b"abc", b"def"], [b"x"], 50, seed, 10)] for seed in (7, 7))
    assert first == second
    assert first != [*mutate([b"abc", b"def"], [b"x"], 50, 8, 10)]
    assert max(map(len, first)) <= 10
