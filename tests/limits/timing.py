"""Measure if the time of a refusal reveals anything about a key, by Welch's test.

    python -m tests.limits.timing

The program looks up wrong secrets in random order. Some share 0, 8, 16 or 31 of the first
characters with a known secret; others are expired, revoked or no keys at all. It uses the table
alone, and the way in which a request is identified, which counts wrong keys by their first
characters. No secret is used twice: its cost also depends on where its hash falls in a table, by a
seed that nobody knows.

Exit status: 0 if no kind differs from the first with p < 0.01, 1 if one does. By chance alone one
of a hundred would: the program then measures again, and a kind counts if it differs three times.
"""

import hashlib
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from gateway.core.call import Key
from gateway.core.errors import ProblemError
from gateway.limits.keys import KeyTable, KnownSecret
from gateway.server import request_headers

LOOKUPS = 20_000
"""Look-ups of each kind."""
BASES = ("shares 0", "alike 8", "alike 16", "alike 31")
SURE = 0.01
TIMES = 3


def welch(sample: list[int], other_sample: list[int]) -> float:
    """Return the probability that two samples of one distribution differ so much in their means."""
    spread = statistics.variance(sample) / len(sample) + statistics.variance(other_sample) / len(
        other_sample
    )
    distance = abs(statistics.fmean(sample) - statistics.fmean(other_sample))
    return math.erfc(distance / math.sqrt(2 * spread)) if spread else float(distance == 0)


def trimmed(times: list[int]) -> list[int]:
    """Remove the slowest tenth, in which the machine did something else."""
    return sorted(times)[: len(times) * 9 // 10]


def secret(name: str) -> str:
    return f"tg-{hashlib.sha256(name.encode()).hexdigest()}"


def wrong(kind: str, number: int) -> str:
    """Make a secret that opens nothing; all kinds are made in the same way."""
    what, _, shared = kind.partition(" ")
    live = {"shares": "live 0", "alike": "nobody"}.get(what, f"{kind} {number}")
    at = int(shared or 8)
    text = secret(live)[:at] + secret(f"{kind} {number}")[at:]
    return text.upper() if what == "malformed" else text.lower()


KINDS = (
    "shares 0", "alike 8", "alike 16", "alike 31", "shares 8", "shares 16", "shares 31", "expired", "revoked",
    "malformed",
)  # fmt: skip
"""`alike` secrets share characters with a secret that nobody has."""


def table(number: int) -> dict[bytes, KnownSecret]:
    """Make a table with so many keys of each kind: valid, expired and revoked."""
    secrets: dict[bytes, KnownSecret] = {}
    for kind, until in (("live", math.inf), ("expired", 1.0), ("revoked", -math.inf)):
        for at in range(number):
            digest = hashlib.sha256(secret(f"{kind} {at}").encode()).digest()
            secrets[digest] = KnownSecret(digest, Key(name=f"{kind} {at}"), until)
    return secrets


type LookUp = Callable[[str], object]


def look_ups(keys: KeyTable) -> dict[str, LookUp]:
    """Return the ways to look a secret up, by name."""

    def identify(secret: str) -> object:
        return request_headers.identify(
            keys, request_headers.RequestHeaders([(b"x-api-key", secret.encode())])
        )

    return {"by the table": keys.find, "as a request": identify}


def measure(find: LookUp, lookups: int, chance: random.Random) -> dict[str, list[int]]:
    """Return the nanoseconds of each look-up, by kind.

    All secrets are made first, in the order of the look-ups, so that their making does not disturb
    the processor's caches.
    """
    order = [(kind, number) for kind in KINDS for number in range(lookups)]
    chance.shuffle(order)
    attempts = [(kind, wrong(kind, number)) for kind, number in order]
    times: dict[str, list[int]] = {kind: [] for kind in KINDS}
    clock = time.perf_counter_ns
    for kind, text in attempts:
        begun = clock()
        with suppress(ProblemError):
            find(text)
        spent = clock() - begun
        times[kind].append(spent)
    return times


def main(lookups: int = LOOKUPS) -> int:
    chance, keys = random.Random(), KeyTable(None, table(lookups))
    return max(judge(name, find, lookups, chance) for name, find in look_ups(keys).items())


def judge(name: str, find: LookUp, lookups: int, chance: random.Random) -> int:
    """Print the times of one way to look up; return 1 if they reveal something.

    Secrets with the same first characters are counted in one place of a table, which is then in a
    cache. So secrets that begin like a known one are compared with ones that begin like an unknown
    one.
    """
    print(name)
    measure(find, 2_000, chance)  # warm up
    suspected = [kind for kind in KINDS if kind not in BASES]
    for turn in range(TIMES):
        times = {kind: trimmed(sample) for kind, sample in measure(find, lookups, chance).items()}
        for base in BASES:
            print(f"{base:10}  median {statistics.median(times[base]):7.0f} ns")
        chances = {kind: welch(times[base_of(kind)], times[kind]) for kind in suspected}
        for kind, likely in chances.items():
            print(f"{kind:10}  median {statistics.median(times[kind]):7.0f} ns  p {likely:.3f}")
        suspected = [kind for kind, likely in chances.items() if likely < SURE]
        if not suspected:
            print("nothing is told")
            return 0
        print(f"{', '.join(suspected)}: {'again' if turn + 1 < TIMES else 'TELLS'}", flush=True)
    return 1


def base_of(kind: str) -> str:
    """Return the kind that a kind is compared with."""
    alike = kind.replace("shares", "alike")
    return alike if alike in BASES else BASES[0]


if __name__ == "__main__":
    sys.exit(main())
