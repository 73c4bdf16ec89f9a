"""`tiergate train --from-ledger`: refits a classifier with labels from the gateway's own calls."""

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
from gateway.cli.train import refit_result
from gateway.cli.train.artefact_file import EXIT_NOT_BETTER
from gateway.core import jsonio
from gateway.evaluation.implicit_feedback import ImplicitFeedback, infer_feedback
from gateway.evaluation.training import refit_trial
from gateway.evaluation.training.own_labels import read_feedback
from gateway.ledger import transcripts
from gateway.routing.classifier.exemplars import ExemplarClassifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.runtime.tenant_classifiers import TenantModelError, TenantModelFolder
from gateway.settings.data_folder import find_data_folder


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
    own_labels = read_feedback(feedback, _read_user_texts(location, feedback))
    try:
        state, current_model = model_folder.read_state(), model_folder.read_model()
    except TenantModelError as error:
        raise click.ClickException(f"The classifier in force cannot be used: {error}.") from None
    with progress("training", refit_trial.count_ticks(refit_trial.CONTROLS)) as step:
        outcome = refit_trial.consider(
            current_model or base.model,
            own_labels,
            selection.seed,
            made=None if state.made is None else state.made.at,
            controls=refit_trial.CONTROLS,
            tick=step,
        )
    taken = ""
    if outcome.found is not None and not outcome.refused and not dry:
        refit_result.activate_for_tenant(model_folder, outcome.found)
        taken = f"{outcome.found.id} is in force for the tenant {tenant}."
    if as_json:
        refit_result.print_json(
            outcome,
            # The number of left-out labels had another name before label files could refit.
            {"tenant": tenant, "textless": outcome.left_out},
            is_taken=bool(taken),
        )
    else:
        refit_result.print_outcome(
            outcome,
            taken=taken,
            place=f"tenant {tenant}",
            left_out="have no text; `ledger.content: on` keeps texts.",
        )
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
