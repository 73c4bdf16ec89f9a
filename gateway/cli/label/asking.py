"""Calls of the command `label`, through an engine in this process, within one budget.

The command serves its calls itself and needs no running gateway: it has no secrets of clients, and
a gateway would let nobody else call with their keys. So the same router, guards, key scopes, limits
and budgets hold as for the client's own call, and the ledger has a row of each call.

A budget of the run counts all of its calls: the limiter reserves the most that a request may cost
before it is sent, at the dearest target of the plan, and again for each further attempt that may be
billed. It refuses a request whose cost has no bound. What an answer cost replaces its reservation,
and what nobody knows stays charged.
"""

import time
from decimal import Decimal
from typing import NamedTuple, Self

import click
import msgspec

from gateway.cli.label.stored_prompts import LABEL_TAG, StoredPrompt
from gateway.cli.session import CommandSession
from gateway.core.call import Call, Key, RequestOptions
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import ProblemError
from gateway.core.prompt_bound import bound_prompt_tokens
from gateway.core.target import Tier
from gateway.dialects import OPENAI_CHAT, OPERATIONS
from gateway.evaluation.labelling import stored_request
from gateway.ledger.redaction import redact_text
from gateway.ledger.redaction_patterns import compile_redactor
from gateway.limits.cost_bounds import UsageBound
from gateway.pipeline.subrequest import restrict_key, serve_subrequest
from gateway.routing.features import estimate_tokens
from gateway.routing.quality_dial import EXPECTED_OUTPUT_TOKENS
from gateway.routing.router import Router
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import GuardBounds, evaluate_guards
from gateway.runtime.build import BuiltConfig
from gateway.runtime.composition import Gateway
from gateway.settings.schema.limits import BudgetPart
from gateway.upstream.connection_pools import Transports

_TIMEOUT_SECONDS = 300.0
"""Seconds until an answer must be whole."""
_EXPECTED_VERDICT_TOKENS = 200
_MICRO_USD = Decimal(1_000_000)


class NotAskedError(Exception):
    """A prompt is not asked, or got no answer; the text says why."""


class GivenAnswer(NamedTuple):
    """A whole answer."""

    call: str
    """The id of the call."""
    text: str
    target: str
    """The target that answered, as provider/model."""
    served: str | None
    cost: Decimal | None
    """USD; None if unknown."""
    charged: Decimal
    """USD that the budget counts: the most that it may cost if no provider counted its tokens."""


class LabelCall(NamedTuple):
    """A call that may be sent, and what it may cost."""

    call: Call
    targets: tuple[str, ...]
    """The targets that may answer, as provider/model."""
    max_usd: Decimal
    """The most that one request costs."""
    expected_usd: Decimal
    """The cost of an answer of the usual length."""


class LabelEngine:
    """The engine of a gateway in this process, whose calls share one budget."""

    def __init__(
        self, session: CommandSession, budget: Decimal, run: str,
        *, transports: Transports | None = None,
    ) -> None:  # fmt: skip
        """`run` is the name of this run: the tag of its calls."""
        self.run_tag = f"{LABEL_TAG}-{run}"
        patterns = session.source.config.ledger.redact
        self._redactors = [compile_redactor(pattern) for pattern in patterns]
        self._gateway = Gateway(
            _add_budget(session.built_config, budget, self.run_tag),
            session.environ,
            lambda *_, **__: None,
            host="127.0.0.1",
            transports=transports,
            workers=1,
        )

    async def __aenter__(self) -> Self:
        """Start the gateway."""
        await self._gateway.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the gateway: all rows are in the ledger then."""
        await self._gateway.stop()

    def redact(self, text: str) -> str:
        """Return a text without secrets, as the ledger keeps it and a judge may see it."""
        return redact_text(text, self._redactors)

    @property
    def router(self) -> Router:
        """The router that decides the calls."""
        return self._gateway.engine.router

    def restrict(self, prompt: StoredPrompt) -> tuple[Key, GuardBounds]:
        """Return the key that asks a prompt, limited to the labs that may read it, and the bounds.

        Raises NotAskedError if a guard refuses the prompt, or keeps it from every model but that of
        its own call.
        """
        router, features, context = self.router, prompt.features, DecisionContext(at=time.time())
        rules = router.rules
        classifier = router.find_classifier(prompt.key)
        rule_context = RuleContext(features, rules.patterns, context, classifier)
        bounds = evaluate_guards(rules, rule_context)
        if bounds.refuse is not None:
            raise NotAskedError("a guard refuses it")
        if bounds.no_judge:
            raise NotAskedError("a guard keeps it from judges")
        tags = (*bounds.tags, LABEL_TAG, self.run_tag)
        return restrict_key(prompt.key, router, features, context, tags), bounds

    async def plan_answer(
        self, prompt: StoredPrompt, tier: Tier, lab: str | None, max_output: int
    ) -> LabelCall:
        """Return the call that asks a prompt on a tier. Raises NotAskedError."""
        key, bounds = self.restrict(prompt)
        if bounds.clamp_tier(tier) != tier:
            raise NotAskedError(f"a guard keeps it from {tier}")
        said = prompt.record.said
        wanted_lab = lab or (None if said is None else said.lab)
        call = self._make_call(
            f"{prompt.row.id}.{self.run_tag}.{tier}",
            prompt.dialect.name,
            stored_request.build_repeat(prompt.dialect, prompt.body.raw, max_output),
            key,
            RequestOptions(lab=wanted_lab, tier=tier),
        )
        decision, plan = await self._decide(call)
        if decision.tier != tier:
            raise NotAskedError(f"its key or the configuration keeps it from {tier}")
        return self._plan(call, plan, EXPECTED_OUTPUT_TOKENS[tier])

    async def plan_verdict(self, prompt: StoredPrompt, body: bytes, number: str) -> LabelCall:
        """Return the call that asks a judge. Raises NotAskedError."""
        key, _ = self.restrict(prompt)
        call = self._make_call(
            f"{prompt.row.id}.{self.run_tag}.judge-{number}", OPENAI_CHAT.name, body, key,
            RequestOptions(),
        )  # fmt: skip
        _, plan = await self._decide(call)
        return self._plan(call, plan, _EXPECTED_VERDICT_TOKENS)

    async def ask(self, planned: LabelCall) -> GivenAnswer:
        """Send a call. Raises NotAskedError if there is no whole answer."""
        call = planned.call
        response = await serve_subrequest(self._gateway.engine, call, _TIMEOUT_SECONDS)
        if response is None:
            raise NotAskedError("no answer in time")
        if response.status != 200:
            raise NotAskedError(f"an answer with status {response.status}")
        headers = {name.decode(): value.decode() for name, value in response.headers}
        cost, is_estimated = headers.get("x-tiergate-cost"), "x-tiergate-estimated" in headers
        provider, model = headers["x-tiergate-provider"], headers["x-tiergate-model"]
        return GivenAnswer(
            call=call.id,
            text=stored_request.read_answer_text(call.dialect, response.body),
            target=f"{provider}/{model}",
            served=stored_request.read_served_model(call.dialect, response.body),
            cost=None if cost is None else Decimal(cost),
            charged=planned.max_usd if cost is None or is_estimated else Decimal(cost),
        )

    def _make_call(
        self, id: str, dialect: str, body: bytes, key: Key, options: RequestOptions
    ) -> Call:
        # A conversation of its own: it must not move that of the client to another target.
        options = msgspec.structs.replace(
            options, cache="off", on_loss="drop-and-tell", complete="off", conversation=id
        )
        return Call(
            id=id,
            dialect=dialect,
            operation="generate",
            body=body,
            path=stored_request.find_path(OPERATIONS[dialect, "generate"]),
            key=key,
            options=options,
            received_at=time.time(),
            started_at=time.monotonic(),
        )

    async def _decide(self, call: Call) -> tuple[Decision, Plan]:
        """Decide a call without asking anybody. Raises NotAskedError."""
        try:
            decision, plan, _ = await self._gateway.engine.explain(call)
        except ProblemError as error:
            raise NotAskedError(f"the gateway refuses it: {error.problem.kind}") from None
        return decision, plan

    def _plan(self, call: Call, plan: Plan, expected_output: int) -> LabelCall:
        """Return a call with what it may cost. Raises NotAskedError."""
        prompt = stored_request.read_repeat(
            OPERATIONS[call.dialect, call.operation], call.body
        ).prompt
        bound = UsageBound(
            call=call,
            prompt=prompt,
            prompt_tokens=estimate_tokens(prompt),
            prompt_bound=bound_prompt_tokens(prompt, len(call.body)),
        )
        most, expected = (
            bound.compute_max_cost(plan.targets),
            bound.compute_expected_cost(plan.targets, expected_output),
        )
        if most is None or expected is None:
            names = ", ".join(target.name for target in plan.targets if target.price is None)
            raise NotAskedError(f"the most that {names or 'a target'} may cost is unknown")
        names_of_targets = tuple(target.name for target in plan.targets)
        return LabelCall(
            call, names_of_targets, most / _MICRO_USD, min(most, expected) / _MICRO_USD
        )


def _add_budget(built_config: BuiltConfig, budget: Decimal, tag: str) -> BuiltConfig:
    """Return a configuration with the budget of a run, and without what only live traffic needs."""
    source = built_config.source
    part = BudgetPart(name=tag, tag=[tag], usd=budget, every="total")
    config = source.config
    changed = config.model_copy(
        update={
            "budgets": [*config.budgets, part],
            "alerts": config.alerts.model_copy(update={"webhook": ""}),
            "routing": config.routing.model_copy(update={"hedge": {}, "shadow": None}),
        }
    )
    return msgspec.structs.replace(
        built_config, source=msgspec.structs.replace(source, config=changed)
    )


def check_budget(text: Decimal) -> Decimal:
    """Return a budget in whole micro-dollars. Raises click.BadParameter."""
    if not text.is_finite() or text <= 0 or text != text.quantize(Decimal("0.000001")):
        raise click.BadParameter("must be an amount above 0 with at most six decimals.")
    return text
