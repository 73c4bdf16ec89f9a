"""`python -m tests.kernel [ROUNDS]`: the classifier's C under sanitizers, one seed after the other."""

import sys
import tempfile
from pathlib import Path
from subprocess import CalledProcessError

from tests.docs.pages import ROOT
from tests.kernel import sanitize

SEEDS = 10


def main(rounds: int) -> int:
    """Its exit status."""
    sources = ROOT / "gateway/routing/classifier/native"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = sanitize.watched(folder, sources), sanitize.plain(folder, sources)
        own = sanitize.lists(folder)
        for seed in range(1, SEEDS + 1):
            try:
                seen, same = (sanitize.run(one, seed, rounds // SEEDS, own) for one in programs)
            except CalledProcessError as error:
                print(f"seed {seed}: ended with {error.returncode}\n{error.stderr}")
                return 1
            print(f"seed {seed}: {seen}", end="")
            if seen != same:
                print(f"as it is installed it found others: {same}", end="")
                return 1
    print("no report")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 20_000))
