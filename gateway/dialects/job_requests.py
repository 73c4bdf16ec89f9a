"""Read from a request for a job what bounds its cost: requests of a batch, epochs of training."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from gateway.core import jsonio
from gateway.core.batch_file import BatchFileFacts, BatchFileReader, BatchModelFacts
from gateway.core.jsonio import Json
from gateway.core.owned_object import OwnedObject
from gateway.core.target import Target
from gateway.dialects.job_results import TRAINED_TOKEN

_EPOCHS = "n_epochs"
_LARGEST_FIELDS = frozenset({"largest_bytes", "most_images"})
_UNSIZED_MARKS = (b'"type":"url"', b'"type":"file"', b'"mcp_servers"', b'"container"')
"""Marks of a request whose model reads more than it shows, in compact JSON (Anthropic)."""
_IMAGE_MARK = b'"type":"image"'


def read_batch(
    value: Mapping[str, Json], objects: Sequence[OwnedObject]
) -> dict[str, BatchModelFacts]:
    """Return the requests of a batch by model: in its files, or in its own body.

    Return none if the gateway cannot read one of them.
    """
    facts_by_model: dict[str, BatchModelFacts] = {}
    for item in objects:
        batch = item.facts.get("batch") if item.kind == "file" else None
        if batch is not None:
            _merge_facts(
                facts_by_model,
                msgspec.convert(batch["models"], dict[str, BatchModelFacts]),
            )
    requests = value.get("requests")
    lines = _list_inlined(value)
    for request in requests if isinstance(requests, list) else ():
        params = request.get("params") if isinstance(request, dict) else None
        if isinstance(params, dict):  # Anthropic
            _merge_facts(facts_by_model, _read_message(params))
        else:  # Mistral
            lines.append(request)
    if lines:
        facts = _read_lines(lines)
        if facts.problem:
            return {}
        _merge_facts(facts_by_model, facts.models)
    return facts_by_model


def _read_message(params: Mapping[str, Json]) -> dict[str, BatchModelFacts]:
    """Return the facts of one request for Anthropic's messages."""
    body = jsonio.dumps(params)
    given_cap, model = params.get("max_tokens"), params.get("model")
    cap = given_cap if isinstance(given_cap, int) and given_cap > 0 else 0
    tools = params.get("tools")
    has_hosted_tool = any(
        isinstance(tool, dict) and tool.get("type") not in (None, "custom")
        for tool in (tools if isinstance(tools, list) else ())
    )
    facts = BatchModelFacts(
        requests=1,
        prompt_bytes=len(body),
        largest_bytes=len(body),
        images=(images := body.count(_IMAGE_MARK)),
        most_images=images,
        answers=1,
        unsized_requests=int(has_hosted_tool or any(mark in body for mark in _UNSIZED_MARKS)),
        capped_tokens=cap,
        uncapped_answers=0 if cap else 1,
    )
    return {model if isinstance(model, str) else "": facts}


def _list_inlined(value: Mapping[str, Json]) -> list[Json]:
    """Return the requests in a Gemini batch, which names its model in the path."""
    held: Json = value
    for name in ("batch", "inputConfig", "requests", "requests"):
        held = held.get(name) if isinstance(held, dict) else None
    return list(held) if isinstance(held, list) else []


def _read_lines(lines: list[Json]) -> BatchFileFacts:
    """Return the facts of requests that could be the lines of a batch file."""
    reader = BatchFileReader()
    for line in lines:
        reader.feed(jsonio.dumps(line) + b"\n")
    return reader.finish()


def _merge_facts(total: dict[str, BatchModelFacts], added: Mapping[str, BatchModelFacts]) -> None:
    for name, facts in added.items():
        earlier = total.setdefault(name, BatchModelFacts())
        for field in BatchModelFacts.__struct_fields__:
            values = getattr(earlier, field), getattr(facts, field)
            setattr(earlier, field, max(values) if field in _LARGEST_FIELDS else sum(values))


def bound_training(
    target: Target, value: Mapping[str, Json], objects: Sequence[OwnedObject]
) -> Decimal | None:
    """Return the USD that fine-tuning costs at most: its file's bytes in each epoch, as tokens.

    None if the price of a trained token, the epochs or the size of the file are unknown.
    """
    rate = None if target.price is None else target.price.units.get(TRAINED_TOKEN)
    epochs = _find_epochs(value)
    sizes = [item.facts.get("bytes") for item in objects if item.kind == "file"]
    if rate is None or epochs is None or not sizes:
        return None
    total = 0
    for size in sizes:
        if not isinstance(size, int):
            return None
        total += size
    return rate * total * epochs


def _find_epochs(value: Mapping[str, Json]) -> int | None:
    """Return the number of epochs that a request for fine-tuning asks for."""
    places: list[Json] = [value.get("hyperparameters")]
    method = value.get("method")
    parts = method.values() if isinstance(method, dict) else ()
    places += [part.get("hyperparameters") for part in parts if isinstance(part, dict)]
    for place in places:
        epochs = place.get(_EPOCHS) if isinstance(place, dict) else None
        if isinstance(epochs, int) and epochs > 0:
            return epochs
    return None
