"""`tiergate label`: labels of own traffic. Tiers answer stored prompts, and a judge compares."""

import asyncio
import secrets
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click
import msgspec

from gateway.cli.label import label_report
from gateway.cli.label.asking import LabelEngine, NotAskedError, check_budget
from gateway.cli.label.label_file import LabelFile
from gateway.cli.label.run import LabelOptions, LabelRun, PlannedPrompt, build_person_row
from gateway.cli.label.stored_prompts import PromptStore, StoredPrompt, check_texts
from gateway.cli.ledger_session import parse_query_options, period_options
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.spending import RunBudget
from gateway.cli.terminal import format_count, progress
from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.target import TIERS, Tier
from gateway.evaluation.labelling.strata import DrawnPrompt, draw
from gateway.ledger.label_pairs import LabelPair, LabelPairs
from gateway.settings.data_folder import find_data_folder
from gateway.settings.errors import suggest_name

_EXIT_NOTHING = 3
_DEFAULT_TIERS = "fast,smart"


class _Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The calls that prompts are drawn from, and how many."""

    sample: int
    tenant: str
    since: str | None
    until: str | None


def _parse_tiers(_ctx: click.Context, option: click.Parameter, value: str) -> tuple[Tier, ...]:
    names = {name.strip() for name in value.split(",")}
    tiers = tuple(tier for tier in TIERS if tier in names)
    if len(tiers) != len(names) or len(tiers) < 2:
        raise click.BadParameter("name two or three tiers, as fast,smart.", param=option)
    return tiers


def _parse_budget(
    _ctx: click.Context, _option: click.Parameter, value: Decimal | None
) -> Decimal | None:
    return None if value is None else check_budget(value)


class _DecimalType(click.ParamType[Decimal]):
    name = "usd"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        try:
            return Decimal(str(value))
        except ArithmeticError:
            self.fail(f"{value!r} is no amount.", param, ctx)


@click.command("label")
@click.option(
    "--sample",
    default=500,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Labels that the file is to have.",
)
@click.option(
    "--budget",
    type=_DecimalType(),
    callback=_parse_budget,
    metavar="USD",
    help="The most that all calls of this run may cost.",
)
@click.option(
    "--tiers",
    default=_DEFAULT_TIERS,
    show_default=True,
    callback=_parse_tiers,
    help="Two or three tiers, with commas; the highest is what others are held against.",
)
@click.option("--lab", help="The lab that answers. [the lab of each call]")
@period_options(since="30d")
@click.option("--tenant", default="default", show_default=True, help="The tenant whose calls.")
@click.option("--judge", metavar="MODEL", help="The model that compares, as acme/reasoning.")
@click.option("--person", is_flag=True, help="People compare, on the dashboard's page Labels.")
@click.option("--collect", is_flag=True, help="Write what people have compared; ask nobody.")
@click.option(
    "--max-output",
    default=4096,
    show_default=True,
    type=click.IntRange(16, 100_000),
    help="Tokens that an answer may have, with its reasoning.",
)
@click.option(
    "--parallel",
    default=4,
    show_default=True,
    type=click.IntRange(1, 32),
    help="Prompts asked at a time.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed draws the same prompts.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file of labels, which the command extends.",
)
@click.option("--dry-run", is_flag=True, help="Print strata and expected cost, and ask nobody.")
@click.option("--json", "as_json", is_flag=True, help="JSON; USD as text, unknown as null.")
@pass_session
def command(  # noqa: PLR0913, PLR0917 - its options
    session: CommandSession,
    sample: int,
    budget: Decimal | None,
    tiers: tuple[Tier, ...],
    lab: str | None,
    since: str | None,
    until: str | None,
    tenant: str,
    judge: str | None,
    max_output: int,
    parallel: int,
    seed: int,
    out: Path | None,
    *,
    person: bool,
    collect: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make labels of your own traffic, for `evaluate`, `train` and `report`.

    The command draws prompts of the ledger, evenly over the scores of the classifier. Two or three
    tiers answer each. A judge model, or a person, compares the answers without knowing whose they
    are. Prompts go only where their key and the guards let them go. Labels in the file stay, and
    are not paid again.

    \b
    Examples:
      tiergate label --sample 500 --budget 5.00 --judge acme/reasoning --out labels.jsonl --dry-run
      tiergate label --sample 500 --budget 5.00 --judge acme/reasoning --out labels.jsonl
      tiergate label --sample 50 --budget 0.50 --person --out labels.jsonl
      tiergate label --collect --out labels.jsonl

    \b
    Exit status:
      0  the file has as many labels as asked for, or all that there are
      1  the configuration is wrong, or no texts are kept
      2  the command itself was not understood
      3  labels are missing: the budget is spent, or calls got no answer
    """  # noqa: D301 - the mark keeps click from filling these lines
    if out is None:
        raise click.UsageError("Name the file of labels with --out.")
    if collect:
        _collect(session, out, as_json=as_json)
        return
    if budget is None:
        raise click.UsageError("Name the most that the calls may cost, as --budget 5.00.")
    if (judge is None) != person:
        raise click.UsageError("Name a model that compares with --judge, or write --person.")
    labs = session.built_config.built_catalogue.catalogue.labs
    if lab is not None and lab not in labs:
        hint = suggest_name(lab, labs)
        raise click.BadParameter(f"no lab is called {lab!r}. {hint}".rstrip(), param_hint="--lab")
    options = LabelOptions(
        tiers=tiers, lab=lab, judge=judge, max_output=max_output, seed=seed, parallel=parallel
    )
    selection = _Selection(sample=sample, tenant=tenant, since=since, until=until)
    pairs = LabelPairs(find_data_folder(session.environ))
    with LabelFile(out) as label_file:
        report, is_whole = _label(
            session, selection, options, (budget, label_file, pairs),
            dry_run=dry_run, is_quiet=as_json,
        )  # fmt: skip
    if as_json:
        click.echo(jsonio.dumps_printable(report))
    sys.exit(0 if is_whole else _EXIT_NOTHING)


def _label(
    session: CommandSession,
    selection: _Selection,
    options: LabelOptions,
    parts: tuple[Decimal, LabelFile, LabelPairs],
    *,
    dry_run: bool,
    is_quiet: bool,
) -> tuple[dict[str, Json], bool]:
    """Label prompts; return what was done, and True if nothing that was asked for is missing."""
    budget, label_file, pairs = parts
    location = session()
    check_texts(location)
    query = parse_query_options(
        since=selection.since,
        until=selection.until,
        only=[f"tenant={selection.tenant}"],
        zone=location.time_zone,
    )
    store = PromptStore(location, query, session.built_config.router, session.load_keys_by_name())
    candidates = store.list_candidates()
    labelled = {*label_file.digests}
    if options.judge is None:
        labelled |= {pair.label["members"]["digest"] for pair in pairs.read_pairs()}
    drawn = draw(candidates, selection.sample, options.seed, labelled)
    report = label_report.describe_sample(candidates, drawn, labelled, store.left_out)
    if not is_quiet:
        label_report.print_sample(report)
    if not drawn:
        return report, True
    prompts = store.find_prompts([item.candidate.call for item in drawn])
    work = _run(session, parts, options, (drawn, prompts), dry_run=dry_run)
    outcome, is_whole = asyncio.run(work)
    if not is_quiet:
        label_report.print_outcome(outcome, is_judged=options.judge is not None)
    return {**report, "budget": f"{budget:f}", **outcome}, is_whole


async def _run(
    session: CommandSession,
    parts: tuple[Decimal, LabelFile, LabelPairs],
    options: LabelOptions,
    sample: tuple[Sequence[DrawnPrompt], Mapping[str, StoredPrompt]],
    *,
    dry_run: bool,
) -> tuple[dict[str, Json], bool]:
    """Label the drawn prompts, or find out what that would cost."""
    budget, label_file, pairs = parts
    drawn, prompts = sample
    async with LabelEngine(session, budget, secrets.token_hex(4)) as engine:
        run = LabelRun(engine, RunBudget(budget), options, label_file, pairs)
        if dry_run:
            return await _expect(run, sample), True
        with progress("labelling", len(drawn)) as step:
            summary = await run.run(drawn, prompts, step)
    return label_report.describe_run(summary), summary.labels == len(drawn)


async def _expect(
    run: LabelRun, sample: tuple[Sequence[DrawnPrompt], Mapping[str, StoredPrompt]]
) -> dict[str, Json]:
    """Return what the labels of a sample would cost."""
    drawn, prompts = sample
    planned, refused = list[PlannedPrompt](), Counter[str]()
    for item in drawn:
        try:
            planned.append(await run.plan(item, prompts[item.candidate.call]))
        except NotAskedError as error:
            refused[str(error)] += 1
    return label_report.describe_expected(planned, refused, run.summary.judged_itself)


def _collect(session: CommandSession, out: Path, *, as_json: bool) -> None:
    """Write labels of all prompts whose pairs people have compared, and remove these pairs."""
    pairs = LabelPairs(find_data_folder(session.environ))
    verdicts = pairs.read_verdicts()
    by_prompt: defaultdict[str, list[LabelPair]] = defaultdict(list)
    for pair in pairs.read_pairs():
        by_prompt[pair.label["members"]["digest"]].append(pair)
    counts: Counter[str] = Counter()
    with LabelFile(out) as label_file:
        done: set[str] = set()
        for digest, members in by_prompt.items():
            if any(pair.id not in verdicts for pair in members):
                counts["waiting"] += 1
                continue
            last = max(verdicts[pair.id].at for pair in members)
            at = datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds")
            row = build_person_row(members, verdicts, at)
            if row is not None and digest not in label_file.digests:
                label_file.append(row)
            counts["skipped" if row is None else "labels"] += 1
            done.update(pair.id for pair in members)
        if done:
            pairs.remove(done)
    result = {name: counts[name] for name in ("labels", "skipped", "waiting")}
    if as_json:
        click.echo(jsonio.dumps_printable(result))
        return
    labels, skipped, waiting = (format_count(count) for count in result.values())
    click.echo(f"{labels} labels written, {skipped} skipped, {waiting} wait.")
