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


def sound_model() -> ClassifierModel:
    return lesson.learnt().model


def write_changed(**fields: object) -> bytes:
    """Return a file with other numbers and a correct hash."""
    return files.write(files.seal(msgspec.structs.replace(sound_model(), **fields)))


def test_a_model_file_reads_back_as_it_was_written() -> None:
    written = files.write(sound_model())
    assert files.read(written) == sound_model()
    assert files.write(files.read(written)) == written


def test_the_card_may_change_without_the_numbers() -> None:
    carded = msgspec.structs.replace(sound_model(), card={"note": "a card"})
    assert files.read(files.write(carded)).card == {"note": "a card"}
    assert files.hash_model(carded) == sound_model().hash


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
def test_a_file_that_is_no_model_is_refused(data: bytes, message: str) -> None:
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
        files.read(write_changed(**fields))


def test_a_model_with_labels_of_the_operator_is_read() -> None:
    own = {"own_labels": 5, "own_fails": HEAD, "own_table": bytes(PLACES)}
    assert files.read(write_changed(**own)).own_fails == HEAD


@given(at=st.integers(0, 80_000), value=st.integers(0, 255), drop=st.booleans())
def test_a_file_with_one_changed_byte_is_refused(at: int, value: int, drop: bool) -> None:
    """Only the card may change, because the hash does not cover it."""
    written = files.write(sound_model())
    at %= len(written)
    changed = written[:at] + (b"" if drop else bytes((value,))) + written[at + 1 :]
    if changed == written:
        return
    try:
        model = files.read(changed)
    except ModelFileError:
        return
    assert files.hash_model(model) == model.hash  # JSON that says the same


def test_a_model_file_that_lacks_a_number_is_refused() -> None:
    """JSON has no NaN, so the gateway cannot read a head that lacks a number."""
    head, _, blob = files.write(sound_model()).partition(b"\n")
    value = jsonio.loads(head)
    value["base_share"] = None
    with pytest.raises(ModelFileError, match="head cannot be read"):
        files.read(jsonio.dumps(value) + b"\n" + blob)
