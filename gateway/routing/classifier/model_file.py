r"""The file of a learned classifier: one line of JSON, then bytes. It contains no code.

    {"format": 4, "id": ..., "hash": ..., ..., "card": {...}}\n
    table:  a signed byte for each place of the fast head, then of the smart head
    own:    a signed byte for each place, only if labels of the owner refitted the model

The hash covers everything that affects a score: all but the card.
"""

import hashlib
from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from gateway.core import jsonio
from gateway.core.decision_context import Thresholds
from gateway.routing.classifier import text_features
from gateway.routing.classifier.text_features import PLACES
from gateway.routing.errors import ModelFileError

FORMAT = 4
MAX_BYTES = 1_000_000
"""The maximum size of a model file, in bytes."""
_HEADS = 2


class TierThresholds(msgspec.Struct, frozen=True):
    """The thresholds between tiers in a file. `Thresholds` may get new fields; files do not."""

    fast: float
    smart: float


class FailureHead(msgspec.Struct, frozen=True, kw_only=True):
    """One sum: the logit of a tier failing."""

    level: float = 0.0
    """The logit when nothing else is known."""
    step: float
    """The value of one step of a table byte, for a text whose vector of places has length one."""
    weights: tuple[float, ...]
    """A weight for each number of a text."""
    usual: float = 0.0
    """The sum of the weighted numbers of a usual text; only the difference from it counts."""
    formula: float = 0.0
    """The weight of the formula's own logit."""


class ClassifierModel(msgspec.Struct, frozen=True, kw_only=True):
    """A trained classifier as plain numbers."""

    format: int = FORMAT
    features: int = text_features.VERSION
    id: str
    hash: str = ""
    sources: tuple[str, ...]
    """The sets of scored prompts that trained the classifier."""
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    """The means and spreads of a text's numbers, in the order of `text_features.NUMBER_NAMES`.
    Training scales the numbers by them."""
    fast_fails: FailureHead
    smart_fails: FailureHead
    thresholds_by_tier: TierThresholds
    own_labels: int = 0
    """The number of the owner's labels in the last refit."""
    own_fails: FailureHead | None = None
    """The head that the owner's labels trained, for the fast tier."""
    base_share: float = 1.0
    """The share of the fast head in the logit, 0 to 1; the owner's head has the rest."""
    table: bytes = b""
    own_table: bytes = b""
    card: Mapping[str, Any] = {}

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds, with the model's id as their id."""
        tiers = self.thresholds_by_tier
        return Thresholds(fast=tiers.fast, smart=tiers.smart, id=self.id)


def hash_model(model: ClassifierModel) -> str:
    """Return a hash over everything that affects a score."""
    header = msgspec.structs.replace(model, hash="", card={}, table=b"", own_table=b"")
    digest = hashlib.blake2b(jsonio.dumps(header), digest_size=16)
    digest.update(model.table)
    digest.update(model.own_table)
    return digest.hexdigest()


def seal(model: ClassifierModel) -> ClassifierModel:
    """Return the same model with its hash."""
    return msgspec.structs.replace(model, hash=hash_model(model))


def write(model: ClassifierModel) -> bytes:
    """Return the bytes of the file; the same model gives the same bytes."""
    header = msgspec.structs.replace(model, table=b"", own_table=b"")
    return b"".join((jsonio.dumps(header), b"\n", model.table, model.own_table))


_read_header = jsonio.make_reader(ClassifierModel)


def read(data: bytes) -> ClassifierModel:
    """Return the model in a file's bytes. Raises ModelFileError for anything else."""
    if len(data) > MAX_BYTES:
        raise ModelFileError(f"it is larger than {MAX_BYTES} bytes")
    line, newline, blob = data.partition(b"\n")
    if not newline or not line.startswith(b"{"):
        raise ModelFileError("it is no artefact of a classifier")
    try:
        header: ClassifierModel = _read_header(line)
    except jsonio.JsonError as error:
        raise ModelFileError(f"its head cannot be read: {error}") from None
    if (header.format, header.features) != (FORMAT, text_features.VERSION):
        raise ModelFileError("it is of another version: train it again")
    problem = _check_header(header)
    if problem:
        raise ModelFileError(problem)
    size = PLACES * (_HEADS + (header.own_fails is not None))
    if len(blob) != size:
        raise ModelFileError(f"it has {len(blob)} bytes behind its head, not {size}")
    split = PLACES * _HEADS
    model = msgspec.structs.replace(header, table=blob[:split], own_table=blob[split:])
    if hash_model(model) != header.hash:
        raise ModelFileError("its hash is not that of its numbers")
    return model


def _check_header(header: ClassifierModel) -> str:
    """Return what is wrong with the header's sizes and numbers; empty if nothing is."""
    width = len(text_features.NUMBER_NAMES)
    heads = [header.fast_fails, header.smart_fails]
    if header.own_fails is not None:
        heads.append(header.own_fails)
    if (header.own_labels > 0) != (header.own_fails is not None):
        return "its own labels and its own head do not fit each other"
    rows = [header.means, header.spreads, *(head.weights for head in heads)]
    if any(len(row) != width for row in rows):
        return "its sizes do not fit each other"
    thresholds = header.thresholds_by_tier
    numbers = (
        *header.means, *header.spreads, thresholds.fast, thresholds.smart, header.base_share,
        *(number for head in heads for number in (head.level, head.step, head.usual, head.formula)),
        *(weight for head in heads for weight in head.weights),
    )  # fmt: skip
    if not all(map(isfinite, numbers)) or min(header.spreads) <= 0:
        return "a number of it is none that can be used"
    return ""
