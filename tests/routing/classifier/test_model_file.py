"""The file of a classifier: what is written is read, and nothing else is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.routing.classifier import model_file as files
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.routing.errors import ModelFileError
from tests.evaluation.training import lesson


def good() -> ClassifierModel:
    return lesson.learnt()[0]


def changed(**fields: object) -> bytes:
    """A file with other numbers, whose hash is right."""
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
        ({"shape": 0}, "another version"),
        ({"size": -1}, "out of bounds"),
        ({"size": 1 << 16}, "out of bounds"),
        ({"more": -1}, "out of bounds"),
        ({"more": 1}, "do not fit"),
        ({"size": 1}, "bytes behind its head"),
        ({"sources": ()}, "out of bounds"),
        ({"own": -1}, "out of bounds"),
        ({"own": 5}, "do not fit"),
        ({"means": (1.0,)}, "do not fit"),
        ({"reasoned": (7,)}, "do not fit"),
        ({"trees": (0,)}, "do not fit"),
        ({"beats": ()}, "do not fit"),
        ({"slope": -1.0}, "none that can be used"),
        ({"trees": (1,)}, "bytes behind its head"),
        ({"table": b""}, "bytes behind its head"),
    ],
)
def test_sizes_and_numbers_that_do_not_fit_are_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        files.read(changed(**fields))


def test_spreads_and_cuts_must_make_sense() -> None:
    width = len(good().means)
    with pytest.raises(ModelFileError, match="none that can be used"):
        files.read(changed(spreads=(0.0,) * width))
    with pytest.raises(ModelFileError, match="in no order"):
        files.read(changed(cuts=((2.0, 1.0), *good().cuts[1:])))


@pytest.mark.parametrize("more", [(), (9, 9), (9, 8)])
def test_terms_must_rise_and_be_there_once(more: tuple[int, ...]) -> None:
    """Those of the owner's labels are none of the others."""
    found, lanes = good(), len(good().scales)
    terms = files.unpack_terms(found.terms)
    own: dict[str, object] = {
        "own": 5, "scales": (*found.scales, 1.0), "forms": (*found.forms, found.forms[0]),
    }  # fmt: skip
    grown = more or terms[:2]
    twice = {"more": 2, "more_terms": files.pack_terms(grown), "own_table": bytes(len(terms) + 2)}
    with pytest.raises(ModelFileError, match="its terms are in no order"):
        files.read(changed(**own, **twice))
    with pytest.raises(ModelFileError, match="its terms are in no order"):
        files.read(changed(terms=files.pack_terms(terms[::-1])))
    right = {**twice, "more_terms": files.pack_terms((1, 2))}
    assert files.read(changed(**own, **right)).lanes == lanes + 1


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (bytes((254, 0, 2, 0)), "what there is not"),
        (bytes((0, 250, 2, 0)), "what there is not"),
        (bytes((0, 0, 0, 0)), "out of itself"),
        (bytes((0, 0, 1, 0)), "out of itself"),
        (bytes((0, 0, 255, 255)), "out of itself"),
        (bytes((0, 0, 2, 0)), "out of itself"),
        (bytes((255, 0, 0, 0)), "out of itself"),
    ],
)
def test_a_tree_that_would_not_end_is_refused(node: bytes, message: str) -> None:
    with pytest.raises(
        ModelFileError, match=f"tree 1 {'parts by' if 'not' in message else 'leads'}"
    ):
        files.read(changed(forest=node + good().forest[4:]))


@pytest.mark.parametrize("nodes", [bytes((0, 0, 2, 0, 255, 0, 0, 0)), bytes((255, 0, 0, 0) * 2)])
def test_a_tree_of_one_side_or_of_none_is_refused(nodes: bytes) -> None:
    first, *others = good().trees
    with pytest.raises(ModelFileError, match="tree 1 leads out of itself"):
        files.read(changed(trees=(2, first - 2, *others), forest=nodes + good().forest[8:]))


@given(at=st.integers(0, 40_000), value=st.integers(0, 255), drop=st.booleans())
def test_a_file_with_one_other_byte_is_refused(at: int, value: int, drop: bool) -> None:
    """Unless it is in the card, which the hash does not cover."""
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
    """JSON has no NaN: such a head is not read at all."""
    head, _, blob = files.write(good()).partition(b"\n")
    value = jsonio.loads(head)
    value["level"] = None
    with pytest.raises(ModelFileError, match="head cannot be read"):
        files.read(jsonio.dumps(value) + b"\n" + blob)
