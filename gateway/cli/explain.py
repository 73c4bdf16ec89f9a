"""`tiergate explain`: says what the router would decide for a prompt or a request, and why."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click

from gateway.cli import explain_call
from gateway.cli.explain_call import CALL_ID_PATTERN, print_decision
from gateway.cli.ledger_session import adopt_ledger_traffic, open_ledger
from gateway.cli.session import CommandSession, pass_session
from gateway.core import jsonio
from gateway.core.call import OPEN_KEY, Call, Key, RequestOptions
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import ProblemError
from gateway.core.loss import Loss
from gateway.dialects import DIALECTS, OPENAI_CHAT, Dialect, TranslatableRequest
from gateway.evaluation.sample_call import build_body, describe_client, read_body
from gateway.routing import explain, features
from gateway.routing.explain_signals import describe_signals, list_signals
from gateway.routing.features import Features
from gateway.routing.near_misses import NearMiss, describe_near_misses, find_near_misses
from gateway.routing.router import decide
from gateway.settings.errors import suggest_name
from gateway.settings.schema.schedule import parse_moment


@click.command("explain")
@click.argument("prompt")
@click.option("--model", default="auto", show_default=True, help="The model name of the request.")
@click.option("--lab", help="As the header x-tiergate-lab.")
@click.option("--tier", help="As the header x-tiergate-tier.")
@click.option(
    "--tag", "tags", multiple=True, help="As the header x-tiergate-tags; may be repeated."
)
@click.option("--key", "key_name", help="The name of the client's key.")
@click.option(
    "--dialect",
    type=click.Choice(sorted(DIALECTS)),
    default=OPENAI_CHAT.name,
    show_default=True,
    help="The dialect of the request.",
)
@click.option("--client", default="", help="The application that calls, or its user agent.")
@click.option(
    "--at",
    "moment",
    help="The time of the call, as '2026-12-24 18:00 Europe/Berlin'. [now]",
)
@click.option(
    "--json", "as_json", is_flag=True, help="As POST /v1/route, with signals and near misses."
)
@pass_session
def command(  # noqa: PLR0913, PLR0917 - one for each option
    session: CommandSession,
    prompt: str,
    model: str,
    lab: str | None,
    tier: str | None,
    tags: tuple[str, ...],
    key_name: str | None,
    dialect: str,
    client: str,
    moment: str | None,
    *,
    as_json: bool,
) -> None:
    """Say what would be decided for PROMPT, and why; nothing is sent to anybody.

    PROMPT is a text, a file with a whole request body (.json), - for one on standard input, or the
    id of a call in the ledger. For an id, the command says what was decided for that call.

    \b
    Examples:
      tiergate explain "Prove that there are infinitely many primes."
      tiergate explain request.json --json
      tiergate explain --tag support --key app "Where is my parcel?"
      tiergate explain --at "2026-12-24 23:00 Europe/Berlin" "Hello"
      tiergate explain tg-019ad9f5f0c7d3e8b3b0c1a

    \b
    Exit status:
      0  it is decided
      1  such a call would be refused, or the ledger has no such call
      2  the command itself was not understood
    """  # noqa: D301 - \b is click's sign that lines stay apart
    if CALL_ID_PATTERN.fullmatch(prompt):
        explain_call.explain_ledger_call(session, prompt, as_json=as_json)
        return
    call = _ExplainedCall(
        dialect=DIALECTS[dialect],
        key=find_key(session, key_name),
        options=RequestOptions(lab=lab or None, tier=tier or None, tags=tags),
        hints=describe_client(client),
        at=_read_moment(moment),
    )
    try:
        explanation = _decide(session, _make_body(prompt, model, dialect), model, call)
    except ProblemError as error:
        if as_json:
            click.echo(call.dialect.write_problem(error.problem))
        else:
            click.secho(f"refused: {error.problem.operator_message}", fg="red", err=True)
        sys.exit(1)
    decision, plan, losses, call_features, near_misses = explanation
    if as_json:
        description = explain.describe(decision, plan, losses, call.at)
        description["signals"] = describe_signals(call_features)
        description["near_misses"] = describe_near_misses(near_misses)
        click.echo(jsonio.dumps_printable(description))
    else:
        signals = list_signals(call_features)
        print_decision(decision, plan, losses, dialect, signals, near_misses)


class _ExplainedCall(NamedTuple):
    """A call without its body."""

    dialect: Dialect
    key: Key
    options: RequestOptions
    hints: Mapping[str, str]
    at: float


class _Explanation(NamedTuple):
    """A decision with its plan, and the facts that it rests on."""

    decision: Decision
    plan: Plan
    losses: list[tuple[Loss, ...]]
    features: Features
    near_misses: list[NearMiss]


def _decide(session: CommandSession, body: bytes, model: str, call: _ExplainedCall) -> _Explanation:
    dialect, router = call.dialect, session.built_config.router
    read = read_body(dialect, body, model)
    translatable = TranslatableRequest(dialect, read, router.fetched_media)
    call_features = features.read(
        read.prompt, dialect.name, call.key, call.options, translatable, call.hints
    )
    context = _compare_meanings(session, call, call_features, DecisionContext(at=call.at))
    decision, plan = decide(router, call_features, dialect, context)
    if decision.dial_terms is not None:  # a gateway's dial uses the gateway's own calls
        with open_ledger(session()) as store:
            adopt_ledger_traffic(session.built_config, store)
        decision, plan = decide(router, call_features, dialect, context)
    config = session.source.config
    return _Explanation(
        decision,
        plan,
        explain.list_losses(dialect, read, translatable, plan),
        call_features,
        find_near_misses(
            config.guards,
            config.choices,
            call_features,
            decision,
            context,
            router.find_classifier(call.key),
        ),
    )


def _compare_meanings(
    session: CommandSession, call: _ExplainedCall, features: Features, context: DecisionContext
) -> DecisionContext:
    """Return the context with the nearest exemplar by meaning, if this process can compare."""
    if session.source.config.routing.meaning is None:
        return context
    import asyncio  # noqa: PLC0415 - takes long

    from gateway.runtime.decision_models import explain_nearest  # noqa: PLC0415 - takes long

    dialect = call.dialect
    sample = Call(
        id="explain", dialect=dialect.name, operation=dialect.operation, body=b"", key=call.key,
        options=call.options, received_at=call.at, started_at=0.0,
    )  # fmt: skip
    return asyncio.run(explain_nearest(session.built_config, sample, features, context))


def find_key(session: CommandSession, name: str | None) -> Key:
    """Find the key of a name. If no client has a key, return one that has only the name.

    Raises click.BadParameter.
    """
    if name is None:
        return OPEN_KEY
    keys = session.load_keys_by_name()
    if name in keys or list(keys) in ([], [OPEN_KEY.name]):
        return keys.get(name) or Key(name=name)
    hint = suggest_name(name, keys)
    raise click.BadParameter(f"no key is called {name!r}. {hint}".strip(), param_hint="--key")


def _read_moment(moment: str | None) -> float:
    if moment is None:
        return time.time()
    try:
        return parse_moment(moment)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--at") from None


def _make_body(prompt: str, model: str, dialect: str) -> bytes:
    if prompt == "-":
        return sys.stdin.buffer.read()
    if prompt.endswith(".json"):
        try:
            return Path(prompt).read_bytes()
        except OSError as error:
            if not any(char.isspace() for char in prompt):  # a prompt that ends so has spaces
                reason = (error.strerror or "").lower()
                raise click.ClickException(f"{prompt} cannot be read: {reason}.") from None
    return build_body(dialect, _to_unicode(model), _to_unicode(prompt))


def _to_unicode(word: str) -> str:
    """Decode a word of the command line as Unicode, whatever bytes it has."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
