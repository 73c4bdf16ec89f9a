"""The source may never run text, unpack objects, or build SQL from values."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))
CALLS = {
    "eval", "exec", "compile", "__import__", "breakpoint", "os.system", "os.popen", "pickle.loads", "pickle.load",
    "marshal.loads", "shelve.open", "dill.loads", "jsonpickle.decode", "yaml.load", "yaml.unsafe_load", "jinja2.Environment",
    "jinja2.Template", "mako.template.Template", "importlib.import_module", "runpy.run_path", "code.interact",
    "subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output", "asyncio.create_subprocess_shell",
    "tempfile.mktemp", "xml.etree.ElementTree.parse", "ctypes.CDLL",
    "ctypes.PyDLL",
}  # fmt: skip
MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "jinja2",
    "mako",
    "yaml",
    "xml",
    "ctypes",
    "telnetlib",
}
REVIEWED = {
    ("gateway/cli/__init__.py", "importlib.import_module"), ("gateway/local_model/model.py", "importlib.import_module"),
    ("gateway/settings/yaml.py", "yaml.load"), ("gateway/telemetry/process.py", "ctypes.CDLL"),
    ("gateway/telemetry/process.py", "import ctypes"), ("gateway/cli/junit.py", "import xml.sax.saxutils"),
    ("gateway/cli/serve/rolling_restart.py", "subprocess.Popen"),
    ("gateway/runtime/query_process.py", "import pickle"), ("gateway/runtime/query_process.py", "pickle.loads"),
    ("gateway/runtime/query_program.py", "import pickle"), ("gateway/runtime/query_program.py", "pickle.load"),
    ("gateway/upstream/credentials/aws/token_service.py", "import xml.etree"),
}  # fmt: skip
"""Uses that were reviewed: the program replaces itself; a command and a package by a name of our
own; ruamel's reader of plain values; the C library's own `malloc_trim`; escapes in written text,
where no XML is read; queries and replies between the gateway and its own child, by a pipe that nobody
else has; answers of AWS's token service, of 100 kB at most, by expat, which bounds entities."""
EXEMPT = {
    ("S608", "gateway/ledger"), ("S608", "gateway/state/object_store"), ("S104", "gateway/settings/validate.py"), ("S104", "gateway/server/open_access.py"), ("S311", "gateway/runtime/composition.py"), ("S311", "gateway/evaluation/training"), ("S311", "gateway/evaluation/replay/intervals.py"),
    ("S104", "gateway/cli/admin_client.py"), ("S311", "gateway/cli/train/from_scratch.py"), ("S603", "gateway/cli/serve/rolling_restart.py"), ("S606", "gateway/cli/serve/rolling_restart.py"),
    ("S311", "gateway/cli/evaluate.py"), ("S311", "gateway/cli/judge.py"), ("S311", "gateway/cli/label/run.py"), ("S311", "gateway/cli/report.py"), ("S311", "gateway/evaluation/labelling/strata.py"), ("S311", "gateway/cli/doctor/targets.py"),
    ("S324", "gateway/state/redis/scripts.py"), ("S105", "gateway/ledger/clickhouse/connection.py"),
    ("S105", "gateway/dialects/job_results.py"), ("S301", "gateway/runtime/query_process.py"), ("S301", "gateway/runtime/query_program.py"),
    ("S105", "gateway/upstream/credentials"), ("S314", "gateway/upstream/credentials/aws/token_service.py"),
}  # fmt: skip
"""Exceptions from ruff's security rules, and their places."""
SQL_FOLDERS = ("gateway/ledger", "gateway/state/object_store")
SQL = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|WHERE|FROM|JOIN|PRAGMA|COPY)\b"
)
SQL_PIECES = {
    "_COLUMNS", "_PLACE", "_define(column)", "_INSERT_REPRICE", "_build_assignments((*ENTRY_COLUMNS, 'seq'))", "table", "', '.join(columns)", "placeholders",
    "', '.join((f'e.{name}' for name in kept_columns))", "', '.join(repriced_columns)",
    "''.join((f', {_build_later_priced_column(name)}' for name in later_columns))",
    "', '.join([*columns, 'unknown']) if later_columns else '*'", "usd",
    "''.join((f', {name}' for name in later_columns))", "', '.join(plain_columns)", "time", "day",
    "', '.join(token_columns)", "last_columns", "', '.join(ATTEMPT_COLUMNS)",
    "', '.join((f'sum({name}) AS {name}' for name in _TOKEN_COLUMNS))",
    "', '.join((f'sum(CAST({name} AS {usd})) AS {name}' for name in money_columns))", "float_type", "columns",
    "_build_assignments(REPRICE_COLUMNS)", "_build_assignments(FEEDBACK_COLUMNS)", "condition",
    "self.sql_dialect.placeholder", "', '.join(FEEDBACK_COLUMNS)", "self.sql_dialect.membership_test.format('id')",
    "placeholder", "direction", "cells", "ENTRY_CONFLICT_CLAUSE", "_TEXTS_SUBQUERY", "len(SQLITE_MIGRATIONS)",
    "percent", "', '.join([*aliases, 'max(m)'])", "percentile_columns", "', '.join([*aliases, 'v'])", "window",
    "columns + ',' if columns else ''", "measured_column", "list_joins",
    "partition_name", "partition.name", "of_calls", "bound_name", "former_bound", "by_time", "bound_check", "index_name", "index_kind", "index_columns",
    "key_columns", "former", "starts_at", "ends_at", "constraint", "_UNKNOWN_INDEX", "_BY_TIME", "', '.join(ENTRY_COLUMNS)",
    "', '.join((f'f.{name} AS {name}' for name in FEEDBACK_COLUMNS))", "_TIME.format('f.at', 'f.at')", "_TIMES",
    "', '.join(DAMAGE_COLUMNS)", "', '.join((f'sum(c.{name}) AS {name}' for name in _TOKEN_COLUMNS))",
    "', '.join((f'sum(toFloat64(c.{name})) AS {name}' for name in _DAY_SUMS))", "name", "', '.join(definitions)",
    "engine", "', '.join(kept_columns)", "', '.join(priced_columns)",
    "', '.join([*plain_columns, 'repriced', _TIMES, *masked_columns])", "_IS_UNKNOWN", "group_clause",
    "_select_columns(names)", "limit", "_select_columns(ATTEMPT_COLUMNS)", "_select_columns(DAMAGE_COLUMNS)",
    "' AND '.join(conditions)", "', '.join([*aliases, 'length(v)', *ranks])", "', '.join([*names, sorted_values])",
    "column", "f\"GROUP BY {', '.join(aliases)}\" if by else ''", "having", "mark", "self._joins",
    "self._build_grouping()", "', '.join([*self._list_names(), *columns])", "length", "', '.join(inner_columns)",
    "kind.number", "grouping", "', '.join(columns.values())", "self.placeholder", "names",
    "', '.join(self.sum_columns)", "self._sum_up('rollup_scratch', names)", "self.build_key(kind.dimensions)",
    "', '.join(values.values())", "self._sum_up('rollup_part', '1')", "self.text_mark", "self.build_key(marks)",
    "made", "stored", "sums", "group", "types['id']", "self._declare_dimensions()", "self._declare_sums()",
    "types['clustered']", "types['count']", "self._sql.quarter", "self._ids_condition", "int(period.by_day)",
    "int(by_day)", "_MISFIT", "by_day", "numbers", "self._sql.placeholder", "NOT_FROM_CACHE", "UNKNOWN_COST",
    "', '.join((f'{name} = NULL' for name in PERSONAL_COLUMNS))", "order.build_clause()", "order.expression",
    "source", "dimensions", "totals.number", "self._combine_sums()", "sql.placeholder", "sql.quarter", "', '.join(kinds)",
    "_SOURCE", "dialect.placeholder", "expressions", "', '.join(sums)", "', '.join(map(self.add_up, sums))", "', '.join(names)",
}  # fmt: skip
"""Expressions that SQL text may contain: column and table names, and marks for values."""


def read_sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in SOURCES:
        yield path, ast.parse(path.read_text("utf-8"))


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def find_forbidden(tree: ast.Module) -> Iterator[str]:
    """Yield the forbidden constructs of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) in CALLS:
            yield dotted(node.func)
        if isinstance(node, ast.Call):
            for word in node.keywords:
                word_value = word.value.value if isinstance(word.value, ast.Constant) else None
                if (word.arg, word_value) in (
                    ("shell", True),
                    ("verify", False),
                    ("trust_env", True),
                ):
                    yield f"{word.arg}={word_value!r}"
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.partition(".")[0] in MODULES:
                yield f"import {name}"


def test_sec_eval_4_nothing_runs_text_or_unpacks_objects() -> None:
    """SEC-EVAL 4: no eval, exec, pickle, unsafe YAML, template engine or shell."""
    uses = {
        (str(path.relative_to(ROOT)), construct)
        for path, tree in read_sources()
        for construct in find_forbidden(tree)
    }
    assert uses == REVIEWED


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)", "exec(x)", "import pickle", "from pickle import loads", "import yaml.loader", "os.system(x)",
        "f(x, shell=True)", "httpx.get(x, verify=False)", "from jinja2 import Environment", "asyncio.create_subprocess_shell(x)",
    ],
)  # fmt: skip
def test_sec_eval_4_each_forbidden_construct_is_noticed(text: str) -> None:
    """SEC-EVAL 4: the test above can fail."""
    assert list(find_forbidden(ast.parse(text)))


def test_sec_sqli_4_no_value_is_put_into_sql() -> None:
    """SEC-SQLI 4: only the stores make SQL, and each piece of its text is known.

    A piece that is not in the list above counts as a value until somebody has reviewed it.
    """
    for path, tree in read_sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.JoinedStr):
                continue
            text = "".join(
                str(part.value) for part in node.values if isinstance(part, ast.Constant)
            )
            if SQL.search(text):
                assert any(path.is_relative_to(ROOT / folder) for folder in SQL_FOLDERS), path
                pieces = [
                    part.value for part in node.values if isinstance(part, ast.FormattedValue)
                ]
                assert {ast.unparse(part) for part in pieces} <= SQL_PIECES, (path, text)


def test_sec_eval_4_exceptions_from_the_security_rules_have_a_reason() -> None:
    """SEC-EVAL 4: all rules are on; each exception gives a reason and is on the list above."""
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'select = ["ALL"]' in settings
    ignored = settings.partition("ignore = [")[2].partition("]\n")[0]
    assert not re.search(r'^\s*"S\d*"', ignored, re.MULTILINE)
    for path in SOURCES:
        for line in path.read_text("utf-8").splitlines():
            _, noqa, rest = line.partition("# noqa: ")
            for rule in re.findall(r"\bS\d{3}\b", rest):
                place = str(path.relative_to(ROOT))
                assert noqa
                assert any(
                    rule == exempt_rule and place.startswith(exempt_path)
                    for exempt_rule, exempt_path in EXEMPT
                ), (
                    place,
                    rule,
                )
