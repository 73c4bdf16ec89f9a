"""`python -m bench`: mock, nginx and the gateway measured in one run, as a table.

Exit status: 0 done, 1 a floor was missed (with --floors), 2 it could not be measured.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from bench import floor, load, measure, table
from bench.load import Broken
from bench.machine import Missing
from bench.peers import Nginx, Peer, Tiergate, Unstarted

MISSED = 1
UNMEASURED = 2


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints; returns the exit status."""
    asked = _parser().parse_args(arguments)
    if sys.platform != "linux":
        return _give_up("this needs Linux: it reads /proc and uses epoll")
    try:
        measured: list[Peer] = [Nginx(), Tiergate()]
        with tempfile.TemporaryDirectory(prefix="tiergate-bench-") as folder:
            instruments = load.build(Path(folder))
            scale = measure.QUICK if asked.quick else measure.FULL
            results = measure.run(measured, instruments, Path(folder), scale, _tell)
    except (Missing, Unstarted, Broken) as error:
        return _give_up(str(error))
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    _print(table.render(results))
    found = floor.verdicts(results) if asked.floors else []
    if found:
        _print("\n" + floor.render(found))
    return 0 if all(one.met for one in found) else MISSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=measure.__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="about 40 seconds instead of 3 minutes"
    )
    parser.add_argument("--floors", action="store_true", help="exit with 1 when a floor is missed")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write all that was measured"
    )
    return parser


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


def _give_up(reason: str) -> int:
    _tell(f"bench: {reason}")
    return UNMEASURED


if __name__ == "__main__":
    # Ended from outside, it still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(UNMEASURED))
    sys.exit(main())
