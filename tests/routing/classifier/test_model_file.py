"""The file of a classifier: it reads back as it was written, and the gateway refuses any other."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.routing.classifier import model_file as files
from gateway.routing.classifier.model_file import ClassifierModel, FailureHead
from gateway.routing.classifier.text_features import NUMBER_NAMES, PLACES
from gateway.routing.errors import ModelFileError
from tests.evaluation.training import lesson

WIDTH = len(NUMBER_NAMES)
HEAD = FailureHead(step=1.0, weights=(0.0,) * WIDTH)


def good() -> ClassifierModel:
    return lesson.learnt().model


def changed(**fields: object) -> bytes:
    """Return a file with other numbers and a correct hash."""
    return files.write(files.seal(msgspec.structs.replace(good(), **fields)))


def test_what_is_written_is_read() -> None:
    written = files.write(good())
    assert files.read(written) == good()
    assert files.write(files.read(written)) == written


def test_the_card_may_change_without_the_numbers() -> None:
    carded = msgspec.structs.replace(good(), card={"note": "a card"})
    assert files.read(files.write(carded)).card == {"note": "a card"}
    assert files.hash_model(carded) == good().hash


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no artefact"),
        (b"\x80\x04\x95pickle\n", "no artefact"),
        (b"{}", "no artefact"),
        (b"{}\n", "head cannot be read"),
        (b"x" * (files.MAX_BYTES + 1), "larger than"),
        (b'{"a": ' + b"[" * 9999 + b"\n", "head cannot be read"),
    ],
)
def test_what_is_no_artefact_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        files.read(data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 1}, "another version"),
        ({"features": 0}, "another version"),
        ({"means": (1.0,)}, "do not fit"),
        ({"own_labels": 5}, "own head do not fit"),
        ({"own_fails": HEAD}, "own head do not fit"),
        ({"own_labels": 5, "own_fails": HEAD}, "bytes behind its head"),
        ({"smart_fails": FailureHead(step=1.0, weights=())}, "do not fit"),
        ({"spreads": (0.0,) * WIDTH}, "none that can be used"),
        ({"table": b""}, "bytes behind its head"),
    ],
)
def test_sizes_and_numbers_that_do_not_fit_are_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        files.read(changed(**fields))


def test_an_artefact_with_labels_of_its_owner_is_read() -> None:
    own = {"own_labels": 5, "own_fails": HEAD, "own_table": bytes(PLACES)}
    assert files.read(changed(**own)).own_fails == HEAD


@given(at=st.integers(0, 80_000), value=st.integers(0, 255), drop=st.booleans())
def test_a_file_with_one_other_byte_is_refused(at: int, value: int, drop: bool) -> None:
    """Only the card may change, because the hash does not cover it."""
    written = files.write(good())
    at %= len(written)
    other = written[:at] + (b"" if drop else bytes((value,))) + written[at + 1 :]
    if other == written:
        return
    try:
        read = files.read(other)
    except ModelFileError:
        return
    assert files.hash_model(read) == read.hash  # JSON that says the same


def test_a_number_that_is_none_is_refused() -> None:
    """JSON has no NaN, so the gateway cannot read a head that lacks a number."""
    head, _, blob = files.write(good()).partition(b"\n")
    value = jsonio.loads(head)
    value["base_share"] = None
    with pytest.raises(ModelFileError, match="head cannot be read"):
        files.read(jsonio.dumps(value) + b"\n" + blob)
