"""`tiergate train`: its options, and which of its three ways they ask for."""

from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.cli.ledger_session import period_options
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.train import from_label_files, from_scratch
from gateway.cli.train import from_ledger as ledger_calls

_DEFAULT_TENANT = "default"


@click.command("train")
@click.argument("sources", nargs=-1, metavar="[LABELS...]")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the artefact goes; its card goes beside it, as NAME.json.",
)
@click.option(
    "--seed", default=1, show_default=True, help="A seed; the same seed gives the same bytes."
)
@click.option("--date", "day", metavar="YYYY-MM-DD", help="Date on the card [today].")
@click.option("--data", default="", help="Where the labels are from; for the card.")
@click.option("--licence", default="", help="The licence of the labels; for the card.")
@click.option(
    "--limit", "limits", multiple=True, help="A known limit, for the card; may be repeated."
)
@click.option(
    "--thorough",
    is_flag=True,
    help="Validate on five held-out parts and on each source too; takes ten times as long.",
)
@click.option("--force", is_flag=True, help="Write it even if it is no better than chance.")
@click.option(
    "--base",
    metavar="shipped|PATH",
    help="Refit this artefact with --labels, in place of training from scratch.",
)
@click.option(
    "--labels", "own_labels", multiple=True, metavar="FILE",
    help="Labels of the owner, for --base; may be repeated.",
)  # fmt: skip
@click.option("--from-ledger", is_flag=True, help="Refit it with labels from own calls.")
@click.option(
    "--tenant",
    help="The tenant whom the refit serves alone, and whose calls it learns from"
    f" [--from-ledger and --rollback: {_DEFAULT_TENANT}].",
)
@period_options()
@click.option("--dry-run", "dry", is_flag=True, help="Only show what the refit would give.")
@click.option(
    "--rollback", is_flag=True, help="Restore the classifier that served the tenant before."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@pass_session
def command(  # noqa: PLR0913 - the options of a command
    session: CommandSession,
    sources: tuple[str, ...],
    out: Path | None,
    seed: int,
    day: str | None,
    data: str,
    licence: str,
    limits: tuple[str, ...],
    *,
    base: str | None,
    own_labels: tuple[str, ...],
    thorough: bool,
    force: bool,
    from_ledger: bool,
    tenant: str | None,
    since: str | None,
    until: str | None,
    dry: bool,
    rollback: bool,
    as_json: bool,
) -> None:
    """Train the classifier on labels and write its artefact and card.

    LABELS are .jsonl, .csv or .parquet with a prompt and scores of fast and smart; of several
    sources (`source`) each counts the same. A fifth is held out to judge it against shuffled needs;
    without --force it is not written where it is no better. No text of a prompt is in the artefact.

    With --base the command refits an artefact, `shipped` or a file, with your --labels. It reports
    the gain on labels that the refit has not seen, and what shuffled labels gain. A refit that is
    no better is not used. The new artefact goes to --out, or into force for one --tenant.

    With --from-ledger the command refits a tenant's classifier with feedback on its calls, and with
    what clients did next, as far as the texts were kept. A better classifier is put in force.

    \b
    Examples:
      tiergate train labels.jsonl --out mine.tiergate
      tiergate train --base shipped --labels labels.jsonl --out mine.tiergate
      tiergate train --base shipped --labels labels.jsonl --tenant acme --dry-run
      tiergate train --from-ledger --tenant acme --since 30d
      tiergate train --rollback --tenant acme

    \b
    Exit status:
      0  it is better than its shuffled control, and written
      1  the labels are wrong or too few
      2  the command itself was not understood
      3  it is not better than its control, than its base, or than the one in force
    """  # noqa: D301 - the mark keeps click from filling these lines
    ways = [bool(sources), base is not None, from_ledger, rollback]
    if sum(ways) != 1:
        raise click.UsageError("Name one of LABELS, --base, --from-ledger and --rollback.")
    if own_labels and base is None:
        raise click.UsageError("--labels goes with --base shipped, or --base PATH.")
    if (thorough or force) and not sources:
        raise click.UsageError("--thorough and --force go with LABELS alone.")
    if out is not None and (from_ledger or rollback):
        raise click.UsageError("--out goes with LABELS or --base.")
    card_fields: dict[str, object] = {
        "date": day or datetime.now(UTC).date().isoformat(),
        "data": data,
        "licence": licence,
        "limits": limits,
    }
    if rollback:
        ledger_calls.roll_back(session, tenant or _DEFAULT_TENANT, as_json=as_json)
    elif from_ledger:
        selection = ledger_calls.LedgerSelection(tenant or _DEFAULT_TENANT, since, until, seed)
        ledger_calls.refit(session, selection, dry=dry, as_json=as_json)
    elif base is not None:
        if not own_labels:
            raise click.UsageError("Name the labels of the refit: --labels FILE.")
        if (out is None) == (tenant is None) and not (dry and out is None):
            raise click.UsageError("Name --out or --tenant, not both: where the artefact goes.")
        request = from_label_files.RefitRequest(base, own_labels, tenant, out, seed, card_fields)
        from_label_files.refit(session, request, dry=dry, as_json=as_json)
    elif out is None or tenant is not None:
        raise click.UsageError("Name --out, where the artefact goes, and no --tenant.")
    else:
        from_scratch.train_and_write(
            sources, out, seed, card_fields, thorough=thorough, force=force, as_json=as_json
        )
