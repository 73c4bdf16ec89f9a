"""`make applications`: mixes of applications by the number, until one shows something wrong."""

import secrets
import sys
import tempfile
from pathlib import Path

from tests.applications.audit import audit
from tests.applications.mixer import mix
from tests.applications.modalities import calls, judge
from tests.applications.process import running
from tests.conftest import redis_server
from tests.e2e.world import Loop

CALLS = 5_000
"""Calls with tokens of all kinds, after the rounds."""


def main() -> int:
    """Run so many rounds from a seed on: half of them with Redis and tenants. 1 where something is wrong."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    first = int(sys.argv[2]) if len(sys.argv) > 2 else secrets.randbelow(1_000_000)
    loop = Loop()
    with tempfile.TemporaryDirectory(prefix="applications-") as name, redis_server(Path(name)) as redis_url:  # fmt: skip
        places = (
            running(loop, Path(name) / "open"),
            running(loop, Path(name) / "tenants", tenants=True, REDIS_URL=redis_url),
        )
        with places[0] as alone, places[1] as shared:
            for seed in range(first, first + rounds):
                gateway = (alone, shared)[seed % 2]
                mix(gateway, seed)
                wrong = audit(gateway)
                print(f"seed {seed}: {len(gateway.exchanges())} calls so far, {len(wrong)} wrong")
                if wrong:
                    print("\n".join(wrong))
                    print(f"again: make applications ROUNDS=1 SEED={seed}")
                    return 1
        folder = Path(name) / "modalities"
        folder.mkdir()
        with calls.running(loop, folder, f"{redis_url[:-1]}1", first) as bench:
            bench.run(CALLS)
            wrong = judge.judge(bench)
            print(f"seed {first}: {CALLS} calls by modality, {len(wrong)} wrong")
            if wrong:
                print("\n".join(wrong[:50]))
                return 1
    loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
