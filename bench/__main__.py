"""`python -m bench`: measure the gateway, nginx and other gateways in one run, and print tables.

Exit status: 0 done, 1 a floor was missed (with --floors), 2 it could not be measured.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from bench import floor, install_peers, load, machine, measure, report, table
from bench.load import Broken
from bench.machine import Missing
from bench.measure import Results
from bench.other_gateways import OTHERS
from bench.peers import SET_UPS, Nginx, Peer, Unstarted, set_up

MISSED = 1
UNMEASURED = 2


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = _parser().parse_args(arguments)
    if sys.platform != "linux":
        return _give_up("this needs Linux: it reads /proc and uses epoll")
    try:
        results = report.read(options.read) if options.read else _measure(options)
    except (Missing, Unstarted, Broken) as error:
        return _give_up(str(error))
    if options.json:
        report.write(results, options.json)
    if options.report:
        report.publish(results)
    _print(table.render(results))
    verdicts = floor.verdicts(results) if options.floors else []
    if verdicts:
        _print("\n" + floor.render(verdicts))
    return 0 if all(verdict.met for verdict in verdicts) else MISSED


def _measure(options: argparse.Namespace) -> Results:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiergate-bench-")))
        instruments = load.build(folder)
        scale = measure.QUICK if options.quick else measure.FULL
        scale = msgspec.structs.replace(scale, rounds=options.rounds or scale.rounds)
        notes: list[str] = []
        peers = _peers(options, stack, notes)
        return measure.run(peers, instruments, folder, scale, _tell, notes)


def _peers(options: argparse.Namespace, stack: ExitStack, notes: list[str]) -> list[Peer]:
    """List the peers that this machine can measure; print and note each other one, with its install command."""
    peers: list[Peer] = []

    def add(name: str, make: Callable[[], Peer]) -> None:
        try:
            peers.append(make())
        except Missing as missing:
            notes.append(f"{name} is left out: {missing}")
            _tell(f"bench: {notes[-1]}")

    if options.floors:  # floors are shares of nginx's figures
        peers.append(Nginx())
    else:
        add("nginx", Nginx)
    for name in _others(options.peers):
        add(name, partial(_other, name, install=options.peers == "all"))
    with machine.pinned(machine.describe().load_cpu):  # the CPU for the Redis of one of them
        for name, kind in SET_UPS.items():
            add(kind.name, partial(set_up, name, stack))
    return peers


def _others(names: str) -> list[str]:
    if names == "none":
        return []
    return [*OTHERS] if names in {"all", "installed"} else names.split(",")


def _other(name: str, *, install: bool) -> Peer:
    if name not in OTHERS:
        raise Missing(f"there is no such peer; there are: {', '.join(OTHERS)}")
    if install:
        _tell(f"{name}: is installed where it is not")
        install_peers.install(OTHERS[name].package())
    return OTHERS[name]()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=measure.__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter: for a look, and for floors")
    parser.add_argument("--floors", action="store_true", help="exit with 1 when a floor is missed")
    parser.add_argument(
        "--peers",
        default="installed",
        metavar="WHICH",
        help=f"all (and install them), installed, none, or some of: {','.join(OTHERS)}",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help=f"measure so many rounds: {measure.FULL.rounds} if it is not given",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write all that was measured"
    )
    parser.add_argument(
        "--from", dest="read", type=Path, metavar="FILE", help="measure nothing: read such a file"
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="write it to bench/results, and its tables and picture to docs",
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
    # Ended by SIGTERM, the bench still stops its processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(UNMEASURED))
    sys.exit(main())
