"""Every endpoint of the three official SDKs works through the gateway as it does without it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from gateway.settings.passthrough import TABLES
from tests.applications.endpoints import anthropic_calls, gemini_calls, openai_calls
from tests.applications.endpoints.anthropic_api import AnthropicApi
from tests.applications.endpoints.gemini_api import GeminiApi
from tests.applications.endpoints.openai_api import OpenAiApi
from tests.applications.endpoints.process import KEY, EndpointGateway, Row
from tests.applications.endpoints.recorder import TEXT_CALL, Received, Recorder, Step
from tests.applications.endpoints.scripted import ScriptedApi
from tests.e2e.upstream import Upstream

pytestmark = [
    # google-genai's own class at aiohttp.
    pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning"),
    # The SDKs warn of Sora, which OpenAI has retired, and of batches of embeddings.
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:batches.create_embeddings"),
]


@dataclass(frozen=True)
class Sdk:
    """An official SDK, the provider that it was made for, and a script of calls."""

    table_prefix: str
    path: str
    """The path of the provider's API at the scripted provider."""
    own_path: str
    """The path of the API at the gateway."""
    make_api: Callable[[str], ScriptedApi]
    make_client: Callable[[str, str], Any]
    run: Callable[[Any, Recorder], None]


SDKS: Mapping[str, Sdk] = {
    "openai": Sdk(
        "openai-", "/openai/v1", "/v1",
        lambda url: OpenAiApi("/openai/v1"),
        lambda url, key: openai.OpenAI(
            base_url=url, api_key=key, max_retries=0, _strict_response_validation=True
        ),
        openai_calls.run,
    ),
    "anthropic": Sdk(
        "anthropic-", "/anthropic", "",
        lambda url: AnthropicApi("/anthropic", url),
        lambda url, key: anthropic.Anthropic(
            base_url=url, api_key=key, max_retries=0, _strict_response_validation=True
        ),
        anthropic_calls.run,
    ),
    "google-genai": Sdk(
        "gemini-", "/gemini", "",
        lambda url: GeminiApi("/gemini", url),
        lambda url, key: genai.Client(api_key=key, http_options={"base_url": url}),
        gemini_calls.run,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Journey:
    """The same calls of one client, at the provider itself and through the gateway."""

    direct: list[Step]
    through: list[Step]
    rows: list[Row]


@pytest.fixture(scope="module", params=SDKS)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    return SDKS[request.param]


@pytest.fixture(scope="module")
def journey(sdk: Sdk, upstream: Upstream, gateway: EndpointGateway) -> Journey:
    direct = travel(sdk, upstream, upstream.url + sdk.path, "the-key-of-the-provider")
    through = travel(sdk, upstream, gateway.url + sdk.own_path, KEY)
    are_priced = [step.usd is not None or step.is_free for step in through for _ in step.operations]
    return Journey(direct, through, gateway.take_rows(are_priced))


def travel(sdk: Sdk, upstream: Upstream, url: str, key: str) -> list[Step]:
    """Run the script with one client against a new provider, and return its steps."""
    upstream.on(f"/{sdk.path.split('/')[1]}", sdk.make_api(upstream.url).answer)
    recorder = Recorder(upstream, sdk.path, url, key)
    sdk.run(sdk.make_client(url, key), recorder)
    return recorder.steps


def test_the_script_calls_every_endpoint_of_the_tables(sdk: Sdk, journey: Journey) -> None:
    called = {operation for step in journey.direct for operation in step.operations}
    names = {
        endpoint.name
        for name, table in TABLES.items()
        if name.startswith(sdk.table_prefix)
        for endpoint in table.endpoints
    }
    assert called - {TEXT_CALL} == names


def test_the_provider_receives_what_the_sdk_sends_it_without_a_gateway(journey: Journey) -> None:
    """Method, path, query, headers and every byte of the body."""
    differing = [
        (direct.operations, sent, received)
        for direct, through in zip(journey.direct, journey.through, strict=True)
        for sent, received in zip(direct.received, through.received, strict=True)
        if sent != received and without_accept(sent, direct) != without_accept(received, through)
    ]
    assert differing == []


def without_accept(received: Received, step: Step) -> Received:
    """Leave out a header that the gateway writes itself towards providers of text."""
    if step.operations != (TEXT_CALL,):
        return received
    return replace(received, headers=tuple(it for it in received.headers if it[0] != "accept"))


def test_each_call_has_a_row_with_its_operation_units_and_cost(journey: Journey) -> None:
    expected = [(step, operation) for step in journey.through for operation in step.operations]
    wrong = [
        f"{operation}: {problem}"
        for (step, operation), row in zip(expected, journey.rows, strict=True)
        for problem in find_problems(step, operation, row)
    ]
    assert wrong == []


def find_problems(step: Step, operation: str, row: Row) -> Iterator[str]:
    """Yield what is wrong with the row of a call."""
    if row["operation"] != (None if operation == TEXT_CALL else operation):
        yield f"the row is of {row['operation']}"
    if row["status"] != 200 or row["state"] not in ("settled", "estimated"):
        yield f"the row has {row['status']} {row['state']}"
    units = {name: Decimal(quantity) for name, quantity in row["units"].items()}
    if units != {name: Decimal(str(quantity)) for name, quantity in step.units.items()}:
        yield f"the row has the units {units}"
    if (row["input"], row["output"]) != (step.tokens or (None, None)):
        yield f"the row has the tokens {row['input']}, {row['output']}"
    cost = None if row["cost"] is None else Decimal(row["cost"])
    if step.is_free and cost != 0:
        yield f"the row costs {cost}, of something free"
    if step.usd is not None and cost != Decimal(step.usd):
        yield f"the row costs {cost}, not {step.usd}"
