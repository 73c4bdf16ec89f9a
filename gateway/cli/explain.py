"""`tiergate explain`: what would be decided for a prompt or a request, and why."""

import sys
from pathlib import Path

import click

from gateway.cli.session import Session, pass_session
from gateway.cli.table import Column, draw
from gateway.core import jsonio
from gateway.core.call import NO_STEER, OPEN, Key, Steer
from gateway.core.decision import Decision, Plan
from gateway.core.problem import ProblemError
from gateway.dialects import OPENAI_CHAT
from gateway.routing import explain, features
from gateway.routing.decide import decide


@click.command("explain")
@click.argument("prompt")
@click.option("--model", default="auto", show_default=True, help="The model name it asks for.")
@click.option("--lab", help="As the header x-tiergate-lab.")
@click.option(
    "--tag", "tags", multiple=True, help="As the header x-tiergate-tags; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="The same values as POST /v1/route.")
@pass_session
def command(
    session: Session,
    prompt: str,
    model: str,
    lab: str | None,
    tags: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    r"""Say what would be decided for PROMPT, and why; nothing is sent to anybody.

    PROMPT is a text, a file with a whole request body (.json), or - for one on standard input.

    \b
    tiergate explain "Prove that there are infinitely many primes."
    tiergate explain request.json --json
    """
    steer = Steer(lab=lab, tags=tags) if lab or tags else NO_STEER
    try:
        decision, plan = _decide(session, _body(prompt, model), OPEN, steer)
    except ProblemError as error:
        if as_json:
            click.echo(OPENAI_CHAT.problem(error.problem))
        else:
            click.secho(f"refused: {error.problem.message}", fg="red", err=True)
        sys.exit(1)
    if as_json:
        click.echo(jsonio.dumps(explain.view(decision, plan)))
    else:
        _show(decision, plan)


def _decide(session: Session, body: bytes, key: Key, steer: Steer) -> tuple[Decision, Plan]:
    prompt = OPENAI_CHAT.read(body).prompt
    seen = features.read(prompt, OPENAI_CHAT.name, key, steer)
    return decide(session.site.router, seen, OPENAI_CHAT)


def _body(prompt: str, model: str) -> bytes:
    if prompt == "-":
        return sys.stdin.buffer.read()
    if prompt.endswith(".json") and Path(prompt).is_file():
        return Path(prompt).read_bytes()
    return jsonio.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]})


def _show(decision: Decision, plan: Plan) -> None:
    sure = f", {decision.confidence:.0%} sure" if decision.confidence is not None else ""
    by = f"{decision.source} {decision.rule!r}" if decision.rule else decision.source
    click.echo(click.style(f"{decision.lab}/{decision.tier}", bold=True) + f" by {by}{sure}\n")
    draw(
        [Column("step"), Column("effect"), Column("why")],
        [[step.step, step.effect or "-", step.why] for step in decision.trace],
    )
    click.echo()
    for at, target in enumerate(plan.targets, 1):
        effort = f" at effort {target.effort}" if target.effort else ""
        click.echo(f"{at}. {target.name}{effort}")
    for item in plan.skipped:
        click.secho(f"-  {item.target} is skipped: {item.reason}", dim=True)
