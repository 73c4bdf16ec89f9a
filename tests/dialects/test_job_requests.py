"""What requests for jobs show of their cost."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.core.batch_file import BatchModelFacts
from gateway.core.owned_object import OwnedObject
from gateway.core.price import Price
from gateway.core.rates import NO_RATES
from gateway.core.target import Provider, Target
from gateway.dialects.job_requests import bound_training, read_batch


def made(kind: str = "file", **facts: Any) -> OwnedObject:
    return OwnedObject(
        id="f",
        kind=kind,
        tenant="t",
        key="k",
        provider="p",
        account="a",
        created_at=0.0,
        facts=facts,
    )


def file(**models: BatchModelFacts) -> OwnedObject:
    return made(batch={"models": msgspec.to_builtins(models)})


def test_the_requests_of_files_are_added_up() -> None:
    one = BatchModelFacts(requests=1, prompt_bytes=10, capped_tokens=5)
    facts = read_batch({}, [file(a=one, b=one), file(a=one), made(), made("batch")])
    assert facts == {"a": BatchModelFacts(requests=2, prompt_bytes=20, capped_tokens=10), "b": one}


@pytest.mark.parametrize(
    ("params", "facts"),
    [
        ({"model": "m", "max_tokens": 9}, BatchModelFacts(requests=1, capped_tokens=9)),
        ({"model": "m", "max_tokens": "9"}, BatchModelFacts(requests=1, uncapped_answers=1)),
        (
            {"model": "m", "max_tokens": 9, "tools": [{"name": "own"}, {"type": "custom"}]},
            BatchModelFacts(requests=1, capped_tokens=9),
        ),
        (
            {"model": "m", "max_tokens": 9, "tools": [{"type": "web_search_20250305"}]},
            BatchModelFacts(requests=1, capped_tokens=9, unsized_requests=1),
        ),
        (
            {"model": "m", "max_tokens": 9, "messages": [{"type": "image"}, {"source": {"type": "url"}}]},
            BatchModelFacts(requests=1, capped_tokens=9, unsized_requests=1, images=1),
        ),
    ],
)  # fmt: skip
def test_a_batch_of_messages_has_its_requests_in_its_body(
    params: dict[str, Any], facts: BatchModelFacts
) -> None:
    (read,) = read_batch({"requests": [{"params": params}]}, []).values()
    assert read.prompt_bytes > 20
    assert read.largest_bytes == read.prompt_bytes
    assert (read.most_images, read.answers) == (read.images, 1)
    plain = msgspec.structs.replace(read, prompt_bytes=0, largest_bytes=0, most_images=0, answers=0)
    assert plain == facts


@pytest.mark.parametrize("requests", ["x", [5], [{"params": 5}], []])
def test_a_body_without_requests_shows_none(requests: Any) -> None:
    assert read_batch({"requests": requests}, []) == {}


def test_a_model_that_is_no_text_counts_as_unnamed() -> None:
    assert list(read_batch({"requests": [{"params": {"model": 5}}]}, [])) == [""]


def test_gemini_batches_may_have_their_requests_inline() -> None:
    request = {"request": {"contents": [], "generationConfig": {"maxOutputTokens": 7}}}
    body = {"batch": {"inputConfig": {"requests": {"requests": [request, request]}}}}
    (facts,) = read_batch(body, []).values()
    assert (facts.requests, facts.capped_tokens) == (2, 14)
    broken = {"batch": {"inputConfig": {"requests": {"requests": ["x"]}}}}
    assert read_batch(broken, []) == {}
    assert read_batch({"batch": "x"}, []) == {}


PRICE = Price(version="v", rates=NO_RATES, units={"trained_token": Decimal("0.00001")})


@pytest.mark.parametrize(
    ("value", "objects", "price", "bound"),
    [
        ({"hyperparameters": {"n_epochs": 3}}, [made(bytes=100)], PRICE, Decimal("0.003")),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}},
            [made(bytes=100), made(bytes=50)], PRICE, Decimal("0.003"),
        ),
        ({"hyperparameters": {"n_epochs": "auto"}}, [made(bytes=100)], PRICE, None),
        ({}, [made(bytes=100)], PRICE, None),
        ({"hyperparameters": {"n_epochs": 3}}, [], PRICE, None),
        ({"hyperparameters": {"n_epochs": 3}}, [made(bytes="x")], PRICE, None),
        ({"hyperparameters": {"n_epochs": 3}}, [made(bytes=100)], None, None),
    ],
)  # fmt: skip
def test_training_reads_its_files_in_each_epoch(
    value: Any, objects: list[OwnedObject], price: Price | None, bound: Decimal | None
) -> None:
    target = Target(provider=Provider(name="p", urls={}), model="m", price=price)
    assert bound_training(target, value, objects) == bound


def test_requests_beside_a_file_count_too() -> None:
    """Mistral takes both, and names the model in the batch."""
    request = {"custom_id": "1", "body": {"max_tokens": 5, "messages": []}}
    files = [file(**{"": BatchModelFacts(requests=1, answers=1)})]
    (facts,) = read_batch({"requests": [request, request]}, files).values()
    assert (facts.requests, facts.capped_tokens) == (3, 10)
    assert read_batch({"requests": [request, {"custom_id": "2"}]}, files) == {}
