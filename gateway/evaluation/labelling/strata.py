"""Strata of the classifier's score, and a random sample of prompts from them.

Each stratum gets the same number of prompts as far as it has them. So prompts that are rare in the
traffic are judged too. A label keeps how many prompts its stratum has, and how many calls had its
prompt: with these a mean over labels stands for all calls.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from random import Random

import msgspec

NO_SCORE = "no score"
"""The stratum of prompts that no classifier has scored."""
_BOUNDS = (0.2, 0.4, 0.6, 0.8)
"""The scores at which strata part. They are fixed, so that a sample can go on on another day."""


class LabelCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that may be labelled, with the call that it comes from."""

    digest: str
    """A hash of the prompt: calls with the same prompt are one candidate."""
    call: str
    """The id of the first call with this prompt."""
    stratum: str
    calls: int = 1
    """The number of calls with this prompt."""


class DrawnPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt of a sample, and how likely it was to be drawn."""

    candidate: LabelCandidate
    stratum_prompts: int
    """The number of prompts in its stratum."""
    probability: float
    """The share of the prompts of its stratum that the whole sample has."""


def name_stratum(fast_probability: float | None) -> str:
    """Return the stratum of a prompt by the probability that the fast tier suffices."""
    if fast_probability is None:
        return NO_SCORE
    low = max((bound for bound in _BOUNDS if fast_probability >= bound), default=0.0)
    high = next((bound for bound in _BOUNDS if bound > low), 1.0)
    return f"{low:.1f} to {high:.1f}"


def allocate(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Return how many prompts of each stratum a sample of `count` has.

    Strata share evenly. What a small stratum cannot give, the others give.
    """
    allocation = dict.fromkeys(sizes, 0)
    left = min(count, sum(sizes.values()))
    while left:
        open_strata = [name for name in sorted(sizes) if allocation[name] < sizes[name]]
        share = max(1, left // len(open_strata))
        for name in open_strata:
            added = min(share, sizes[name] - allocation[name], left)
            allocation[name] += added
            left -= added
    return allocation


def draw(
    candidates: Sequence[LabelCandidate], count: int, seed: int, labelled: Collection[str] = ()
) -> list[DrawnPrompt]:
    """Draw a sample of `count` prompts; leave out prompts whose digest is in `labelled`.

    They come in a random order, so that a sample which ends early is random too. The same
    candidates and seed give the same sample.
    """
    strata: defaultdict[str, list[LabelCandidate]] = defaultdict(list)
    for candidate in candidates:
        strata[candidate.stratum].append(candidate)
    allocation = allocate({name: len(members) for name, members in strata.items()}, count)
    drawn: list[DrawnPrompt] = []
    for name, members in sorted(strata.items()):
        rng = Random(f"{seed} {name}")  # noqa: S311 - a sample, guards nothing
        ordered = sorted(members, key=lambda candidate: candidate.digest)
        rng.shuffle(ordered)
        done = sum(candidate.digest in labelled for candidate in ordered)
        fresh = [candidate for candidate in ordered if candidate.digest not in labelled]
        drawn += [
            DrawnPrompt(
                candidate=candidate,
                stratum_prompts=len(members),
                probability=max(allocation[name], done) / len(members),
            )
            for candidate in fresh[: max(0, allocation[name] - done)]
        ]
    Random(f"{seed}").shuffle(drawn)  # noqa: S311 - as above
    return drawn
