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
MAX_BYTES = 2_000_000
"""Bytes: no artefact is larger."""
NODE_STRUCT = struct.Struct("<BBH")
"""Of a node: its number, its cut and where, in its tree, its high side begins."""
NODE_BYTES = NODE_STRUCT.size
KNOWN_BYTES = 1 << 13
WORD_MASK = 0xFFFF
"""The bits of a word by which it is known."""
LEAF_NUMBER = 255
"""Stands where a node names its number; its second byte is the leaf's value, less 128."""
TERM_BYTES = 4
_TERM_COUNTS = range(1 << 16)
_MAX_SOURCES = 64


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


def hash_model(model: ClassifierModel) -> str:
    """Over all that decides."""
    header = msgspec.structs.replace(model, hash="", card={}, **_EMPTY_BLOBS)
    digest = hashlib.blake2b(jsonio.dumps(header), digest_size=16)
    for field in _BLOB_FIELDS:
        digest.update(getattr(model, field))
    return digest.hexdigest()


def seal(model: ClassifierModel) -> ClassifierModel:
    """The same with its hash."""
    return msgspec.structs.replace(model, hash=hash_model(model))


def write(model: ClassifierModel) -> bytes:
    """The file: the same artefact, the same bytes."""
    header = msgspec.structs.replace(model, **_EMPTY_BLOBS)
    blob = (getattr(model, field) for field in _BLOB_FIELDS)
    return b"".join((jsonio.dumps(header), b"\n", *blob))


_BLOB_FIELDS = ("known", "terms", "table", "more_terms", "own_table", "forest")
"""Behind the head, in this order."""
_EMPTY_BLOBS = dict.fromkeys(_BLOB_FIELDS, b"")
_read_header = jsonio.make_reader(ClassifierModel)


def read(data: bytes) -> ClassifierModel:
    """The artefact of a file's bytes. Raises ModelFileError for anything else."""
    if len(data) > MAX_BYTES:
        raise ModelFileError(f"it is larger than {MAX_BYTES} bytes")
    line, newline, blob = data.partition(b"\n")
    if not newline or not line.startswith(b"{"):
        raise ModelFileError("it is no artefact of a classifier")
    try:
        header: ClassifierModel = _read_header(line)
    except jsonio.JsonError as error:
        raise ModelFileError(f"its head cannot be read: {error}") from None
    if (header.format, header.shape) != (FORMAT, text_features.VERSION):
        raise ModelFileError("it is of another version: train it again")
    problem = _check_header(header)
    if problem:
        raise ModelFileError(problem)
    has_own = header.own > 0
    sizes = (
        KNOWN_BYTES, TERM_BYTES * header.size, (header.lanes - has_own) * header.size,
        TERM_BYTES * header.more, has_own * (header.size + header.more),
        NODE_BYTES * sum(header.trees),
    )  # fmt: skip
    ends = [*accumulate(sizes, initial=0)]
    if len(blob) != ends[-1]:
        raise ModelFileError(f"it has {len(blob)} bytes behind its head, not {ends[-1]}")
    blobs = {
        field: blob[start:end]
        for field, (start, end) in zip(_BLOB_FIELDS, pairwise(ends), strict=True)
    }
    model = msgspec.structs.replace(header, **blobs)
    if hash_model(model) != header.hash:
        raise ModelFileError("its hash is not that of its numbers")
    problem = _check_terms(model) or _check_trees(model)
    if problem:
        raise ModelFileError(problem)
    return model


def _check_header(header: ClassifierModel) -> str:
    """What is wrong with its sizes and numbers."""
    width, has_own = len(text_features.SHAPE_NAMES), header.own > 0
    bounded = header.size in _TERM_COUNTS and header.more in _TERM_COUNTS and header.own >= 0
    if not bounded or not 0 < len(header.sources) <= _MAX_SOURCES:
        return "its sizes are out of bounds"
    rows = 1 + len(header.sources) + has_own
    lengths = (
        len(header.means) == len(header.spreads) == len(header.cuts) == width
        and len(header.scales) == header.lanes
        and has_own >= (header.more > 0)
        and len(header.forms) == rows
        and all(len(row) == width for row in header.forms)
        and len(header.beats) == width + 1
        and all(0 <= index < len(header.sources) for index in header.reasoned)
        and all(0 < count <= 1 << 16 for count in header.trees)
    )
    if not lengths:
        return "its sizes do not fit each other"
    mix, parting = header.mix, header.parting
    numbers = (
        *header.means, *header.spreads, *header.scales, *header.beats,
        header.leaf, header.slope, header.level,
        mix.prior, mix.settled, mix.strange, mix.base, parting.fast, parting.smart,
        *(weight for row in header.forms for weight in row),
        *(cut for row in header.cuts for cut in row),
    )  # fmt: skip
    if not all(map(isfinite, numbers)) or min(header.spreads) <= 0 or header.slope <= 0:
        return "a number of it is none that can be used"
    if any(low >= high for row in header.cuts for low, high in pairwise(row)):
        return "its cuts are in no order"
    return ""


def unpack_terms(terms: bytes) -> tuple[int, ...]:
    """Terms as numbers."""
    return struct.unpack(f"<{len(terms) // TERM_BYTES}I", terms)


def pack_terms(terms: Sequence[int]) -> bytes:
    """Terms as an artefact has them."""
    return struct.pack(f"<{len(terms)}I", *terms)


def _check_terms(model: ClassifierModel) -> str:
    """What is wrong with its terms: each must be there once."""
    terms, more_terms = unpack_terms(model.terms), unpack_terms(model.more_terms)
    rising = all(low < high for group in (terms, more_terms) for low, high in pairwise(group))
    return "" if rising and {*terms}.isdisjoint(more_terms) else "its terms are in no order"


def _check_trees(model: ClassifierModel) -> str:
    """What is wrong with its trees: each leaf must be where one way ends, within its tree."""
    start = 0
    sizes = [*map(len, model.cuts)] + [0] * (LEAF_NUMBER - len(model.cuts))
    for number, count in enumerate(model.trees, 1):
        nodes = model.forest[start * NODE_BYTES : (start + count) * NODE_BYTES]
        ends = [count]
        for index, (node_number, cut, right) in enumerate(NODE_STRUCT.iter_unpack(nodes), 1):
            # The low side follows its node, and the high side follows the low side's last leaf.
            if node_number == LEAF_NUMBER:
                if ends.pop() != index:
                    return f"tree {number} leads out of itself"
                continue
            if cut >= sizes[node_number]:
                return f"tree {number} parts by what there is not"
            ends.append(right)
        if ends:
            return f"tree {number} leads out of itself"
        start += count
    return ""
