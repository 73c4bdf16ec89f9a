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


def compare_samples(
    samples: Sequence[float], other_samples: Sequence[float]
) -> tuple[float, float]:
    """Return the largest distance between two distributions, and its probability by chance."""
    first, second = sorted(samples), sorted(other_samples)
    distance, first_index, second_index = 0.0, 0, 0
    while first_index < len(first) and second_index < len(second):
        least = min(first[first_index], second[second_index])
        while first_index < len(first) and first[first_index] <= least:
            first_index += 1
        while second_index < len(second) and second[second_index] <= least:
            second_index += 1
        distance = max(distance, abs(first_index / len(first) - second_index / len(second)))
    root = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    scaled = (root + 0.12 + 0.11 / root) * distance
    terms = ((-1) ** (k - 1) * math.exp(-2 * k * k * scaled * scaled) for k in range(1, 101))
    return distance, min(1.0, max(0.0, 2 * sum(terms))) if scaled > 0.2 else 1.0


def probe(gate: Gate, key_index: int, text: str) -> float:
    """Return the seconds of one call on a kept connection."""
    body = chat(user="key", messages=[{"role": "user", "content": text}])
    start = time.perf_counter()
    reply = gate.ask(CHAT, body, "POST", authorization=f"Bearer {crossing.SECRETS[key_index]}")
    seconds = time.perf_counter() - start
    assert (reply.status, reply.headers["x-tiergate-cache"]) == (200, "miss"), reply
    return seconds


def main(number: int) -> int:
    """Print both medians and the test; return 1 if the difference is not by chance."""
    loop, provider = Loop(), Upstream()
    loop.run(provider.start())
    provider.on("/", crossing.echo)
    rng = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="tiergate-timing-") as name:
        gate = Gate(
            Path(name) / "gateway", provider.url, crossing.storing, TIERGATE_KEYS=crossing.KEYS
        )
        try:
            cached_texts = [hashlib.sha256(b"held %d" % at).hexdigest() for at in range(number)]
            uncached_texts = [hashlib.sha256(b"free %d" % at).hexdigest() for at in range(number)]
            for text in cached_texts:
                probe(gate, 0, text)
            probes = [(text, True) for text in cached_texts] + [
                (text, False) for text in uncached_texts
            ]
            rng.shuffle(probes)
            seconds: dict[bool, list[float]] = {True: [], False: []}
            for text, is_cached in probes:
                seconds[is_cached].append(probe(gate, 1, text))
        finally:
            gate.stop()
            loop.run(provider.stop())
            loop.close()
    distance, probability = compare_samples(seconds[True], seconds[False])
    for is_cached, word in ((True, "in the cache of another key"), (False, "in nobody's")):
        median = sorted(seconds[is_cached])[number // 2]
        print(f"{number} probes of prompts {word}: median {median * 1000:.3f} ms")
    print(
        f"Kolmogorov-Smirnov: distance {distance:.3f}, p = {probability:.3f} (a leak is p < 0.01)"
    )
    return 1 if probability < 0.01 else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
