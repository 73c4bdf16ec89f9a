"""Fuzz one target with coverage guidance, in a process of its own.

libFuzzer (by atheris) changes inputs, and keeps an input that reaches new code of the gateway. It would
stop at the first failure. So this process catches each failure, writes its input into a folder,
and goes on. A failure is known again by its error and its place.
"""

import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.target import FuzzTarget

WORK_FOLDER = Path(__file__).parents[2] / ".fuzz"
"""The folder of inputs that runs have found, and of failures; no part of the repository."""
FOUND_FOLDER, FAILED_FOLDER = WORK_FOLDER / "found", WORK_FOLDER / "failed"
_MOST_FAILURES = 20
"""Failures of a target after which no other is written."""
_MOST_SECONDS = 10
"""Seconds that one input may take."""
_MEMORY_MB = 3_000
_DONE = re.compile(r"DONE +cov: (\d+) ft: \d+ corp: (\d+)/")
_START = re.compile(r"INITED cov: (\d+)")
_RUNS = re.compile(r"stat::number_of_executed_units: +(\d+)")
_LAST_RUN = re.compile(r"^#(\d+)\t", re.MULTILINE)


@dataclass
class FuzzResult:
    """The figures and findings of one run of a target."""

    target: str
    runs: int = 0
    covered: int = 0
    """Places in the code of the gateway that inputs reached at the end."""
    new_covered: int = 0
    """The number of these places that no input reached at the beginning."""
    new_inputs: int = 0
    failures: list[str] = field(default_factory=list)
    """The names of inputs that failed."""
    is_complete: bool = False
    """True if the run ended by itself."""


def describe_failure(error: BaseException) -> str:
    """Return what two failures of one cause have in common: the error and its innermost place."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/gateway/" in frame.filename] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    check = next((frame for frame in reversed(frames) if "/tests/fuzz/" in frame.filename), None)
    return f"{type(error).__name__} {place} {check and check.lineno}"


class FailureCollector:
    """Runs a check, and writes the input of each new kind of failure into a folder."""

    def __init__(self, target: FuzzTarget, folder: Path) -> None:
        self._target = target
        self._folder = folder
        self._kinds: set[str] = set()

    def __call__(self, data: bytes) -> None:
        """Check one input."""
        try:
            self._target.check(data)
        except Exception as error:  # noqa: BLE001 - any error is a finding
            kind = describe_failure(error)
            if kind not in self._kinds and len(self._kinds) < _MOST_FAILURES:
                self._kinds.add(kind)
                corpus.add_input(self._target.name, data, self._folder)


def fuzz(target: FuzzTarget, seconds: int, seed: int) -> None:
    """Fuzz a target for some seconds, and end the process. The gateway's modules are instrumented."""
    import atheris  # noqa: PLC0415 - only `make fuzz` has it

    logging.disable()
    found, kept = FOUND_FOLDER / target.name, corpus.FOLDER / target.name
    for folder in (found, kept, FAILED_FOLDER / target.name):
        folder.mkdir(parents=True, exist_ok=True)
    for data in target.seeds:
        corpus.add_input(target.name, data, FOUND_FOLDER)
    dictionary = WORK_FOLDER / f"{target.name}.dict"
    dictionary.write_text(_write_dictionary(target.words))
    arguments = [
        "fuzz", f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={target.max_bytes}", f"-timeout={_MOST_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MB}", f"-artifact_prefix={FAILED_FOLDER / target.name}/", "-print_final_stats=1",
        *([f"-dict={dictionary}"] if target.words else []), str(found), str(kept),
    ]  # fmt: skip
    atheris.Setup(arguments, FailureCollector(target, FAILED_FOLDER))
    atheris.Fuzz()


def _write_dictionary(words: tuple[bytes, ...]) -> str:
    """Return words in the form that libFuzzer reads."""
    lines = []
    for word in words:
        if len(word) <= 64:  # libFuzzer takes no longer ones
            text = "".join(
                chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
                for byte in word
            )
            lines.append(f'"{text}"\n')
    return "".join(lines)


def fuzz_in_child(target: FuzzTarget, seconds: int, seed: int) -> FuzzResult:
    """Fuzz a target in a fork of this process, which has loaded the gateway, and wait for it."""
    WORK_FOLDER.mkdir(exist_ok=True)
    log = WORK_FOLDER / f"{target.name}.log"
    result = FuzzResult(target.name)
    before = {path.name for path in corpus.list_files(target.name, FOUND_FOLDER)}
    failed_before = {path.name for path in corpus.list_files(target.name, FAILED_FOLDER)}
    process = _fork(log, lambda: fuzz(target, seconds, seed))
    _, status = os.waitpid(process, 0)
    text = log.read_text(errors="replace")
    result.is_complete = status == 0
    done, start, runs = _DONE.search(text), _START.search(text), _RUNS.search(text)
    marks = _LAST_RUN.findall(text)
    result.runs = int(runs[1]) if runs else int(marks[-1]) if marks else 0
    result.covered = int(done[1]) if done else 0
    result.new_covered = result.covered - int(start[1]) if done and start else 0
    seeds = {corpus.name_input(data) for data in target.seeds}
    found = {path.name for path in corpus.list_files(target.name, FOUND_FOLDER)}
    result.new_inputs = len(found - before - seeds)
    failed = {path.name for path in corpus.list_files(target.name, FAILED_FOLDER)}
    result.failures = sorted(failed - failed_before)
    return result


def _fork(log: Path, run: Callable[[], None]) -> int:
    """Run something in a fork, whose output goes into a file. Return the id of the process."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        run()
    except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def choose_seed() -> int:
    """Return a seed of libFuzzer, other than that of the last run."""
    return time.time_ns() % 2**31 or 1
