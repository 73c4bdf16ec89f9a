"""`tiergate doctor`: what in the gateway's surroundings would break a promise, and the remedy."""

import hashlib
import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.cli.doctor import environment
from gateway.ledger.sqlite import SqliteStore
from gateway.state.redis import diagnostics
from tests.cli.run import GOOD, ON, config, run
from tests.conftest import redis_program
from tests.e2e.redis_port import Place
from tests.e2e.upstream import Upstream, answering, failing
from tests.e2e.world import Loop
from tests.ledger.rows import entry, sealed
from tests.ledger.sinks.test_base import Clock, ListSink

BUDGET = "budgets: [{name: all, usd: 5, every: day}]\n"
FAR = "redis://redis.example.invalid:6379"


class DoctorReport(NamedTuple):
    status: int
    levels: dict[str, str]
    """The worst level, by the thing checked."""
    text: str


def doctor(folder: Path, text: str = GOOD, *words: str, **environ: str) -> DoctorReport:
    """Run `doctor --json` and return its findings."""
    place = {"TIERGATE_DATA": str(folder / "data"), **ON, **environ}
    result = run("--config", config(folder, text), "doctor", "--json", *words, environ=place)
    report = json.loads(result.stdout)
    levels: dict[str, str] = {}
    for finding in report["findings"]:
        worst = max(
            levels.get(finding["what"], "ok"),
            finding["level"],
            key=["ok", "warning", "error"].index,
        )
        levels[finding["what"]] = worst
    levels_found = [finding["level"] for finding in report["findings"]]
    assert (report["errors"], report["warnings"]) == (
        levels_found.count("error"),
        levels_found.count("warning"),
    )
    assert report["ok"] is (result.exit_code == 0)
    for finding in report["findings"]:  # what is wrong, where, and what to do
        assert finding["level"] == "ok" or (
            finding["where"] and (finding["hint"] or finding["fix"])
        ), finding
    lines = [
        f"{finding['what']}: {finding['message']} {finding['hint']}{finding['fix']}"
        for finding in report["findings"]
    ]
    return DoctorReport(result.exit_code, levels, "\n".join(lines))


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Place]:
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = Place(program, folder)
    yield server
    server.kill()


def test_doctor_prints_one_line_for_each_thing_it_checks(tmp_path: Path) -> None:
    """The command also creates nothing."""
    environ = {**ON, "TIERGATE_DATA": str(tmp_path / "data")}
    result = run("--config", config(tmp_path), "doctor", environ=environ)
    assert (result.exit_code, result.stderr) == (0, "")
    *lines, last = result.stdout.splitlines()
    assert [line.split()[1] for line in lines] == [
        "redis", "workers", "data", "ledger", "secret", "files", "keys", "labs", "providers",
        "tiers",
    ]  # fmt: skip
    assert {line.split()[0] for line in lines} == {"ok"}
    assert last == "ok: 10 looked at"
    assert not (tmp_path / "data").exists()


def test_the_help_says_what_a_status_means() -> None:
    lines = run("doctor", "--help").stdout.splitlines()
    assert "    0  all promises can be kept; there may be warnings" in lines


def test_doctor_reports_a_wrong_configuration_as_check_does(tmp_path: Path) -> None:
    result = run("--config", config(tmp_path, GOOD + "nonsense: 1\n"), "doctor")
    assert result.exit_code == 1
    assert "nonsense" in result.stderr


def test_a_suitable_redis_is_ok_and_doctor_leaves_no_key_in_it(
    tmp_path: Path, redis_server: Place
) -> None:
    redis_server.start("--appendonly", "yes")
    url = f"redis://127.0.0.1:{redis_server.port}"
    report = doctor(tmp_path, GOOD + BUDGET, REDIS_URL=url)
    assert (report.status, report.levels["redis"]) == (0, "ok")
    assert f"(127.0.0.1:{redis_server.port}) answers in " in report.text
    with redis_server.admin() as admin:
        keys: Any = admin.keys("*")
        assert [key for key in keys if admin.ttl(key) == -1] == []


def test_doctor_warns_of_a_redis_without_vector_sets_if_the_semantic_cache_is_on(
    tmp_path: Path, redis_server: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both `doctor` and `check` report it, but only if near answers are configured."""
    monkeypatch.setattr(diagnostics, "_VECTOR_SETS_VERSION", 1_000)
    redis_server.start()
    url = f"redis://127.0.0.1:{redis_server.port}"
    smart = "    smart: [{model: large}]\n"
    near = GOOD.replace(smart, smart + "    embeddings: [{model: small}]\n")
    near += "cache: {near: {embed: small}}\n"
    assert doctor(tmp_path, GOOD, REDIS_URL=url).levels["redis"] == "ok"
    report = doctor(tmp_path, near, REDIS_URL=url)
    assert (report.status, report.levels["redis"]) == (0, "warning")
    assert "has no vector sets" in report.text
    checked = run("--config", config(tmp_path, near), "check", environ={**ON, "REDIS_URL": url})
    assert "has no vector sets" in checked.stdout + checked.stderr


def test_an_unreachable_redis_is_an_error(tmp_path: Path) -> None:
    report = doctor(tmp_path, GOOD + BUDGET, REDIS_URL="redis://127.0.0.1:1")
    assert (report.status, report.levels["redis"]) == (1, "error")
    assert "redis: does not answer: no connection" in report.text


def test_a_redis_that_evicts_counters_is_a_warning(tmp_path: Path, redis_server: Place) -> None:
    """A budget of a single key is enough for the warning, also of `check`; with --strict it is a failure."""
    redis_server.start("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru")
    url = f"redis://127.0.0.1:{redis_server.port}"
    assert doctor(tmp_path, REDIS_URL=url).levels["redis"] == "ok"
    (tmp_path / "keys.yaml").write_text(
        f"ann: {{sha256: {'a' * 64}, budgets: {{usd: 1, every: day}}}}\n", "utf-8"
    )
    (tmp_path / "keys.yaml").chmod(0o600)
    text = GOOD + "keys: keys.yaml\n"
    report = doctor(tmp_path, text, REDIS_URL=url)
    assert (report.status, report.levels["redis"]) == (0, "warning")
    assert "Set maxmemory-policy to volatile-lru" in report.text
    assert doctor(tmp_path, text, "--strict", REDIS_URL=url).status == 1
    checked = run("--config", config(tmp_path, text), "check", environ={**ON, "REDIS_URL": url})
    assert "maxmemory-policy allkeys-lru evicts counters" in checked.stdout


def test_a_redis_user_without_the_needed_rights_is_an_error(
    tmp_path: Path, redis_server: Place
) -> None:
    redis_server.start("--appendonly", "yes")
    with redis_server.admin() as admin:
        admin.execute_command(
            "ACL", "SETUSER", "meek", "on", ">pw", "~*", "+info", "+time", "+config"
        )
    report = doctor(
        tmp_path, GOOD + BUDGET, REDIS_URL=f"redis://meek:pw@127.0.0.1:{redis_server.port}"
    )
    assert report.status == 1
    assert "redis: refuses EVAL, EVALSHA, EXISTS, GETRANGE, HDEL, " in report.text
    assert "rights that docs/operating.md names" in report.text
    assert "pw" not in report.text


def test_several_machines_need_a_shared_store_and_a_shared_secret(tmp_path: Path) -> None:
    report = doctor(tmp_path, GOOD + BUDGET, REDIS_URL=FAR)
    assert "give them one PostgreSQL store too" in report.text
    assert "TIERGATE_SECRET is not set, and Redis is on another machine" in report.text
    secret = doctor(tmp_path, GOOD + BUDGET, REDIS_URL=FAR, TIERGATE_SECRET="x" * 32)
    assert secret.levels["secret"] == "ok"
    assert doctor(tmp_path, REDIS_URL="no url").levels["redis"] == "error"


@pytest.mark.parametrize(
    ("text", "level"),
    [("", "ok"), (BUDGET, "error"), ("limits: [{name: a, requests: 1/s}]\n", "error")],
)
def test_limits_with_several_workers_and_no_redis_are_an_error(
    tmp_path: Path, text: str, level: str
) -> None:
    report = doctor(tmp_path, GOOD + "server: {workers: 4}\n" + text)
    assert report.levels["workers"] == level


def test_a_data_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert doctor(tmp_path).levels["data"] == "error"


@pytest.mark.parametrize(
    ("free", "kind", "level"),
    [
        (5 * 10**9, "ext4", "ok"),
        (5 * 10**9, "tmpfs", "warning"),
        (5 * 10**8, "ext4", "warning"),
        (10**7, "ext4", "error"),
    ],
)
def test_doctor_reports_the_free_space_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, kind: str, level: str
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(free))
    monkeypatch.setattr(environment, "_find_mount", lambda _: ("/mnt", kind))
    report = doctor(tmp_path)
    assert report.levels["data"] == level
    assert f"{free / 1e9:.1f} GB free on /mnt ({kind})" in report.text


def test_find_mount_returns_the_mount_point_and_the_file_system() -> None:
    mount, kind = environment._find_mount(Path("/proc/self"))
    assert (mount, kind) == ("/proc", "proc")


def test_a_store_that_is_no_database_is_an_error_and_an_empty_one_a_warning(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_bytes(b"this is no database, whatever its name says" * 100)
    report = doctor(tmp_path)
    assert (report.status, report.levels["ledger"]) == (1, "error")
    assert "file is not a database" in report.text
    assert "move it away, and a gateway rebuilds it" in report.text
    (data / "ledger.db").unlink()
    sqlite3.connect(data / "ledger.db").close()
    report = doctor(tmp_path)  # an empty store must first be fed
    assert (report.status, report.levels["ledger"]) == (0, "warning")


def test_doctor_says_whether_each_sink_takes_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks = {"lake": ListSink(Clock()), "warehouse": ListSink(Clock())}
    sinks["warehouse"].is_away = True
    monkeypatch.setattr(environment, "open_sink", lambda name, _: sinks[name])
    sinks_text = "{lake: 'file:///lake', warehouse: 'clickhouse://pa55word@host'}"
    text = f"{GOOD}\nledger: {{sinks: {sinks_text}}}\n"
    report = doctor(tmp_path, text)
    assert (report.status, report.levels["ledger"]) == (1, "error")
    assert "the sink lake takes rows" in report.text
    assert "The sink warehouse takes no rows: away." in report.text
    assert "pa55word" not in report.text


def test_doctor_says_whether_a_receiver_takes_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ListSink(Clock())
    monkeypatch.setattr(environment, "make_log_sink", lambda *_, **__: sink)
    text = f"{GOOD}\notlp: {{endpoint: 'http://collector:4318'}}\n"
    assert "the receiver of logs takes rows" in doctor(tmp_path, text).text
    sink.is_away = True
    report = doctor(tmp_path, text)
    assert report.status == 1
    assert "The receiver of logs takes no rows: away." in report.text


def test_doctor_finds_damage_in_a_part_of_the_store_that_feeding_does_not_read(
    tmp_path: Path,
) -> None:
    """`doctor` reads the whole file to find such damage."""
    file = tmp_path / "data" / "ledger.db"
    _, root = rebuilt_store(file, missing_until=None)
    with file.open("r+b") as data:
        data.seek((root - 1) * 4096)
        data.write(b"\xff")
    report = doctor(tmp_path)
    assert (report.status, report.levels["ledger"]) == (1, "error")
    assert "ledger.db.damaged-20261017T080000Z is a damaged store" in report.text


def test_a_rebuilt_store_is_a_warning_that_names_the_missing_rows(tmp_path: Path) -> None:
    """The warning says which rows are missing, and how budgets may begin without them."""
    file = tmp_path / "data" / "ledger.db"
    aside, _ = rebuilt_store(file, missing_until=1_793_000_000.0)
    report = doctor(tmp_path)
    assert (report.status, report.levels["ledger"]) == (0, "warning")
    assert (
        f"{aside} is a damaged store that the gateway moved aside; it has rebuilt ledger.db."
        in report.text
    )
    assert "The rebuilt store lacks rows of calls before 2026-10-26T07:33:20+00:00" in report.text
    ((fix,),) = [re.findall(r"sqlite3 \S+ \'(.*)\'", report.text)]
    with closing(sqlite3.connect(file)) as base, base:
        base.execute(fix)
    aside.unlink()
    assert doctor(tmp_path).levels["ledger"] == "ok"


@pytest.mark.parametrize(("kept", "subject"), [(5, "1 row of"), (4, "2 rows of")])
def test_damaged_rows_of_the_journal_are_a_warning(tmp_path: Path, kept: int, subject: str) -> None:
    data = tmp_path / "data"
    (data / "ledger").mkdir(parents=True)
    lines = sealed(*map(entry, "abcdefg")).splitlines(keepends=True)
    (data / "ledger" / "a.sealed.jsonl").write_bytes(b"".join([*lines[:kept], lines[6]]))
    with closing(SqliteStore(f"sqlite:///{data / 'ledger.db'}")) as store:
        store.feed(data / "ledger")
    report = doctor(tmp_path)
    assert (report.status, report.levels["ledger"]) == (0, "warning")
    assert f"{subject} the journal" in report.text
    assert "tiergate ledger verify" in report.text


def test_a_store_whose_rebuild_goes_on_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "data" / "ledger.db"
    aside, _ = rebuilt_store(file, missing_until=None)
    with closing(sqlite3.connect(file)) as base, base:
        base.execute("UPDATE rebuilds SET done = NULL")
    aside.unlink()
    report = doctor(tmp_path)
    assert (report.status, report.levels["ledger"]) == (0, "warning")
    assert "rebuilding its store from the journals (0 rows so far)" in report.text


def rebuilt_store(file: Path, missing_until: float | None) -> tuple[Path, int]:
    """Replace a damaged store by a new one; return the old file and a root page of the new."""
    file.parent.mkdir()
    aside = file.with_name(f"{file.name}.damaged-20261017T080000Z")
    aside.touch()
    SqliteStore(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as base, base:
        sql = "UPDATE rebuilds SET reason = 'x', aside = ?, done = 1, missing_until = ?"
        base.execute(sql, (aside.name, missing_until))
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'reprices'"
        (root,) = base.execute(sql).fetchone()
    return aside, root


def test_a_secret_file_that_others_can_read_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "secret").write_text("s" * 64)
    (data / "secret").chmod(0o644)
    report = doctor(tmp_path)
    assert (report.status, report.levels["secret"]) == (1, "error")
    assert f"chmod 600 {data / 'secret'}" in report.text
    (data / "secret").chmod(0o600)
    assert doctor(tmp_path).levels["secret"] == "ok"
    assert doctor(tmp_path, TIERGATE_SECRET="short").levels["secret"] == "warning"


def test_the_printed_fix_runs_in_a_shell_and_mends_the_problem(tmp_path: Path) -> None:
    """The printed command runs in a shell as it is."""
    data = tmp_path / "a b"
    data.mkdir()
    (data / "secret").write_text("s" * 64)
    (data / "secret").chmod(0o644)
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"ann: {{sha256: '{'a' * 64}'}}\n", "utf-8")
    keys.chmod(0o666)
    text = GOOD + "keys: keys.yaml\n"
    report = doctor(tmp_path, text, TIERGATE_DATA=str(data))
    assert (report.status, report.levels["secret"], report.levels["keys"]) == (1, "error", "error")
    fixes = re.findall(r"chmod 600 .+", report.text)
    assert len(fixes) == 2
    subprocess.run(["/bin/sh", "-eu", "-c", "\n".join(fixes)], check=True)
    assert doctor(tmp_path, text, TIERGATE_DATA=str(data)).status == 0


def test_the_text_for_people_says_where_the_problem_is_and_how_to_fix_it(tmp_path: Path) -> None:
    environ = {"TIERGATE_DATA": str(tmp_path / "data"), "TIERGATE_SECRET": "short", **ON}
    result = run("--config", config(tmp_path), "doctor", environ=environ)
    lines = [line.strip() for line in result.stdout.splitlines()]
    index = next(index for index, line in enumerate(lines) if line.startswith("warning"))
    assert lines[index + 1] == "where TIERGATE_SECRET"
    assert lines[index + 2] == 'fix   export TIERGATE_SECRET="$(openssl rand -hex 32)"'


@pytest.mark.parametrize(("file_limit", "level"), [(None, "ok"), (300, "warning"), (20_000, "ok")])
def test_a_file_limit_below_the_calls_in_flight_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_limit: int | None, level: str
) -> None:
    monkeypatch.setattr("gateway.telemetry.process.raise_file_limit", lambda: file_limit)
    assert doctor(tmp_path).levels["files"] == level


@pytest.mark.parametrize(("mode", "level"), [(0o600, "ok"), (0o644, "warning"), (0o620, "error")])
def test_a_key_file_must_be_its_owners_alone(tmp_path: Path, mode: int, level: str) -> None:
    digest = hashlib.sha256(b"k").hexdigest()
    file = tmp_path / "keys.yaml"
    file.write_text(f"ann: {{sha256: '{digest}'}}\n", "utf-8")
    file.chmod(mode)
    assert doctor(tmp_path, GOOD + "keys: keys.yaml\n").levels["keys"] == level
    assert doctor(tmp_path, TIERGATE_KEYS=f"ann={digest}").levels["keys"] == "ok"


SPARE = GOOD.replace("fast: [{model: small}]", "fast: [{model: small}, {provider: b, model: small}]").replace(
    "labs:\n",
    '  b: {base_url: "https://b.example", dialects: {openai-chat: /c}, accounts: {m: "${B_KEY}"}}\nlabs:\n',
)  # fmt: skip


def test_doctor_warns_of_a_provider_that_is_off_while_its_lab_is_on(tmp_path: Path) -> None:
    report = doctor(tmp_path, SPARE)
    assert (report.levels["labs"], report.levels["providers"]) == ("ok", "warning")
    assert "providers: b is off: set B_KEY." in report.text
    assert "providers: acme 1 account" in report.text


def test_a_default_lab_that_is_off_is_an_error(tmp_path: Path) -> None:
    report = doctor(tmp_path, ACME_API_KEY="")
    assert (report.status, report.levels["labs"]) == (1, "error")
    assert "the default lab acme is off" in report.text
    assert "providers" not in report.levels


def test_a_missing_data_folder_is_ok_where_the_gateway_could_create_it(tmp_path: Path) -> None:
    """The gateway would create a missing data folder in the nearest parent that exists."""
    report = doctor(tmp_path, TIERGATE_DATA=str(tmp_path / "a" / "b" / "data"))
    assert report.levels["data"] in ("ok", "warning")
    assert not (tmp_path / "a").exists()
    assert os.access(tmp_path, os.W_OK)


def test_doctor_reports_the_price_ratios_of_tiers(tmp_path: Path) -> None:
    report = doctor(tmp_path)
    assert report.levels["tiers"] == "ok"
    assert "tiers: acme: smart costs 3.0 times fast, reasoning costs 3.2 times smart" in report.text


@pytest.mark.parametrize(
    ("small", "large", "message"),
    [
        ("{input: 3, output: 6}", "{input: 3, output: 4}",
         "acme: smart costs no more than fast: fast saves nothing. Give fast a cheaper model, or leave it out."),
        ("{input: 3, output: 4}", "{input: 3, output: 4}",
         "acme: smart costs 1.2 times fast: routing saves little there."),
        ("{input: 1, output: 2, above: [{tokens: 90000, input: 4, output: 5}]}", "{input: 3, output: 4}",
         ("acme: above 90,000 tokens fast (acme/small) costs as much as smart, or more. Send long prompts there: "
         "a guard with prompt_tokens and min_tier: smart.")),
    ],
)  # fmt: skip
def test_tiers_of_similar_price_get_a_warning_with_a_remedy(
    tmp_path: Path, small: str, large: str, message: str
) -> None:
    text = GOOD.replace("{input: 1, output: 2}", small).replace("{input: 3, output: 4}", large)
    report = doctor(tmp_path, text)
    assert (report.status, report.levels["tiers"]) == (0, "warning")
    assert message in report.text


def test_doctor_reports_unknown_prices_and_prices_of_zero(tmp_path: Path) -> None:
    report = doctor(tmp_path, GOOD.replace("  large: {price: {input: 3, output: 4}}\n", ""))
    assert "acme: the price of acme/large is unknown, so doctor cannot tell whether smart is worth it." in report.text  # fmt: skip
    free = re.sub(r"input: \d, output: \d", "input: 0, output: 0", GOOD)
    assert (
        "tiers: acme: it has no two tiers whose prices can be compared"
        in doctor(tmp_path, free).text
    )


def labels(folder: Path, smart: str) -> str:
    """Write twenty labelled prompts: fast is right for half, smart as the expression says."""
    file = folder / "labels.csv"
    rows = "".join(f"p {at},{at % 2},{eval(smart, {'at': at})}\n" for at in range(20))  # noqa: S307 - ours
    file.write_text(f"prompt,fast,smart\n{rows}", "utf-8")
    return str(file)


def test_a_sample_shows_whether_a_tier_beats_the_one_below(tmp_path: Path) -> None:
    report = doctor(tmp_path, GOOD, "--sample", labels(tmp_path, "1"))
    assert report.levels["sample"] == "ok"
    assert "sample: smart scores 0.500 (" in report.text
    assert "more than fast on 20 prompts, at 3.0 times the price" in report.text
    report = doctor(tmp_path, GOOD, "--sample", labels(tmp_path, "at % 2"))
    assert (report.status, report.levels["sample"]) == (0, "warning")
    assert (
        "smart does not beat fast: it scores 0.000 (0.000 to 0.000) more than fast" in report.text
    )
    assert "Keep calls at fast, or judge more answers." in report.text


def test_doctor_reports_a_sample_too_small_to_compare_tiers(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"prompt": "p", "fast": 1}\n')
    report = doctor(tmp_path, GOOD, "--sample", str(file))
    assert "labels.jsonl has no prompts with scores of two tiers." in report.text
    file.write_text('{"prompt": "p", "fast": 1}\n{"prompt": "p", "smart": 1}\n')
    report = doctor(tmp_path, GOOD, "--sample", str(file))
    assert (
        "0 prompts are too few to compare smart and fast. Judge more answers of both."
        in report.text
    )


@pytest.fixture
def acme() -> Iterator[Upstream]:
    loop, upstream = Loop(), Upstream()
    loop.run(upstream.start())
    yield upstream
    loop.run(upstream.stop())
    loop.close()


def test_doctor_calls_targets_only_with_the_ask_option(tmp_path: Path, acme: Upstream) -> None:
    """With --ask each target gets one request, and the report has its cost; without it, none."""
    text = GOOD.replace("https://acme.example", acme.url)
    acme.on("", answering)
    assert "targets" not in doctor(tmp_path, text).levels
    assert not acme.requests
    report = doctor(tmp_path, text, "--ask")
    assert report.levels["targets"] == "ok"
    assert sorted(request.json["model"] for request in acme.requests) == ["huge", "large", "small"]
    assert re.search(r"targets: acme/small answers in [\d,]+ ms", report.text)
    assert re.search(r"targets: the test calls cost 0\.0000\d\d USD", report.text)


def test_doctor_reports_targets_that_do_not_answer(tmp_path: Path, acme: Upstream) -> None:
    """A refused key is an error, because no call would be served."""
    acme.on("", failing(503))
    report = doctor(tmp_path, GOOD.replace("https://acme.example", acme.url), "--ask")
    assert (report.status, report.levels["targets"]) == (0, "warning")
    assert "acme/small does not answer: " in report.text
    acme.on("", failing(401))
    report = doctor(tmp_path, GOOD.replace("https://acme.example", acme.url), "--ask")
    assert (report.status, report.levels["targets"]) == (1, "error")


def test_calls_to_targets_cost_no_more_than_the_operator_allows(
    tmp_path: Path, acme: Upstream
) -> None:
    """`doctor` skips a target that may cost more than allowed, or that has no price."""
    text = GOOD.replace("https://acme.example", acme.url)
    text = text.replace("  large: {price: {input: 3, output: 4}}\n", "")
    acme.on("", answering)
    report = doctor(tmp_path, text, "--ask", "--most", "0.0002")
    assert [request.json["model"] for request in acme.requests] == ["small"]
    assert "doctor does not call acme/large: its price is unknown. Give it a price" in report.text
    assert (
        "doctor does not call acme/huge: the call may cost 0.00059 USD. Allow more with --most."
        in report.text
    )


def test_with_no_lab_on_there_is_no_target_to_call(tmp_path: Path) -> None:
    assert "targets: no target is on" in doctor(tmp_path, GOOD, "--ask", ACME_API_KEY="").text


@pytest.mark.parametrize("amount", ["x", "-1", "NaN"])
def test_the_allowed_cost_must_be_an_amount_of_dollars(tmp_path: Path, amount: str) -> None:
    result = run("--config", config(tmp_path), "doctor", "--ask", "--most", amount)
    assert result.exit_code == 2
    assert f"{amount!r} is not an amount of USD, as 0.05." in result.stderr
