"""The result of a refit with own labels: put into force for a tenant, and shown."""

import time
from collections.abc import Mapping

import click

from gateway.core import jsonio
from gateway.evaluation.training.refit_trial import RefitOutcome
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.runtime.tenant_classifiers import TenantModelError, TenantModelFolder


def activate_for_tenant(folder: TenantModelFolder, model: ClassifierModel) -> None:
    """Put a tenant's artefact in force. Raises click.ClickException."""
    try:
        folder.activate(model, time.time())
    except TenantModelError as error:
        raise click.ClickException(f"The classifier in force cannot be used: {error}.") from None
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise click.ClickException(f"{folder.folder} cannot be written: {reason}.") from None


def print_json(outcome: RefitOutcome, fields: Mapping[str, object], *, is_taken: bool) -> None:
    """Print a result as JSON; `fields` come first."""
    model = outcome.found
    values = {name: getattr(outcome, name) for name in outcome.__struct_fields__ if name != "found"}
    click.echo(
        jsonio.dumps_printable(
            {
                **fields,
                **values,
                "id": None if model is None else model.id,
                "taken": is_taken,
            }
        )
    )


def print_outcome(outcome: RefitOutcome, *, taken: str, place: str, left_out: str) -> None:
    """Print a result. `place` says whom it serves.

    `taken` says what became of the artefact, empty if nothing was written. `left_out` says why
    labels were left out.
    """
    counts = ", ".join(f"{count} {name}" for name, count in outcome.origins.items())
    total = sum(outcome.origins.values())
    click.echo(f"{place}: {total} labels" + (f" ({counts})" if counts else ""))
    if outcome.left_out:
        click.echo(f"{outcome.left_out} more labels {left_out}")
    for name, interval in (
        ("before", outcome.before),
        ("after", outcome.after),
        ("gain", outcome.gain),
    ):
        if interval is not None:
            click.echo(f"  {name:<8} {interval}")
    if outcome.control is not None and outcome.control_mean is not None:
        click.echo(
            f"  shuffled labels gain {outcome.control_mean:.3f} in the mean,"
            f" at most {outcome.control:.3f}"
        )
    if outcome.old is not None and outcome.new is not None:
        click.echo(
            f"  on {outcome.since} labels since: {outcome.old:.3f} in force,"
            f" {outcome.new:.3f} without them"
        )
    if outcome.refused:
        click.secho(f"Not taken: {outcome.refused}.", fg="yellow")
    elif outcome.found is not None:
        click.echo(taken or f"{outcome.found.id} would be taken; nothing was written.")
