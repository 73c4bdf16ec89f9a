"""Ask the judge of a configuration about prompts, straight at its provider, within a budget."""

import asyncio
import time
from collections.abc import Callable, Sequence
from decimal import Decimal

import click
import msgspec

from gateway.cli.session import CommandSession
from gateway.cli.spending import RunBudget
from gateway.core.decision_context import Score
from gateway.core.errors import ProblemError
from gateway.core.passthrough import ProviderEndpoint
from gateway.core.price import Price, compute_cost, compute_reservation
from gateway.core.target import DEFAULT_TIMERS
from gateway.dialects.passthrough_usage import read_usage
from gateway.evaluation.judge_calibration import JudgedOutcome
from gateway.ledger.redaction import Redactor
from gateway.ledger.redaction_patterns import compile_redactor
from gateway.pipeline.judge.decision_question import DecisionQuestion
from gateway.pipeline.judge.decision_server import MAX_ANSWER_TOKENS
from gateway.pipeline.judged_text import prepare_judged_text
from gateway.pipeline.passthrough.answer import JSON_TYPE, read_object
from gateway.routing import route_passthrough
from gateway.routing.decision_endpoint import find_decision_endpoint
from gateway.upstream.attempt import collect_body
from gateway.upstream.client import ProviderClient
from gateway.upstream.connection_pools import ConnectionPools
from gateway.upstream.credentials.cloud_credentials import CloudCredentials
from gateway.upstream.forwarded_request import ForwardedRequest

_MAX_IN_FLIGHT = 4
_MAX_ANSWER_BYTES = 1_000_000
_TIMEOUT_SECONDS = 30.0
"""Seconds until an answer must be whole. Nobody waits for it, as a call would."""


class JudgeModel(msgspec.Struct, frozen=True, kw_only=True):
    """The judge of a configuration, as it is asked without a gateway."""

    endpoint: ProviderEndpoint
    question: DecisionQuestion
    """The question, with the model by its provider's own name."""
    price: Price
    redactors: Sequence[Redactor]


def find_judge_model(session: CommandSession) -> JudgeModel:
    """Return the judge of a configuration. Raises click.ClickException if it cannot be asked."""
    built_config = session.built_config
    config, built_catalogue = built_config.source.config, built_config.built_catalogue
    judge_part = config.routing.judge
    if judge_part is None or judge_part.kind != "decision":
        message = "Only a decision model gives probabilities: set `routing.judge.kind: decision`."
        raise click.ClickException(message)
    endpoint = find_decision_endpoint(
        built_catalogue.catalogue, built_catalogue.passthrough, judge_part.model
    )
    if endpoint is None:
        message = f"No provider of {judge_part.model} is on: `tiergate check` says why."
        raise click.ClickException(message)
    requested = built_catalogue.catalogue.aliases.get(judge_part.model, judge_part.model)
    choice = route_passthrough.find_model(built_catalogue.catalogue, [endpoint], requested, None)
    target = choice.target
    if target is None and choice.targets is not None:
        target = choice.targets[choice.model]
    price = None if target is None else target.price
    if price is None:
        message = (
            f"The price of {choice.model} is unknown, so no budget can hold: give it one "
            "under `models`."
        )
        raise click.ClickException(message)
    return JudgeModel(
        endpoint=endpoint,
        question=DecisionQuestion(choice.model, endpoint.table.name),
        price=price,
        redactors=[compile_redactor(pattern) for pattern in config.ledger.redact],
    )


class AskingResult(msgspec.Struct, kw_only=True):
    """The answers of a judge, and what they cost."""

    outcomes: list[JudgedOutcome] = []
    asked_count: int = 0
    unasked_count: int = 0
    """Prompts for which the budget had too little left."""
    usd: Decimal = Decimal(0)
    """The cost of all questions; where it is unknown, the most that it may be."""

    def describe_missing(self) -> str:
        """Return what is missing, in words."""
        unjudged_count = self.asked_count - len(self.outcomes)
        return f"{unjudged_count} have no verdict, and the budget left {self.unasked_count} unasked"


class JudgeAsker:
    """Asks a judge about prompts, a few at a time."""

    def __init__(self, model: JudgeModel, usd: Decimal, tick: Callable[[], None]) -> None:
        """Spend at most `usd`; call `tick` after each prompt."""
        self._model = model
        self._budget = RunBudget(usd)
        self._tick = tick
        self._slots = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._result = AskingResult()

    async def ask_all(
        self,
        pools: ConnectionPools,
        credentials: CloudCredentials,
        rows: Sequence[tuple[str, float | None, float | None]],
    ) -> AskingResult:
        """Ask about prompts, given with the extent to which fast and smart sufficed."""
        client = ProviderClient(pools, credentials=credentials)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask_row(client, prompt)) for prompt, _, _ in rows]
        result = self._result
        for task, (_, fast, smart) in zip(tasks, rows, strict=True):
            if (score := task.result()) is not None:
                result.outcomes.append(JudgedOutcome(score, fast, smart))
        result.usd = self._budget.charged
        return result

    async def _ask_row(self, client: ProviderClient, prompt: str) -> Score | None:
        """Ask about a prompt, if the budget has so much left; return its score."""
        model, result = self._model, self._result
        body = model.question.make_body(prepare_judged_text(prompt, model.redactors))
        price = model.price.find_in_force(time.time())
        most = compute_reservation(price, len(body), MAX_ANSWER_TOKENS) or Decimal(0)
        score = None
        async with self._slots:
            if await self._budget.reserve(most):
                result.asked_count += 1
                usd, score = await self._send(client, body, price)
                await self._budget.settle(most, most if usd is None else usd)
            else:
                result.unasked_count += 1
        self._tick()
        return score

    async def _send(
        self, client: ProviderClient, body: bytes, price: Price
    ) -> tuple[Decimal | None, Score | None]:
        """Send a question; return its cost and the score, each None if unknown."""
        endpoint, timers = self._model.endpoint, DEFAULT_TIMERS["fast"]
        deadline = asyncio.get_running_loop().time() + _TIMEOUT_SECONDS
        request = ForwardedRequest(
            method=endpoint.endpoint.method,
            url=endpoint.build_url({}),
            headers={"content-type": JSON_TYPE},
            body=body,
        )
        try:
            response = await client.forward(
                endpoint.provider, endpoint.provider.accounts[0], request, timers, deadline=deadline
            )
            try:
                answer = await collect_body(response, timers, deadline, _MAX_ANSWER_BYTES)
            finally:
                await response.close()
        except ProblemError as error:
            return Decimal(0) if error.problem.spent == "no" else None, None
        if response.status != 200:
            return None, None
        usage = read_usage(
            endpoint.endpoint, endpoint.table.dialect, read_object(body), read_object(answer)
        )
        return compute_cost(usage, price), self._model.question.read_score(answer)
