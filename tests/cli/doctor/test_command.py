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
from click.testing import CliRunner

from gateway.cli import cli
from gateway.cli.doctor import environment
from gateway.ledger.sqlite import SqliteStore
from gateway.state.redis import diagnostics
from tests.cli.run import GOOD, ON, config, run
from tests.conftest import redis_program
from tests.e2e.place import Place
from tests.e2e.upstream import Upstream, answering, failing
from tests.e2e.world import Loop

BUDGET = "budgets: [{name: all, usd: 5, every: day}]\n"
FAR = "redis://redis.example.invalid:6379"


class Told(NamedTuple):
    status: int
    levels: dict[str, str]
    """The worst level, by the thing checked."""
    text: str


def doctor(folder: Path, text: str = GOOD, *words: str, **environ: str) -> Told:
    """Run `doctor --json` and return its findings."""
    place = {"TIERGATE_DATA": str(folder / "data"), **ON, **environ}
    result = run("--config", config(folder, text), "doctor", "--json", *words, environ=place)
    told = json.loads(result.stdout)
    levels: dict[str, str] = {}
    for one in told["findings"]:
        worst = max(
            levels.get(one["what"], "ok"), one["level"], key=["ok", "warning", "error"].index
        )
        levels[one["what"]] = worst
    found = [one["level"] for one in told["findings"]]
    assert (told["errors"], told["warnings"]) == (found.count("error"), found.count("warning"))
    assert told["ok"] is (result.exit_code == 0)
    for one in told["findings"]:  # what is wrong, where, and what to do
        assert one["level"] == "ok" or (one["where"] and (one["hint"] or one["fix"])), one
    lines = [
        f"{one['what']}: {one['message']} {one['hint']}{one['fix']}" for one in told["findings"]
    ]
    return Told(result.exit_code, levels, "\n".join(lines))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    folder = tmp_path / "redis"
    folder.mkdir()
    made = Place(program, folder)
    yield made
    made.kill()


def test_a_sound_place_has_a_line_for_each_thing(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("environ", "colored", "shown"),
    [({}, True, True), ({}, False, False), ({"NO_COLOR": "1"}, True, False)],
)
def test_only_a_terminal_sees_colors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    *,
    colored: bool,
    shown: bool,
) -> None:
    for name, value in {**ON, "TIERGATE_DATA": str(tmp_path / "data"), **environ}.items():
        monkeypatch.setenv(name, value)
    words = ["--config", str(config(tmp_path)), "doctor"]
    assert ("\x1b[32m" in CliRunner().invoke(cli, words, color=colored).stdout) == shown


def test_the_help_says_what_a_status_means() -> None:
    lines = run("doctor", "--help").stdout.splitlines()
    assert "    0  all promises can be kept; there may be warnings" in lines


def test_a_wrong_configuration_is_told_as_by_check(tmp_path: Path) -> None:
    result = run("--config", config(tmp_path, GOOD + "nonsense: 1\n"), "doctor")
    assert result.exit_code == 1
    assert "nonsense" in result.stderr


def test_a_redis_that_does_all_is_well_and_nothing_is_left_in_it(
    tmp_path: Path, place: Place
) -> None:
    place.start("--appendonly", "yes")
    url = f"redis://127.0.0.1:{place.port}"
    told = doctor(tmp_path, GOOD + BUDGET, REDIS_URL=url)
    assert (told.status, told.levels["redis"]) == (0, "ok")
    assert f"(127.0.0.1:{place.port}) answers in " in told.text
    with place.admin() as admin:
        left: Any = admin.keys("*")
        assert [key for key in left if admin.ttl(key) == -1] == []


def test_a_redis_without_vector_sets_is_said_where_near_questions_are_looked_for(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both `doctor` and `check` report it, but only if near answers are configured."""
    monkeypatch.setattr(diagnostics, "_VECTOR_SETS_VERSION", 1_000)
    place.start()
    url = f"redis://127.0.0.1:{place.port}"
    smart = "    smart: [{model: large}]\n"
    near = GOOD.replace(smart, smart + "    embeddings: [{model: small}]\n")
    near += "cache: {near: {embed: small}}\n"
    assert doctor(tmp_path, GOOD, REDIS_URL=url).levels["redis"] == "ok"
    told = doctor(tmp_path, near, REDIS_URL=url)
    assert (told.status, told.levels["redis"]) == (0, "warning")
    assert "has no vector sets" in told.text
    checked = run("--config", config(tmp_path, near), "check", environ={**ON, "REDIS_URL": url})
    assert "has no vector sets" in checked.stdout + checked.stderr


def test_a_redis_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    told = doctor(tmp_path, GOOD + BUDGET, REDIS_URL="redis://127.0.0.1:1")
    assert (told.status, told.levels["redis"]) == (1, "error")
    assert "redis: does not answer: no connection" in told.text


def test_a_redis_that_evicts_counters_is_a_warning(tmp_path: Path, place: Place) -> None:
    """A budget of a single key is enough for the warning; with --strict it is a failure."""
    place.start("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru")
    url = f"redis://127.0.0.1:{place.port}"
    assert doctor(tmp_path, REDIS_URL=url).levels["redis"] == "ok"
    (tmp_path / "keys.yaml").write_text(
        f"ann: {{sha256: {'a' * 64}, budgets: {{usd: 1, every: day}}}}\n", "utf-8"
    )
    (tmp_path / "keys.yaml").chmod(0o600)
    text = GOOD + "keys: keys.yaml\n"
    told = doctor(tmp_path, text, REDIS_URL=url)
    assert (told.status, told.levels["redis"]) == (0, "warning")
    assert "Set maxmemory-policy to volatile-lru" in told.text
    assert doctor(tmp_path, text, "--strict", REDIS_URL=url).status == 1


def test_a_redis_that_lets_it_do_too_little_is_an_error(tmp_path: Path, place: Place) -> None:
    place.start("--appendonly", "yes")
    with place.admin() as admin:
        admin.execute_command(
            "ACL", "SETUSER", "meek", "on", ">pw", "~*", "+info", "+time", "+config"
        )
    told = doctor(tmp_path, GOOD + BUDGET, REDIS_URL=f"redis://meek:pw@127.0.0.1:{place.port}")
    assert told.status == 1
    assert "redis: keeps no value (redis refuses: NOPERM)" in told.text
    assert "redis: counts nothing (redis refuses: NOPERM)" in told.text
    assert "pw" not in told.text


def test_several_machines_need_a_store_and_a_secret_that_they_share(tmp_path: Path) -> None:
    told = doctor(tmp_path, GOOD + BUDGET, REDIS_URL=FAR)
    assert "give them one PostgreSQL store too" in told.text
    assert "TIERGATE_SECRET is not set, and Redis is on another machine" in told.text
    secret = doctor(tmp_path, GOOD + BUDGET, REDIS_URL=FAR, TIERGATE_SECRET="x" * 32)
    assert secret.levels["secret"] == "ok"
    assert doctor(tmp_path, REDIS_URL="no url").levels["redis"] == "error"


@pytest.mark.parametrize(
    ("text", "level"),
    [("", "ok"), (BUDGET, "error"), ("limits: [{name: a, requests: 1/s}]\n", "error")],
)
def test_workers_that_count_apart_are_an_error(tmp_path: Path, text: str, level: str) -> None:
    told = doctor(tmp_path, GOOD + "server: {workers: 4}\n" + text)
    assert told.levels["workers"] == level


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
def test_a_disk_is_told_with_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, kind: str, level: str
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(free))
    monkeypatch.setattr(environment, "_find_mount", lambda _: ("/mnt", kind))
    told = doctor(tmp_path)
    assert told.levels["data"] == level
    assert f"{free / 1e9:.1f} GB free on /mnt ({kind})" in told.text


def test_where_a_path_is_mounted() -> None:
    mount, kind = environment._find_mount(Path("/proc/self"))
    assert (mount, kind) == ("/proc", "proc")


def test_a_store_that_cannot_be_asked_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_bytes(b"this is no database, whatever its name says" * 100)
    told = doctor(tmp_path)
    assert (told.status, told.levels["ledger"]) == (1, "error")
    assert "file is not a database" in told.text
    assert "move it away, and a gateway rebuilds it" in told.text
    (data / "ledger.db").unlink()
    sqlite3.connect(data / "ledger.db").close()
    told = doctor(tmp_path)  # an empty store must first be fed
    assert (told.status, told.levels["ledger"]) == (0, "warning")


def test_damage_that_no_feed_would_find_is_an_error(tmp_path: Path) -> None:
    """`doctor` reads the whole file to find such damage."""
    file = tmp_path / "data" / "ledger.db"
    _, root = made_anew(file, missing_until=None)
    with file.open("r+b") as data:
        data.seek((root - 1) * 4096)
        data.write(b"\xff")
    told = doctor(tmp_path)
    assert (told.status, told.levels["ledger"]) == (1, "error")
    assert "ledger.db.damaged-20261017T080000Z is a damaged store" in told.text


def test_a_store_that_was_made_anew_is_a_warning(tmp_path: Path) -> None:
    """The warning says which rows are missing, and how budgets may begin without them."""
    file = tmp_path / "data" / "ledger.db"
    aside, _ = made_anew(file, missing_until=1_793_000_000.0)
    told = doctor(tmp_path)
    assert (told.status, told.levels["ledger"]) == (0, "warning")
    assert (
        f"{aside} is a damaged store that the gateway moved aside; it has rebuilt ledger.db."
        in told.text
    )
    assert "The rebuilt store lacks rows of calls before 2026-10-26T07:33:20+00:00" in told.text
    ((fix,),) = [re.findall(r"sqlite3 \S+ \'(.*)\'", told.text)]
    with closing(sqlite3.connect(file)) as base, base:
        base.execute(fix)
    aside.unlink()
    assert doctor(tmp_path).levels["ledger"] == "ok"


def test_a_store_that_is_being_made_anew_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "data" / "ledger.db"
    aside, _ = made_anew(file, missing_until=None)
    with closing(sqlite3.connect(file)) as base, base:
        base.execute("UPDATE rebuilds SET done = NULL")
    aside.unlink()
    told = doctor(tmp_path)
    assert (told.status, told.levels["ledger"]) == (0, "warning")
    assert "rebuilding its store from the journals (0 rows so far)" in told.text


def made_anew(file: Path, missing_until: float | None) -> tuple[Path, int]:
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


def test_a_secret_that_others_may_use_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "secret").write_text("s" * 64)
    (data / "secret").chmod(0o644)
    told = doctor(tmp_path)
    assert (told.status, told.levels["secret"]) == (1, "error")
    assert f"chmod 600 {data / 'secret'}" in told.text
    (data / "secret").chmod(0o600)
    assert doctor(tmp_path).levels["secret"] == "ok"
    assert doctor(tmp_path, TIERGATE_SECRET="short").levels["secret"] == "warning"


def test_a_fix_is_a_command_that_mends_it(tmp_path: Path) -> None:
    """The printed command runs in a shell as it is."""
    data = tmp_path / "a b"
    data.mkdir()
    (data / "secret").write_text("s" * 64)
    (data / "secret").chmod(0o644)
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"ann: {{sha256: '{'a' * 64}'}}\n", "utf-8")
    keys.chmod(0o666)
    text = GOOD + "keys: keys.yaml\n"
    told = doctor(tmp_path, text, TIERGATE_DATA=str(data))
    assert (told.status, told.levels["secret"], told.levels["keys"]) == (1, "error", "error")
    fixes = re.findall(r"chmod 600 .+", told.text)
    assert len(fixes) == 2
    subprocess.run(["/bin/sh", "-eu", "-c", "\n".join(fixes)], check=True)
    assert doctor(tmp_path, text, TIERGATE_DATA=str(data)).status == 0


def test_people_read_where_it_is_and_what_mends_it(tmp_path: Path) -> None:
    place = {"TIERGATE_DATA": str(tmp_path / "data"), "TIERGATE_SECRET": "short", **ON}
    result = run("--config", config(tmp_path), "doctor", environ=place)
    lines = [line.strip() for line in result.stdout.splitlines()]
    at = next(at for at, line in enumerate(lines) if line.startswith("warning"))
    assert lines[at + 1] == "where TIERGATE_SECRET"
    assert lines[at + 2] == 'fix   export TIERGATE_SECRET="$(openssl rand -hex 32)"'


@pytest.mark.parametrize(("most", "level"), [(None, "ok"), (300, "warning"), (20_000, "ok")])
def test_open_files_are_held_against_calls_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int | None, level: str
) -> None:
    monkeypatch.setattr("gateway.telemetry.process.raise_file_limit", lambda: most)
    assert doctor(tmp_path).levels["files"] == level


@pytest.mark.parametrize(("mode", "level"), [(0o600, "ok"), (0o644, "warning"), (0o620, "error")])
def test_a_file_of_keys_is_its_owners(tmp_path: Path, mode: int, level: str) -> None:
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


def test_providers_that_are_off_are_told_where_their_lab_is_on(tmp_path: Path) -> None:
    told = doctor(tmp_path, SPARE)
    assert (told.levels["labs"], told.levels["providers"]) == ("ok", "warning")
    assert "providers: b is off: set B_KEY." in told.text
    assert "providers: acme 1 account" in told.text


def test_no_lab_that_is_on_is_an_error(tmp_path: Path) -> None:
    told = doctor(tmp_path, ACME_API_KEY="")
    assert (told.status, told.levels["labs"]) == (1, "error")
    assert "the default lab acme is off" in told.text
    assert "providers" not in told.levels


def test_root_or_not_the_folder_above_is_what_counts(tmp_path: Path) -> None:
    """The gateway would create a missing data folder in the nearest parent that exists."""
    told = doctor(tmp_path, TIERGATE_DATA=str(tmp_path / "a" / "b" / "data"))
    assert told.levels["data"] in ("ok", "warning")
    assert not (tmp_path / "a").exists()
    assert os.access(tmp_path, os.W_OK)


def test_tiers_that_are_worth_telling_apart_are_told_with_their_prices(tmp_path: Path) -> None:
    told = doctor(tmp_path)
    assert told.levels["tiers"] == "ok"
    assert "tiers: acme: smart costs 3.0 times fast, reasoning costs 3.2 times smart" in told.text


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
def test_tiers_that_are_not_say_what_to_do(
    tmp_path: Path, small: str, large: str, message: str
) -> None:
    text = GOOD.replace("{input: 1, output: 2}", small).replace("{input: 3, output: 4}", large)
    told = doctor(tmp_path, text)
    assert (told.status, told.levels["tiers"]) == (0, "warning")
    assert message in told.text


def test_a_price_that_is_unknown_and_prices_of_nothing(tmp_path: Path) -> None:
    told = doctor(tmp_path, GOOD.replace("  large: {price: {input: 3, output: 4}}\n", ""))
    assert "acme: the price of acme/large is unknown, so doctor cannot tell whether smart is worth it." in told.text  # fmt: skip
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


def test_a_sample_says_whether_a_tier_beats_the_one_below(tmp_path: Path) -> None:
    told = doctor(tmp_path, GOOD, "--sample", labels(tmp_path, "1"))
    assert told.levels["sample"] == "ok"
    assert "sample: smart scores 0.500 (" in told.text
    assert "more than fast on 20 prompts, at 3.0 times the price" in told.text
    told = doctor(tmp_path, GOOD, "--sample", labels(tmp_path, "at % 2"))
    assert (told.status, told.levels["sample"]) == (0, "warning")
    assert "smart does not beat fast: it scores 0.000 (0.000 to 0.000) more than fast" in told.text
    assert "Keep calls at fast, or judge more answers." in told.text


def test_a_sample_that_says_nothing_is_told(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"prompt": "p", "fast": 1}\n')
    told = doctor(tmp_path, GOOD, "--sample", str(file))
    assert "labels.jsonl has no prompts with scores of two tiers." in told.text
    file.write_text('{"prompt": "p", "fast": 1}\n{"prompt": "p", "smart": 1}\n')
    told = doctor(tmp_path, GOOD, "--sample", str(file))
    assert (
        "0 prompts are too few to compare smart and fast. Judge more answers of both." in told.text
    )


@pytest.fixture
def acme() -> Iterator[Upstream]:
    loop, upstream = Loop(), Upstream()
    loop.run(upstream.start())
    yield upstream
    loop.run(upstream.stop())
    loop.close()


def test_targets_are_asked_only_where_that_is_said(tmp_path: Path, acme: Upstream) -> None:
    """With --ask each target gets one request, and the report has its cost; without it, none."""
    text = GOOD.replace("https://acme.example", acme.url)
    acme.on("", answering)
    assert "targets" not in doctor(tmp_path, text).levels
    assert not acme.requests
    told = doctor(tmp_path, text, "--ask")
    assert told.levels["targets"] == "ok"
    assert sorted(request.json["model"] for request in acme.requests) == ["huge", "large", "small"]
    assert re.search(r"targets: acme/small answers in [\d,]+ ms", told.text)
    assert re.search(r"targets: the test calls cost 0\.0000\d\d USD", told.text)


def test_targets_that_do_not_answer_are_told(tmp_path: Path, acme: Upstream) -> None:
    """A refused key is an error, because no call would be served."""
    acme.on("", failing(503))
    told = doctor(tmp_path, GOOD.replace("https://acme.example", acme.url), "--ask")
    assert (told.status, told.levels["targets"]) == (0, "warning")
    assert "acme/small does not answer: " in told.text
    acme.on("", failing(401))
    told = doctor(tmp_path, GOOD.replace("https://acme.example", acme.url), "--ask")
    assert (told.status, told.levels["targets"]) == (1, "error")


def test_asking_costs_no_more_than_is_allowed(tmp_path: Path, acme: Upstream) -> None:
    """`doctor` skips a target that may cost more than allowed, or that has no price."""
    text = GOOD.replace("https://acme.example", acme.url)
    text = text.replace("  large: {price: {input: 3, output: 4}}\n", "")
    acme.on("", answering)
    told = doctor(tmp_path, text, "--ask", "--most", "0.0002")
    assert [request.json["model"] for request in acme.requests] == ["small"]
    assert "doctor does not call acme/large: its price is unknown. Give it a price" in told.text
    assert (
        "doctor does not call acme/huge: the call may cost 0.00059 USD. Allow more with --most."
        in told.text
    )


def test_with_no_target_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert "targets: no target is on" in doctor(tmp_path, GOOD, "--ask", ACME_API_KEY="").text


@pytest.mark.parametrize("amount", ["x", "-1", "NaN"])
def test_what_may_be_spent_is_an_amount(tmp_path: Path, amount: str) -> None:
    result = run("--config", config(tmp_path), "doctor", "--ask", "--most", amount)
    assert result.exit_code == 2
    assert f"{amount!r} is not an amount of USD, as 0.05." in result.stderr
