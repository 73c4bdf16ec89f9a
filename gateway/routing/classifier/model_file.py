r"""The file of a learned classifier: one line of JSON, then bytes. No code is in it.

    {"format": 1, "id": ..., "hash": ..., ..., "card": {...}}\n
    known:  2^16 bits, one for each word that was seen
    terms:  four bytes each, rising: the CRC-32 of a word, or of a pair of words, that counts
    table:  a signed byte for each of them, lane after lane
    more:   where labels of the owner refitted it, terms that these have beside those
    own:    a signed byte for each of `terms` and, behind them, of `more`
    forest: four bytes a node, tree after tree

Lanes are `transfer`, then a gain and a gate for each source; `own` is one too. The hash is over all
that decides: everything but the card.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from math import isfinite
from typing import Any

import msgspec

from gateway.core import jsonio
from gateway.core.decision_context import Thresholds
from gateway.routing.classifier import text_features
from gateway.routing.errors import ModelFileError

FORMAT = 2
LIMIT = 2_000_000
"""Bytes: no artefact is larger."""
NODES = struct.Struct("<BBH")
"""Of a node: its number, its cut and where, in its tree, its high side begins."""
NODE = NODES.size
KNOWN = 1 << 13
WORDS = 0xFFFF
"""The bits of a word by which it is known."""
LEAF = 255
"""Stands where a node names its number; its second byte is the leaf's value, less 128."""
TERM = 4
_TERMS = range(1 << 16)
_SOURCES = 64


class ScoreMix(msgspec.Struct, frozen=True, kw_only=True):
    """How the parts are put together, in units of the gap between smart and fast."""

    prior: float = 0.35
    """Of the prior's logit, where nothing is familiar."""
    settled: float = 0.8
    """How much of that is taken away where all is familiar."""
    strange: float = 0.8
    """How much of the forest is taken away where nothing is."""
    base: float = 1.0
    """Of all that, beside the owner's own labels: 150/(150+n)."""


class TierThresholds(msgspec.Struct, frozen=True):
    """Where the tiers part: as `Thresholds`, which may grow while files do not."""

    fast: float
    smart: float


class ClassifierModel(msgspec.Struct, frozen=True, kw_only=True):
    """A trained classifier as plain numbers."""

    format: int = FORMAT
    shape: int = text_features.VERSION
    id: str
    hash: str = ""
    size: int
    """How many terms its table is of: words and pairs."""
    more: int = 0
    """How many more its owner's labels have."""
    sources: tuple[str, ...]
    """Sets of prompts that it has seen, each with a gain and a gate."""
    reasoned: tuple[int, ...] = ()
    """Places in `sources` of those with scores of a reasoning tier."""
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    """Of the numbers of a shape; what lies beyond four spreads is taken as four."""
    scales: tuple[float, ...]
    """What one step of a byte of a lane is worth."""
    forms: tuple[tuple[float, ...], ...]
    """Weights of the shape for `transfer`, each source's gain and, if there is one, `own`."""
    beats: tuple[float, ...]
    """Of the shape for: reasoning beats smart, where such sources are known; last, a constant."""
    cuts: tuple[tuple[float, ...], ...]
    """Of each number of a shape, where a node of the forest may part it."""
    trees: tuple[int, ...]
    """Nodes of each tree."""
    leaf: float
    """What one step of a leaf's byte is worth."""
    mix: ScoreMix = ScoreMix()
    slope: float
    """From a need to the logit of: fast suffices, which is `level - slope * need`."""
    level: float
    parting: TierThresholds
    own: int = 0
    """Labels of the owner that it was refitted with."""
    known: bytes = b""
    """A bit for each of 2^16 words: whether it was seen often enough."""
    terms: bytes = b""
    table: bytes = b""
    more_terms: bytes = b""
    own_table: bytes = b""
    forest: bytes = b""
    card: Mapping[str, Any] = {}

    @property
    def thresholds(self) -> Thresholds:
        """Under the name of the artefact."""
        return Thresholds(fast=self.parting.fast, smart=self.parting.smart, id=self.id)

    @property
    def lanes(self) -> int:
        """How many there are, that of the owner's labels counted in."""
        return 1 + 2 * len(self.sources) + (self.own > 0)


def digest(artefact: ClassifierModel) -> str:
    """Over all that decides."""
    bare = msgspec.structs.replace(artefact, hash="", card={}, **_NO_BYTES)
    found = hashlib.blake2b(jsonio.dumps(bare), digest_size=16)
    for part in _BYTES:
        found.update(getattr(artefact, part))
    return found.hexdigest()


def sealed(artefact: ClassifierModel) -> ClassifierModel:
    """The same with its hash."""
    return msgspec.structs.replace(artefact, hash=digest(artefact))


def write(artefact: ClassifierModel) -> bytes:
    """The file: the same artefact, the same bytes."""
    head = msgspec.structs.replace(artefact, **_NO_BYTES)
    blob = (getattr(artefact, part) for part in _BYTES)
    return b"".join((jsonio.dumps(head), b"\n", *blob))


_BYTES = ("known", "terms", "table", "more_terms", "own_table", "forest")
"""Behind the head, in this order."""
_NO_BYTES = dict.fromkeys(_BYTES, b"")
_read = jsonio.reader(ClassifierModel)


def read(data: bytes) -> ClassifierModel:
    """The artefact of a file's bytes. Raises ModelFileError for anything else."""
    if len(data) > LIMIT:
        raise ModelFileError(f"it is larger than {LIMIT} bytes")
    line, newline, blob = data.partition(b"\n")
    if not newline or not line.startswith(b"{"):
        raise ModelFileError("it is no artefact of a classifier")
    try:
        head: ClassifierModel = _read(line)
    except jsonio.JsonError as error:
        raise ModelFileError(f"its head cannot be read: {error}") from None
    if (head.format, head.shape) != (FORMAT, text_features.VERSION):
        raise ModelFileError("it is of another version: train it again")
    problem = _head(head)
    if problem:
        raise ModelFileError(problem)
    own = head.own > 0
    sizes = (
        KNOWN, TERM * head.size, (head.lanes - own) * head.size,
        TERM * head.more, own * (head.size + head.more), NODE * sum(head.trees),
    )  # fmt: skip
    ends = [*accumulate(sizes, initial=0)]
    if len(blob) != ends[-1]:
        raise ModelFileError(f"it has {len(blob)} bytes behind its head, not {ends[-1]}")
    cut = {part: blob[at:end] for part, (at, end) in zip(_BYTES, pairwise(ends), strict=True)}
    found = msgspec.structs.replace(head, **cut)
    if digest(found) != head.hash:
        raise ModelFileError("its hash is not that of its numbers")
    problem = _terms(found) or _trees(found)
    if problem:
        raise ModelFileError(problem)
    return found


def _head(head: ClassifierModel) -> str:
    """What is wrong with its sizes and numbers."""
    width, own = len(text_features.NAMES), head.own > 0
    bounded = head.size in _TERMS and head.more in _TERMS and head.own >= 0
    if not bounded or not 0 < len(head.sources) <= _SOURCES:
        return "its sizes are out of bounds"
    rows = 1 + len(head.sources) + own
    lengths = (
        len(head.means) == len(head.spreads) == len(head.cuts) == width
        and len(head.scales) == head.lanes
        and own >= (head.more > 0)
        and len(head.forms) == rows
        and all(len(row) == width for row in head.forms)
        and len(head.beats) == width + 1
        and all(0 <= at < len(head.sources) for at in head.reasoned)
        and all(0 < count <= 1 << 16 for count in head.trees)
    )
    if not lengths:
        return "its sizes do not fit each other"
    mix, parting = head.mix, head.parting
    numbers = (
        *head.means, *head.spreads, *head.scales, *head.beats, head.leaf, head.slope, head.level,
        mix.prior, mix.settled, mix.strange, mix.base, parting.fast, parting.smart,
        *(weight for row in head.forms for weight in row),
        *(cut for row in head.cuts for cut in row),
    )  # fmt: skip
    if not all(map(isfinite, numbers)) or min(head.spreads) <= 0 or head.slope <= 0:
        return "a number of it is none that can be used"
    if any(low >= high for row in head.cuts for low, high in pairwise(row)):
        return "its cuts are in no order"
    return ""


def unpacked(terms: bytes) -> tuple[int, ...]:
    """Terms as numbers."""
    return struct.unpack(f"<{len(terms) // TERM}I", terms)


def packed(terms: Sequence[int]) -> bytes:
    """Terms as an artefact has them."""
    return struct.pack(f"<{len(terms)}I", *terms)


def _terms(found: ClassifierModel) -> str:
    """What is wrong with its terms: each must be there once."""
    terms, more = unpacked(found.terms), unpacked(found.more_terms)
    rising = all(low < high for some in (terms, more) for low, high in pairwise(some))
    return "" if rising and {*terms}.isdisjoint(more) else "its terms are in no order"


def _trees(found: ClassifierModel) -> str:
    """What is wrong with its trees: each leaf must be where one way ends, within its tree."""
    start = 0
    sizes = [*map(len, found.cuts)] + [0] * (LEAF - len(found.cuts))
    for number, count in enumerate(found.trees, 1):
        nodes = found.forest[start * NODE : (start + count) * NODE]
        ends = [count]
        for at, (name, cut, right) in enumerate(NODES.iter_unpack(nodes), 1):
            # The low side follows its node, and the high side follows the low side's last leaf.
            if name == LEAF:
                if ends.pop() != at:
                    return f"tree {number} leads out of itself"
                continue
            if cut >= sizes[name]:
                return f"tree {number} parts by what there is not"
            ends.append(right)
        if ends:
            return f"tree {number} leads out of itself"
        start += count
    return ""
