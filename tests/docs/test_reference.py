"""The reference tables of the documents match the code: keys, options, fields, errors."""

import re
import typing
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gateway.cli import cli
from gateway.core import jsonio
from gateway.core.call import RequestOptions
from gateway.core.decision_record import DecisionRecord
from gateway.core.errors import STATUS_BY_KIND, Problem, ProblemKind
from gateway.core.ledger_rows import CallState, FinalRow, Row, UsageSource
from gateway.core.target import TIERS, build_timers
from gateway.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT
from gateway.evaluation.labels import Label
from gateway.ledger import export
from gateway.ledger.journal import decode_row
from gateway.ledger.query import FILTER_NAMES, GROUP_BY_NAMES
from gateway.limits.keys import KeyPart
from gateway.runtime.build import EFFORT_STYLES
from gateway.settings import yaml
from gateway.settings.environment import RESERVED_WORDS
from gateway.settings.schema import root, rules
from gateway.settings.schema.cloud_auth import AwsAuthPart, AzureAuthPart, GoogleAuthPart
from gateway.settings.schema.limits import AlertsPart, BudgetPart, LimitPart, UsersPart
from gateway.settings.schema.redis import RedisPart
from gateway.settings.schema.root import Part
from gateway.settings.schema.schedule import TimePart
from gateway.settings.schema.server import ServerPart, TimersPart, WaitPart
from gateway.settings.schema.sign_in import SignInPart
from gateway.settings.schema.tokens import TokenIssuerPart
from tests.docs import ledger, pages
from tests.docs.pages import ROOT
from tests.metamorphic.relations import RELATIONS, TRANSLATED

PARTS: dict[str, type[BaseModel]] = {
    "configuration": root.Config,
    "server": ServerPart,
    "server.timeouts": WaitPart,
    "default": root.DefaultPart,
    "routing": root.RoutingPart,
    "routing.seats": root.SeatsPart,
    "cache": root.CachePart,
    "retry": root.RetryPart,
    "responses": root.ResponsesPart,
    "passthrough": root.PassThroughPart,
    "realtime": root.RealtimePart,
    "media": root.MediaPart,
    "ledger": root.LedgerPart,
    "metrics": root.MetricsPart,
    "redis": RedisPart,
    "otlp": root.OtlpPart,
    "traces": root.TracesPart,
    "log": root.LogPart,
    "keys": root.KeysPart,
    "provider": root.ProviderPart,
    "aws": AwsAuthPart,
    "google": GoogleAuthPart,
    "azure": AzureAuthPart,
    "timeouts": TimersPart,
    "lab": root.LabPart,
    "embedding": root.EmbeddingPart,
    "target": root.TargetPart,
    "group": root.GroupPart,
    "model": root.ModelPart,
    "effort": root.EffortPart,
    "chat": root.ChatPart,
    "price": root.PricePart,
    "audio": root.MediaRatesPart,
    "from": root.DatedPart,
    "service": root.ServicePart,
    "above": root.StepPart,
    "hours": root.HoursPart,
    "max_share": rules.MostPart,
    "judge": rules.JudgePart,
    "judge.calibration": rules.JudgeCalibrationPart,
    "cache.near": root.NearPart,
    "exemplar": rules.ExemplarPart,
    "route": rules.RoutePart,
    "meaning": rules.MeaningPart,
    "guard": rules.GuardPart,
    "choice": rules.ChoicePart,
    "when": rules.WhenPart,
    "range": rules.RangePart,
    "time": TimePart,
    "token issuer": TokenIssuerPart,
    "sign_in": SignInPart,
    "limit": LimitPart,
    "budget": BudgetPart,
    "unknown_price": root.UnknownPricePart,
    "users": UsersPart,
    "alerts": AlertsPart,
    "key": KeyPart,
}
"""Parts of the schema, by the head of the table that documents each."""


def parts(of: type[Part]) -> Iterator[type[Part]]:
    """Yield all parts of the schema that have keys of their own."""
    for part in of.__subclasses__():
        if part.__module__ == root.__name__ and part is not root.RatesPart:
            yield part
        if part.__module__ == root.__name__:
            yield from parts(part)


def documented() -> dict[str, pages.Table]:
    """Return the tables whose head is the name of a part."""
    tables = [(pages.codes(table.head[0]), table) for table in pages.tables()]
    return {name[0]: table for name, table in tables if name and table.head[1] == "default"}


def test_every_part_of_the_schema_has_a_table() -> None:
    assert set(parts(Part)) <= set(PARTS.values())
    assert documented().keys() == PARTS.keys()


@pytest.mark.parametrize("name", PARTS)
def test_a_table_has_every_key_with_its_default(name: str) -> None:
    """Each key is there once, with its default as a file would write it; no other key is there."""
    part, rows = PARTS[name], documented()[name].rows
    fields = {field.alias or key: field for key, field in part.model_fields.items()}
    assert sorted(pages.codes(row[0])[0] for row in rows) == sorted(fields)
    for row in rows:
        key = pages.codes(row[0])[0]
        field = fields[key]
        if row[1] == "required":
            assert field.default is PydanticUndefined, key
            continue
        default = field.get_default(call_default_factory=True)
        if row[1] == "":
            assert default in (None, "", []), key
            continue
        least = {other: _least(item) for other, item in fields.items() if item.is_required()}
        (text,) = pages.codes(row[1])
        extra: dict[type[BaseModel], dict[str, object]] = {
            BudgetPart: {"usd": 1}, LimitPart: {"concurrency": 1},
            root.ProviderPart: {"dialects": {"openai-chat": "/"}, "endpoints": {"rerank": ""}},
        }  # fmt: skip
        made = part.model_validate(
            {**least, **extra.get(part, {}), key: yaml.read(text, key).value}
        )
        attribute = next(at for at, item in part.model_fields.items() if item is field)
        assert getattr(made, attribute) == default, key


def _least(field: object) -> object:
    """Return some value for a required field."""
    kinds: list[tuple[str, object]] = [
        ("Role", {"admin": "x"}), ("dict[", {"": "x"}), ("list[", ["01:00-02:00"]), ("Literal[1]", 1), ("TokenCount", 1),
        ("WindowKind", "day"), ("IssuerUrl", "https://a.example"),
    ]  # fmt: skip
    shown = str(getattr(field, "annotation", ""))
    return next((value for sign, value in kinds if sign in shown), "x")


def test_the_timers_are_those_of_the_tiers() -> None:
    for row in pages.table("`timeouts`", "configuration.md").rows:
        name = pages.codes(row[0])[0]
        stated = [float(cell.removesuffix(" s")) for cell in row[2:5]]
        assert stated == [getattr(build_timers(tier, {}), name) for tier in TIERS], name


def options(name: str) -> set[str]:
    """Return the options of a command, without help."""
    name, _, rest = name.partition(" ")
    command = cli.get_command(click.Context(cli), name)
    if rest:
        assert isinstance(command, click.Group)
        command = command.commands[rest]
    assert command is not None
    return {
        text
        for option in command.params
        if isinstance(option, click.Option)
        for text in option.opts
        if text != "--help"
    }


def test_every_option_of_every_command_is_listed() -> None:
    """No other option is listed; `--config` stands once for all commands."""
    listed_options: dict[str, set[str]] = {}
    name = ""
    for row in pages.table("command", "command-line.md").rows:
        name = pages.codes(row[0])[0].removeprefix("tiergate ") if row[0] else name
        listed_options.setdefault(name, set()).update(pages.codes(row[1]))
    names = cli.list_commands(click.Context(cli))
    assert listed_options == {name: options(name) - {"--config"} for name in names}


@pytest.mark.parametrize(
    ("name", "head"), [("costs", "option"), ("costs reprice", "option of reprice")]
)
def test_the_options_of_costs_have_a_line_each(name: str, head: str) -> None:
    rows = pages.table(head, "costs.md").rows
    assert {pages.codes(row[0])[0] for row in rows} == options(name)


def test_the_options_of_evaluate_have_a_line_each() -> None:
    rows = pages.table("option", "evaluation.md").rows
    assert {pages.codes(row[0])[0] for row in rows} == options("evaluate") - {"--config"}


def test_the_options_of_replay_have_a_line_each() -> None:
    rows = pages.table("option of replay", "trying.md").rows
    assert {pages.codes(row[0])[0] for row in rows} == options("replay")


def test_every_column_of_a_label_has_a_line() -> None:
    documented = {
        name for row in pages.table("label", "evaluation.md").rows for name in pages.codes(row[0])
    }
    costs = {f"{tier}_cost" for tier in TIERS}
    assert documented == {*Label.__struct_fields__} - {"scores", "costs"} | {*TIERS} | costs


def test_the_page_lists_every_change_with_its_bound() -> None:
    rows = pages.table("change", "evaluation.md").rows
    bounds = {relation.name: relation.up for relation in RELATIONS} | {
        "in another language": TRANSLATED
    }
    assert [(row[0], row[2]) for row in rows] == [
        (name, f"{up:.0%}") for name, up in bounds.items()
    ]


def test_what_calls_are_grouped_by_is_listed() -> None:
    row, *_ = pages.table("option", "costs.md").rows
    assert pages.codes(row[1])[: len(GROUP_BY_NAMES)] == list(GROUP_BY_NAMES)
    assert sorted(FILTER_NAMES) == sorted([*GROUP_BY_NAMES, "id", "status", "conversation"])


def test_every_sum_has_a_line() -> None:
    """The lines are in the order of JSON and CSV."""
    rows = pages.table("column", "costs.md").rows
    assert [pages.codes(row[0])[0] for row in rows] == list(export.GROUP_FIELDS)


@pytest.mark.parametrize("head", ledger.KINDS)
def test_every_field_of_a_row_says_where_it_is_null(head: str) -> None:
    """The fields are in the journal's order; a field that cannot be null says never."""
    kind, rows = ledger.KINDS[head], pages.table(head, "ledger.md").rows
    assert [pages.codes(cells[0])[0] for cells in rows] == list(kind.__struct_fields__)
    hints = typing.get_type_hints(kind)
    nullable = {name for name, hint in hints.items() if type(None) in typing.get_args(hint)}
    assert {pages.codes(cells[0])[0] for cells in rows if cells[2] != "never"} == nullable


def test_the_ledger_page_lists_every_field_of_a_basis() -> None:
    """The fields are in the journal's order."""
    rows = pages.table("of the basis", "ledger.md").rows
    assert [name for row in rows for name in pages.codes(row[0])] == list(
        DecisionRecord.__struct_fields__
    )


def test_the_ledger_page_lists_every_kind_of_row() -> None:
    kinds = [kind.__struct_config__.tag for kind in typing.get_args(Row.__value__)]
    rows = pages.table("kind", "ledger.md").rows
    assert [pages.codes(cells[0])[0] for cells in rows] == kinds
    assert set(ledger.KINDS.values()) == set(typing.get_args(Row.__value__))


def test_the_schema_of_the_rows_is_that_of_the_code() -> None:
    """Every field has its description from the page."""
    assert ledger.FILE.read_bytes() == ledger.made(), "run: python -m tests.docs.ledger"
    for kind in jsonio.loads(ledger.made())["$defs"].values():
        assert {"kind"} >= {
            n for n, schema in kind["properties"].items() if "description" not in schema
        }


def test_a_row_of_version_1_is_still_one() -> None:
    """Readers of version 1 rely on it: later versions only add fields."""
    old = (
        b'{"kind":"final","v":1,"id":"tg-1","at":1.5,"key":"open","tenant":"default","tags":[],"dialect":'
        b'"openai-chat","asked":"auto","stream":false,"state":"settled","status":200,"problem":null,"aborted_by":null,'
        b'"lab":"l","tier":"fast","source":"rule","rule":"r","confidence":null,"provider":"p","account":"main",'
        b'"model":"m","effort":null,"served":"m","attempts":1,"cache":"miss","dropped":[],"input":1,"cache_read":null,'
        b'"cache_write":null,"output":2,"reasoning":null,"cost":"0.5","price":"config","first_content":0.1,'
        b'"duration":0.2,"upstream_id":"u","config":"c"}'
    )
    row = decode_row(old)
    assert isinstance(row, FinalRow)
    merged = {**jsonio.loads(jsonio.dumps(row)), **jsonio.loads(old)}
    assert jsonio.loads(jsonio.dumps(row)) == merged
    assert set(jsonio.loads(old)) <= {"kind", *FinalRow.__struct_fields__}


@pytest.mark.parametrize(
    ("head", "page", "kind"),
    [("state", "ledger.md", CallState), ("`usage`", "costs.md", UsageSource)],
)
def test_the_docs_list_every_state_and_source(
    head: str, page: str, kind: typing.TypeAliasType
) -> None:
    rows = pages.table(head, page).rows
    assert [pages.codes(cells[0])[0] for cells in rows] == list(typing.get_args(kind.__value__))


def test_the_docs_list_every_error_in_both_dialects() -> None:
    """Each line has the status, the code or type, and the advice on retries."""
    rows = {pages.codes(row[0])[0]: row for row in pages.table("what", "applications.md").rows}
    assert rows.keys() == STATUS_BY_KIND.keys()
    for kind, row in rows.items():
        problem = Problem(kind=msgspec.convert(kind, ProblemKind), message="")
        chat = jsonio.loads(OPENAI_CHAT.write_problem(problem))["error"]["code"]
        messages = jsonio.loads(ANTHROPIC_MESSAGES.write_problem(problem))["error"]["type"]
        assert row[1] == f"{OPENAI_CHAT.find_status(problem)} `{chat}`", kind
        assert row[2] == f"{ANTHROPIC_MESSAGES.find_status(problem)} `{messages}`", kind
        assert row[3] == ("no" if problem.should_retry is False else "yes"), kind


def test_headers_are_those_that_are_read_and_written() -> None:
    documented, listed = (
        {name for row in table.rows for name in pages.codes(row[0])}
        for table in pages.tables()
        if table.head[0] == "header"
    )
    options = {name.replace("_", "-") for name in RequestOptions.__struct_fields__}
    assert documented == {f"x-tiergate-{name}" for name in (*options, "user")}
    source = (ROOT / "gateway/pipeline/response.py").read_text("utf-8")
    assert listed == set(re.findall(r'"((?:x-|request-id|retry-after)[a-z-]*)(?:"|: )', source))


def test_every_style_of_effort_is_listed() -> None:
    rows = pages.table("style", "labs.md").rows
    pairs = {(pages.codes(row[1])[0], pages.codes(row[0])[0]) for row in rows}
    assert pairs == {(name, style) for name, styles in EFFORT_STYLES.items() for style in styles}


def test_every_event_of_the_log_is_listed() -> None:
    sources = "\n".join(file.read_text("utf-8") for file in ROOT.glob("gateway/**/*.py"))
    rows = pages.table("event", "observing.md").rows
    events = set(re.findall(r'\b_?log(?:_seldom)?\(\s*"(\w+)"', sources))
    assert {pages.codes(row[0])[0] for row in rows} == events


def test_the_docs_list_reserved_variables() -> None:
    rows = pages.table("variable", "operating.md").rows
    documented = {name for row in rows for name in pages.codes(row[0])}
    assert {f"TIERGATE_{name.upper()}" for name in RESERVED_WORDS} <= documented


@pytest.mark.parametrize("page", pages.DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A link leads to an existing file, and its anchor to a heading of that file."""
    for link in pages.links(page):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), link
        assert not anchor or anchor in pages.anchors(there), link


def test_every_page_is_in_the_index() -> None:
    """The README links to the index."""
    index = ROOT / "docs/README.md"
    assert "docs/README.md" in pages.links(ROOT / "README.md")
    linked = {(index.parent / link).resolve() for link in pages.links(index)}
    assert set(ROOT.glob("docs/**/*.md")) - {index} <= linked
