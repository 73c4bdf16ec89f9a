"""`tiergate explain`: what would be decided for a prompt or a request, and why."""

import sys
import time
from pathlib import Path

import click

from gateway.cli import explain_call
from gateway.cli.explain_call import CALL_ID_PATTERN, print_decision
from gateway.cli.session import CommandSession, pass_session
from gateway.core import jsonio
from gateway.core.call import OPEN_KEY, RequestOptions
from gateway.core.decision import Decision, Plan
from gateway.core.errors import ProblemError
from gateway.core.loss import Loss
from gateway.dialects import OPENAI_CHAT, TranslatableRequest
from gateway.routing import explain, features
from gateway.routing.router import decide


@click.command("explain")
@click.argument("prompt")
@click.option("--model", default="auto", show_default=True, help="The model name it asks for.")
@click.option("--lab", help="As the header x-tiergate-lab.")
@click.option("--tier", help="As the header x-tiergate-tier.")
@click.option(
    "--tag", "tags", multiple=True, help="As the header x-tiergate-tags; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="The same values as POST /v1/route.")
@pass_session
def command(
    session: CommandSession,
    prompt: str,
    model: str,
    lab: str | None,
    tier: str | None,
    tags: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Say what would be decided for PROMPT, and why; nothing is sent to anybody.

    PROMPT is a text, a file with a whole request body (.json), - for one on standard input, or the
    id of a call in the ledger: then it is what was decided for that.

    \b
    Examples:
      tiergate explain "Prove that there are infinitely many primes."
      tiergate explain request.json --json
      tiergate explain --tag support "Where is my parcel?"
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
    options = RequestOptions(lab=lab or None, tier=tier or None, tags=tags)
    try:
        decision, plan, losses = _decide(session, _make_body(prompt, model), options)
    except ProblemError as error:
        if as_json:
            click.echo(OPENAI_CHAT.write_problem(error.problem))
        else:
            click.secho(f"refused: {error.problem.operator_message}", fg="red", err=True)
        sys.exit(1)
    if as_json:
        click.echo(jsonio.dumps_printable(explain.describe(decision, plan, losses, time.time())))
    else:
        print_decision(decision, plan, losses, OPENAI_CHAT.name)


type _DecisionResult = tuple[Decision, Plan, list[tuple[Loss, ...]]]


def _decide(session: CommandSession, body: bytes, options: RequestOptions) -> _DecisionResult:
    read = OPENAI_CHAT.read(body)
    translatable = TranslatableRequest(OPENAI_CHAT, read, session.built_config.router.fetched_media)
    call_features = features.read(read.prompt, OPENAI_CHAT.name, OPEN_KEY, options, translatable)
    decision, plan = decide(session.built_config.router, call_features, OPENAI_CHAT)
    return decision, plan, explain.list_losses(OPENAI_CHAT, read, translatable, plan)


def _make_body(prompt: str, model: str) -> bytes:
    if prompt == "-":
        return sys.stdin.buffer.read()
    if prompt.endswith(".json"):
        try:
            return Path(prompt).read_bytes()
        except OSError as error:
            if not any(char.isspace() for char in prompt):  # a text that ends so has spaces
                reason = (error.strerror or "").lower()
                raise click.ClickException(f"{prompt} cannot be read: {reason}.") from None
    content = _to_unicode(prompt)
    return jsonio.dumps(
        {"model": _to_unicode(model), "messages": [{"role": "user", "content": content}]}
    )


def _to_unicode(word: str) -> str:
    """A word of the command line as Unicode, whatever bytes it was."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
