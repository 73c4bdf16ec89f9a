"""`tiergate train --base`: refits an artefact with an owner's files of labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from gateway.cli.session import CommandSession
from gateway.cli.terminal import progress
from gateway.cli.train import refit_result
from gateway.cli.train.artefact_file import EXIT_NOT_BETTER, read_artefact, write_artefact
from gateway.evaluation import labels
from gateway.evaluation.labelling.sampled_label import SOURCE_PREFIX
from gateway.evaluation.labels import Label
from gateway.evaluation.training import refit_trial
from gateway.evaluation.training.own_labels import read_outcomes
from gateway.evaluation.training.refit_trial import RefitOutcome
from gateway.evaluation.training.train import describe_interval
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.runtime.tenant_classifiers import TenantModelFolder
from gateway.settings.data_folder import find_data_folder


class RefitRequest(NamedTuple):
    """The base and the labels of a refit, and the place of the new artefact."""

    base: str
    """`shipped`, or the path of an artefact."""
    files: Sequence[str]
    tenant: str | None
    """The tenant whom the new artefact serves alone; None if it goes to `out`."""
    out: Path | None
    seed: int
    card_fields: Mapping[str, object]
    """Fields that the card of an artefact in `out` has beside the figures."""


def refit(session: CommandSession, request: RefitRequest, *, dry: bool, as_json: bool) -> None:
    """Refit the base, and use the new artefact if it is better than the base and its control.

    Raises SystemExit with EXIT_NOT_BETTER if it is refused, and click.ClickException.
    """
    base = read_artefact(request.base)
    own = [label for file in request.files for label in labels.read_labels(Path(file))]
    _check_tenants(own, request.tenant)
    with progress("training", refit_trial.count_ticks(refit_trial.CONTROLS)) as step:
        outcome = refit_trial.consider(
            base, read_outcomes(own), request.seed, controls=refit_trial.CONTROLS, tick=step
        )
    taken = ""
    if outcome.found is not None and not outcome.refused and not dry:
        taken = _use(session, request, base, outcome, outcome.found)
    if as_json:
        fields = {
            "base": base.id,
            "tenant": request.tenant,
            "file": str(request.out) if taken and request.out is not None else None,
        }
        refit_result.print_json(outcome, fields, is_taken=bool(taken))
    else:
        refit_result.print_outcome(
            outcome,
            taken=taken,
            place=f"base {base.id}",
            left_out="have no scores of both fast and smart.",
        )
    if outcome.refused:
        raise SystemExit(EXIT_NOT_BETTER)


def _check_tenants(own: Sequence[Label], tenant: str | None) -> None:
    """Refuse labels of another tenant's calls. Raises click.ClickException."""
    others = sorted(
        {
            label.source.removeprefix(SOURCE_PREFIX)
            for label in own
            if label.source.startswith(SOURCE_PREFIX)
        }
        - {tenant}
    )
    if tenant is not None and others:
        message = f"These labels are of other tenants' calls: {', '.join(others)}."
        raise click.ClickException(message)


def _use(
    session: CommandSession,
    request: RefitRequest,
    base: ClassifierModel,
    outcome: RefitOutcome,
    found: ClassifierModel,
) -> str:
    """Put the new artefact in force for its tenant, or write it; return what became of it."""
    if request.tenant is not None:
        folder = TenantModelFolder(find_data_folder(session.environ), request.tenant)
        refit_result.activate_for_tenant(folder, found)
        return f"{found.id} is in force for the tenant {request.tenant}."
    if request.out is None:
        raise ValueError("a refit needs a tenant or a file")
    card = {
        "id": found.id,
        "hash": found.hash,
        **request.card_fields,
        "base": {"id": base.id, "hash": base.hash},
        "seed": request.seed,
        "own_labels": found.own_labels,
        "left_out": outcome.left_out,
        "before": describe_interval(outcome.before),
        "after": describe_interval(outcome.after),
        "gain": describe_interval(outcome.gain),
        "shuffled": {"mean": outcome.control_mean, "most": outcome.control},
    }
    write_artefact(request.out, found, card)
    size = request.out.stat().st_size
    return f"{found.id} is in {request.out}: {size:,} bytes, hash {found.hash}."
