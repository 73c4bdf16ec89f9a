"""Measure if time tells one key what another has cached: `python -m tests.security.timing [N]`.

The audit follows Gu and others, Auditing Prompt Caching (arXiv 2502.07776). It compares probes of
prompts that another key has cached with probes of prompts that nobody has, by a Kolmogorov-Smirnov
test.
"""

import hashlib
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.upstream import Upstream
from tests.e2e.world import Loop
from tests.hostile import crossing
from tests.server.gate import CHAT, Gate, chat


def same(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Return the largest distance between two distributions, and its probability by chance."""
    first, second = sorted(one), sorted(other)
    far, at, by = 0.0, 0, 0
    while at < len(first) and by < len(second):
        least = min(first[at], second[by])
        while at < len(first) and first[at] <= least:
            at += 1
        while by < len(second) and second[by] <= least:
            by += 1
        far = max(far, abs(at / len(first) - by / len(second)))
    root = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    way = (root + 0.12 + 0.11 / root) * far
    terms = ((-1) ** (k - 1) * math.exp(-2 * k * k * way * way) for k in range(1, 101))
    return far, min(1.0, max(0.0, 2 * sum(terms))) if way > 0.2 else 1.0


def probe(gate: Gate, who: int, text: str) -> float:
    """Return the seconds of one call on a kept connection."""
    body = chat(user="key", messages=[{"role": "user", "content": text}])
    since = time.perf_counter()
    told = gate.ask(CHAT, body, "POST", authorization=f"Bearer {crossing.SECRETS[who]}")
    spent = time.perf_counter() - since
    assert (told.status, told.headers["x-tiergate-cache"]) == (200, "miss"), told
    return spent


def main(number: int) -> int:
    """Print both medians and the test; return 1 if the difference is not by chance."""
    loop, provider = Loop(), Upstream()
    loop.run(provider.start())
    provider.on("/", crossing.echo)
    chance = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="tiergate-timing-") as name:
        gate = Gate(
            Path(name) / "gateway", provider.url, crossing.storing, TIERGATE_KEYS=crossing.KEYS
        )
        try:
            held = [hashlib.sha256(b"held %d" % at).hexdigest() for at in range(number)]
            free = [hashlib.sha256(b"free %d" % at).hexdigest() for at in range(number)]
            for text in held:
                probe(gate, 0, text)
            turns = [(text, True) for text in held] + [(text, False) for text in free]
            chance.shuffle(turns)
            spent: dict[bool, list[float]] = {True: [], False: []}
            for text, known in turns:
                spent[known].append(probe(gate, 1, text))
        finally:
            gate.stop()
            loop.run(provider.stop())
            loop.close()
    far, likely = same(spent[True], spent[False])
    for known, word in ((True, "in the cache of another key"), (False, "in nobody's")):
        median = sorted(spent[known])[number // 2]
        print(f"{number} probes of prompts {word}: median {median * 1000:.3f} ms")
    print(f"Kolmogorov-Smirnov: distance {far:.3f}, p = {likely:.3f} (a leak is p < 0.01)")
    return 1 if likely < 0.01 else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
