"""`tiergate train --from-ledger`: a classifier refitted with what the gateway's own calls teach."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import click

from gateway.cli.ledger_session import LedgerPlace, asked, opened
from gateway.cli.session import CommandSession
from gateway.cli.terminal import progress
from gateway.core import jsonio
from gateway.core.call import Call
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import FeedbackRow, FinalRow
from gateway.dialects import OPERATIONS
from gateway.evaluation.implicit_feedback import ImplicitFeedback, lessons
from gateway.evaluation.training import from_traffic
from gateway.evaluation.training.from_traffic import TrafficOutcome
from gateway.ledger import transcripts
from gateway.ledger.query_params import LedgerQuery
from gateway.routing.classifier.exemplars import ExemplarClassifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.runtime.build import data_folder
from gateway.runtime.tenant_classifiers import TenantModelError, TenantModelFolder

NOT_BETTER = 3
_PAGE = 500


class LedgerSelection(NamedTuple):
    """Whose calls, of when."""

    tenant: str
    since: str | None
    until: str | None
    seed: int


def train(session: CommandSession, which: LedgerSelection, *, dry: bool, as_json: bool) -> None:
    """Refit the classifier in force with a tenant's own calls; exits with NOT_BETTER if refused."""
    base = session.site.router.classifier
    if isinstance(base, ExemplarClassifier):
        base = base.base
    if not isinstance(base, LearnedClassifier):
        message = "Only a learned classifier can be refitted: set routing.classifier to learned."
        raise click.ClickException(message)
    tenant = which.tenant
    books, shelf = session(), TenantModelFolder(data_folder(session.environ), tenant)
    question = asked(
        since=which.since, until=which.until, only=[f"tenant={tenant}"], zone=books.time_zone
    )
    known = lessons(_calls(books, question))
    texts = _texts(books, known)
    taught, textless = from_traffic.taught(known, texts)
    try:
        now, current = shelf.now(), shelf.artefact()
    except TenantModelError as error:
        raise click.ClickException(f"The classifier in force cannot be used: {error}.") from None
    with progress("training", from_traffic.ticks(from_traffic.CONTROLS)) as step:
        outcome = from_traffic.consider(
            current or base.artefact,
            taught,
            which.seed,
            textless=textless,
            made=None if now.made is None else now.made.at,
            controls=from_traffic.CONTROLS,
            tick=step,
        )
    taken = not outcome.refused and not dry and outcome.found is not None
    if taken and outcome.found is not None:
        try:
            shelf.take(outcome.found, time.time())
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise click.ClickException(f"{shelf.folder} cannot be written: {reason}.") from None
    if as_json:
        click.echo(jsonio.shown(_plain(tenant, outcome, taken=taken)))
    else:
        _show(tenant, outcome, taken=taken)
    if outcome.refused:
        raise SystemExit(NOT_BETTER)


def back(session: CommandSession, tenant: str, *, as_json: bool) -> None:
    """Put in force what was before the last training."""
    shelf = TenantModelFolder(data_folder(session.environ), tenant)
    try:
        now = shelf.back()
    except TenantModelError as error:
        raise click.ClickException(
            f"Nothing to go back from for the tenant {tenant}: {error}."
        ) from None
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise click.ClickException(f"{shelf.folder} cannot be written: {reason}.") from None
    if as_json:
        made = None if now.made is None else now.made.id
        click.echo(jsonio.shown({"tenant": tenant, "id": made}))
        return
    name = "the one that serves everybody" if now.made is None else now.made.id
    click.echo(f"The tenant {tenant} goes by {name} again.")


def _calls(
    books: LedgerPlace, question: LedgerQuery
) -> Iterator[tuple[FinalRow, FeedbackRow | None]]:
    """Final rows with what was said of them last."""
    with opened(books) as store:
        if store is None:
            return
        after = None
        while rows := store.entries(
            **question.chosen, zone=question.place, after=after, limit=_PAGE
        ):
            said = store.feedback([row.id for row in rows])
            for row in rows:
                yield row, said.get(row.id)
            after = rows[-1].cursor


def _texts(books: LedgerPlace, known: Iterable[ImplicitFeedback]) -> Mapping[str, str]:
    """The last user turns of calls whose text was kept, by call."""
    wanted = {one.id: one for one in known}
    found: dict[str, str] = {}
    if not books.content_folder.is_dir():
        return found
    for text in transcripts.each(books.content_folder):
        lesson = wanted.get(text.id)
        if lesson is None or text.cut:
            continue
        dialect = OPERATIONS[lesson.dialect, "generate"]
        call = Call(
            id=text.id,
            dialect=dialect.name,
            operation=dialect.operation,
            body=text.prompt.encode(),
            path="models/auto:generateContent" if dialect.read_at is not None else "",
            received_at=text.at,
            started=0.0,
        )
        try:
            user = dialect.asked(call).prompt.user
        except ProblemError:  # something of it was struck out
            continue
        if user:
            found[text.id] = user
    return found


def _plain(tenant: str, outcome: TrafficOutcome, *, taken: bool) -> dict[str, object]:
    found = outcome.found
    told = {name: getattr(outcome, name) for name in outcome.__struct_fields__ if name != "found"}
    return {
        "tenant": tenant,
        **told,
        "id": None if found is None else found.id,
        "taken": taken,
    }


def _show(tenant: str, outcome: TrafficOutcome, *, taken: bool) -> None:
    count = sum(outcome.origins.values())
    by = ", ".join(f"{number} {name}" for name, number in outcome.origins.items())
    click.echo(f"tenant {tenant}: {count} labels with their texts" + (f" ({by})" if by else ""))
    if outcome.textless:
        click.echo(
            f"{outcome.textless} more are of calls whose text was not kept (ledger.content: on)."
        )
    for name, one in (("before", outcome.before), ("after", outcome.after), ("gain", outcome.gain)):
        if one is not None:
            click.echo(f"  {name:<8} {one}")
    if outcome.control is not None:
        click.echo(f"  shuffled labels gain at most {outcome.control:.3f}")
    if outcome.old is not None and outcome.new is not None:
        click.echo(
            f"  on {outcome.since} labels since: {outcome.old:.3f} in force,"
            f" {outcome.new:.3f} without them"
        )
    if outcome.refused:
        click.secho(f"Not taken: {outcome.refused}.", fg="yellow")
    elif outcome.found is not None and taken:
        click.echo(f"{outcome.found.id} is in force for the tenant {tenant}.")
    elif outcome.found is not None:
        click.echo(f"{outcome.found.id} would be taken; nothing was written.")
