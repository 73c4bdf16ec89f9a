"""`tiergate train --from-ledger`: refits a classifier with labels from the gateway's own calls."""

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import click

from gateway.cli.ledger_session import (
    LedgerPlace,
    open_ledger,
    parse_query_options,
    read_calls,
)
from gateway.cli.session import CommandSession
from gateway.cli.terminal import progress
from gateway.core import jsonio
from gateway.evaluation.implicit_feedback import ImplicitFeedback, infer_feedback
from gateway.evaluation.training import from_traffic
from gateway.evaluation.training.from_traffic import TrafficOutcome
from gateway.ledger import transcripts
from gateway.routing.classifier.exemplars import ExemplarClassifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.runtime.tenant_classifiers import TenantModelError, TenantModelFolder
from gateway.settings.data_folder import find_data_folder

EXIT_NOT_BETTER = 3


class LedgerSelection(NamedTuple):
    """The tenant and the period of the calls, and the seed of the training."""

    tenant: str
    since: str | None
    until: str | None
    seed: int


def refit(session: CommandSession, selection: LedgerSelection, *, dry: bool, as_json: bool) -> None:
    """Refit the classifier in force with a tenant's own calls.

    Raises SystemExit with EXIT_NOT_BETTER if the new classifier is refused.
    """
    base = session.built_config.router.classifier
    if isinstance(base, ExemplarClassifier):
        base = base.base
    if not isinstance(base, LearnedClassifier):
        message = "Only a learned classifier can be refitted: set routing.classifier to learned."
        raise click.ClickException(message)
    tenant = selection.tenant
    location, model_folder = session(), TenantModelFolder(find_data_folder(session.environ), tenant)
    query = parse_query_options(
        since=selection.since,
        until=selection.until,
        only=[f"tenant={tenant}"],
        zone=location.time_zone,
    )
    with open_ledger(location) as store:
        calls = [] if store is None else [*read_calls(store, query)]
    feedback = infer_feedback(calls)
    texts = _read_user_texts(location, feedback)
    training_rows, textless = from_traffic.taught(feedback, texts)
    try:
        state, current_model = model_folder.read_state(), model_folder.read_model()
    except TenantModelError as error:
        raise click.ClickException(f"The classifier in force cannot be used: {error}.") from None
    with progress("training", from_traffic.ticks(from_traffic.CONTROLS)) as step:
        outcome = from_traffic.consider(
            current_model or base.model,
            training_rows,
            selection.seed,
            textless=textless,
            made=None if state.made is None else state.made.at,
            controls=from_traffic.CONTROLS,
            tick=step,
        )
    is_accepted = not outcome.refused and not dry and outcome.found is not None
    if is_accepted and outcome.found is not None:
        try:
            model_folder.activate(outcome.found, time.time())
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise click.ClickException(
                f"{model_folder.folder} cannot be written: {reason}."
            ) from None
    if as_json:
        click.echo(
            jsonio.dumps_printable(_build_outcome_json(tenant, outcome, is_accepted=is_accepted))
        )
    else:
        _print_outcome(tenant, outcome, is_accepted=is_accepted)
    if outcome.refused:
        raise SystemExit(EXIT_NOT_BETTER)


def roll_back(session: CommandSession, tenant: str, *, as_json: bool) -> None:
    """Put the classifier from before the last training in force again."""
    model_folder = TenantModelFolder(find_data_folder(session.environ), tenant)
    try:
        state = model_folder.roll_back()
    except TenantModelError as error:
        raise click.ClickException(
            f"There is no classifier to restore for the tenant {tenant}: {error}."
        ) from None
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise click.ClickException(f"{model_folder.folder} cannot be written: {reason}.") from None
    if as_json:
        model_id = None if state.made is None else state.made.id
        click.echo(jsonio.dumps_printable({"tenant": tenant, "id": model_id}))
        return
    name = "the shared classifier" if state.made is None else state.made.id
    click.echo(f"The tenant {tenant} uses {name} again.")


def _read_user_texts(
    location: LedgerPlace, feedback: Iterable[ImplicitFeedback]
) -> Mapping[str, str]:
    """Read the last user turn of each call whose text was kept, by the call's id."""
    feedback_by_call = {item.id: item for item in feedback}
    user_texts: dict[str, str] = {}
    if not location.content_folder.is_dir():
        return user_texts
    for text in transcripts.read_all(location.content_folder):
        call_feedback = feedback_by_call.get(text.id)
        if call_feedback is None or text.cut:
            continue
        prompt = transcripts.read_prompt(text, call_feedback.dialect)
        if prompt is not None and prompt.user:
            user_texts[text.id] = prompt.user
    return user_texts


def _build_outcome_json(
    tenant: str, outcome: TrafficOutcome, *, is_accepted: bool
) -> dict[str, object]:
    model = outcome.found
    fields = {name: getattr(outcome, name) for name in outcome.__struct_fields__ if name != "found"}
    return {
        "tenant": tenant,
        **fields,
        "id": None if model is None else model.id,
        "taken": is_accepted,
    }


def _print_outcome(tenant: str, outcome: TrafficOutcome, *, is_accepted: bool) -> None:
    count = sum(outcome.origins.values())
    origin_counts = ", ".join(
        f"{label_count} {name}" for name, label_count in outcome.origins.items()
    )
    click.echo(
        f"tenant {tenant}: {count} labels with their texts"
        + (f" ({origin_counts})" if origin_counts else "")
    )
    if outcome.textless:
        click.echo(
            f"{outcome.textless} more labels have no text; `ledger.content: on` keeps texts."
        )
    for name, score in (
        ("before", outcome.before),
        ("after", outcome.after),
        ("gain", outcome.gain),
    ):
        if score is not None:
            click.echo(f"  {name:<8} {score}")
    if outcome.control is not None:
        click.echo(f"  shuffled labels gain at most {outcome.control:.3f}")
    if outcome.old is not None and outcome.new is not None:
        click.echo(
            f"  on {outcome.since} labels since: {outcome.old:.3f} in force,"
            f" {outcome.new:.3f} without them"
        )
    if outcome.refused:
        click.secho(f"Not taken: {outcome.refused}.", fg="yellow")
    elif outcome.found is not None and is_accepted:
        click.echo(f"{outcome.found.id} is in force for the tenant {tenant}.")
    elif outcome.found is not None:
        click.echo(f"{outcome.found.id} would be taken; nothing was written.")
