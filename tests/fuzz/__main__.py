"""`make fuzz`: search for inputs that readers of the gateway get wrong.

python -m tests.fuzz 10                    all targets, 10 minutes in all
python -m tests.fuzz 10 sse journal        these targets alone
python -m tests.fuzz replay sse FILE...    check inputs of a target, and show what fails
python -m tests.fuzz keep [TARGET...]      keep what runs have found: the inputs that reach new code
python -m tests.fuzz keep-failed sse NAME FILE    keep an input that failed, for ever
"""

import contextlib
import io
import logging
import sys
import traceback
from pathlib import Path

from tests.fuzz import branches, corpus
from tests.fuzz.run import FOUND_FOLDER, FuzzResult, choose_seed, fuzz_in_child

_INSTRUMENTED = [
    "gateway.core", "gateway.dialects", "gateway.ledger", "gateway.routing", "gateway.settings", "gateway.cache.cached_response",
    "gateway.cache.response_store", "gateway.server.http1", "gateway.server.host_header", "gateway.server.request_headers",
    "gateway.upstream.http1", "gateway.upstream.rate_limit_headers", "gateway.upstream.websocket_peer",
]  # fmt: skip
"""The modules whose coverage guides the search: readers of bytes. Others only take time."""
_LEAST_SECONDS = 3
"""Seconds that each target gets at the least: its inputs are read first."""


def _fuzz_all(minutes: float, names: list[str]) -> int:
    """Fuzz targets one after the other. Return 1 if an input has failed."""
    try:
        import atheris  # noqa: PLC0415 - only `make fuzz` has it
    except ImportError:
        print(
            "fuzz: atheris is not here; it has wheels for Linux on x86-64 alone: scripts/setup fuzz"
        )
        return 2
    logging.disable()
    with (
        contextlib.redirect_stderr(io.StringIO()),  # a line for each module
        atheris.instrument_imports(include=_INSTRUMENTED, enable_loader_override=False),
    ):
        from tests.fuzz.registry import TARGETS  # noqa: PLC0415 - loaded with its instruments
    targets = [TARGETS[name] for name in names] or list(TARGETS.values())
    seconds = max(_LEAST_SECONDS, int(minutes * 60 / len(targets)))
    seed = choose_seed()
    print(f"{len(targets)} targets, {seconds} s each, seed {seed}")
    print(f"{'target':28} {'runs':>9} {'covered':>8} {'new':>5} {'new inputs':>11} {'failures':>9}")
    has_failed = False
    for target in targets:
        result = fuzz_in_child(target, seconds, seed)
        has_failed |= _print_result(result)
    return int(has_failed)


def _print_result(result: FuzzResult) -> bool:
    """Print the line of a target, and how to replay its failures. Return True if it has some."""
    note = "" if result.is_complete else f"  it ended early: .fuzz/{result.target}.log"
    print(
        f"{result.target:28} {result.runs:9,} {result.covered:8,} {result.new_covered:5,} {result.new_inputs:11,}"
        f" {len(result.failures):9,}{note}",
        flush=True,
    )
    for name in result.failures:
        print(
            f"    python -m tests.fuzz replay {result.target} .fuzz/failed/{result.target}/{name}"
        )
    return bool(result.failures) or not result.is_complete


def _replay(name: str, files: list[str]) -> int:
    """Check inputs, and print the failure of each that fails. Return 1 if one fails."""
    from tests.fuzz.registry import TARGETS  # noqa: PLC0415 - see _fuzz_all

    logging.disable()
    failed = 0
    for file in files or [str(path) for path in corpus.list_files(name)]:
        data = Path(file).read_bytes()
        try:
            TARGETS[name].check(data)
        except Exception:  # noqa: BLE001 - any error is a finding
            failed = 1
            print(f"{file}: {data!r}")
            traceback.print_exc()
        else:
            print(f"{file}: passes")
    return failed


def _keep(names: list[str]) -> int:
    """Keep the shortest found inputs that reach branches which no kept input reaches."""
    from tests.fuzz.registry import TARGETS  # noqa: PLC0415 - see _fuzz_all

    logging.disable()
    for target in [TARGETS[name] for name in names] or TARGETS.values():
        kept = corpus.read_inputs(target.name).values()
        found = corpus.read_inputs(target.name, FOUND_FOLDER).values()
        candidates = [data for data in found if len(data) <= corpus.MAX_KEPT_BYTES]
        chosen = branches.choose_new(target.check, kept, candidates)
        for data in chosen:
            corpus.add_input(target.name, data)
        print(f"{target.name:28} {len(kept):4} kept, {len(chosen):4} new of {len(found):5} found")
    return 0


def _keep_failed(name: str, label: str, file: str) -> int:
    """Keep an input that failed, under a name that says what was wrong."""
    path = corpus.add_input(name, Path(file).read_bytes(), name=f"failed-{label}")
    print(f"{path}: commit it with the correction")
    return 0


def main(arguments: list[str]) -> int:
    match arguments:
        case ["replay", name, *files]:
            return _replay(name, files)
        case ["keep", *names]:
            return _keep(names)
        case ["keep-failed", name, label, file]:
            return _keep_failed(name, label, file)
        case [minutes, *names]:
            return _fuzz_all(float(minutes), names)
        case _:
            print(__doc__)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
