"""`python -m tests.hostile`, which `make hostile` runs: all hostile sets against one gateway."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import redis_program
from tests.e2e.redis_port import Place
from tests.e2e.upstream import Upstream
from tests.e2e.world import Config, Loop
from tests.hostile import crossing, trial
from tests.hostile.fields import FIELDS
from tests.hostile.pairs import pairs
from tests.server.conftest import claude, google, replies
from tests.server.gate import KEYS, Gate


def storing(value: Config) -> None:
    """Turn the cache on."""
    value["cache"] = {"default": "on", "ttl": "1h"}


@contextmanager
def serving(folder: Path, provider: Upstream, *changes: object, **environ: str) -> Iterator[Gate]:
    """Run a gateway; fail if its log has a bug at the end."""
    gate = Gate(folder, provider.url, *changes, **environ)  # type: ignore[arg-type]
    try:
        yield gate
        bugs = [row for row in gate.rows() if row["event"] in ("bug", "library")]
        assert not bugs, bugs
    finally:
        gate.stop()


def crossing_at(folder: Path, provider: Upstream) -> trial.Outcomes:
    """Run two keys and clients that leave, with a Redis of their own."""
    program = redis_program()
    if program is None:
        yield "no server of the Redis protocol: make dev, or apt-get install redis-server"
        return
    folder.mkdir()
    provider.scripts.clear()
    provider.on("/", crossing.echo)
    place = Place(program, folder)
    place.start()
    url = f"redis://127.0.0.1:{place.port}/0"
    try:
        with serving(
            folder / "gateway", provider, storing, TIERGATE_KEYS=crossing.KEYS, REDIS_URL=url
        ) as gate:
            yield from crossing.apart(gate)
            yield from crossing.crossed(gate, 10_000)
    finally:
        place.kill()


def main() -> int:
    """Print the results of each set and of all; return 0 if nothing failed."""
    loop, provider = Loop(), Upstream()
    loop.run(provider.start())

    def fresh() -> None:
        provider.requests.clear()
        provider.scripts.clear()
        for prefix, script in (("/claude", claude), ("/reply", replies), ("/google", google)):
            provider.on(prefix, script)

    passed = failed = 0
    keys = {"TIERGATE_KEYS": KEYS, "TIERGATE_ADMIN_KEY": trial.ADMIN_KEY}
    with tempfile.TemporaryDirectory(prefix="tiergate-hostile-") as name:
        folder = Path(name)
        with (
            serving(folder / "open", provider) as gate,
            serving(folder / "cached", provider, storing) as cache,
            serving(folder / "locked", provider, **keys) as locked,
        ):
            sets = {
                **{f"texts in every field of {path}": trial.naughty(gate, provider, path) for path in FIELDS},
                **{f"texts cached apart at {path}": trial.cached(cache, provider, path) for path in trial.SPOKEN},
                **{f"malformed JSON at {path}": trial.unreadable(gate, provider, path, 1500) for path in FIELDS},
                **{f"odd requests at {path} for {model}": trial.odd_requests(gate, path, model, 1000) for path in trial.SPOKEN for model in trial.MODELS.values()},
                **{f"odd answers of {model} at {path}": trial.odd_answers(gate, provider, path, model, 1000) for path in trial.SPOKEN for model in trial.MODELS.values()},
                "requests that can be read in two ways": trial.smuggled(gate, 20_000),
                "injections as keys": trial.locked_out(locked, 2000, within=1.0),
                "injections as names, labels and headers": trial.told_apart(locked, provider, 2000),
                "injections at /admin": trial.asked_admins(locked, 2000),
                "names that lead elsewhere": trial.lost_ways(locked, 2000),
                "pairs of requests and their keys in the cache": pairs(100_000),
                "two keys and clients that leave": crossing_at(folder / "crossing", provider),
            }  # fmt: skip
            for title, outcomes in sets.items():
                fresh()
                counts = trial.tally({title: outcomes})
                passed, failed = passed + counts[0], failed + counts[1]
    loop.run(provider.stop())
    loop.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
