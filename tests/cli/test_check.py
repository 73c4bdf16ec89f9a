"""`tiergate check`: every finding, what is on, and a status that a script can use."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from tests.cli.run import GOOD, ON, config, program, run
from tests.config import shipped


def test_check_describes_a_valid_configuration_in_a_few_lines(tmp_path: Path) -> None:
    result = run("--config", config(tmp_path), "check")
    assert (result.exit_code, result.stderr) == (0, "")
    heading, *notes, lab, last = result.stdout.splitlines()
    assert heading.startswith("Defaults that have changed")
    assert all(note.startswith("  ") and " As before: `" in note for note in notes)
    assert lab == "on  acme: fast 1, smart 1, reasoning 1"
    assert last.startswith("ok: 1 of 1 labs on, 1 guards, 1 choices, version ")
    assert len(last.rpartition(" ")[2]) == 12


def test_check_describes_a_valid_configuration_as_json(tmp_path: Path) -> None:
    result = run("--config", config(tmp_path), "check", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    notes = report.pop("changed_defaults")
    assert report == {"ok": True, "errors": 0, "warnings": 0, "findings": [], "raised_budgets": []}
    assert notes[0] == {
        "path": "cache.default",
        "file": str(config(tmp_path)),
        "line": 1,
        "now": "`deterministic`: embeddings, and chat at temperature 0 without tools",
        "before": "cache: {default: on}",
    }


WARNED = GOOD.replace("  huge: {tools: false, ", "  huge: {retires: 2020-01-01, ")


def test_check_prints_warnings_and_exits_with_0(tmp_path: Path) -> None:
    file = config(tmp_path, WARNED)
    result = run("--config", file, "check")
    assert result.exit_code == 0
    first, *_, last = result.stdout.splitlines()
    assert first == (
        f"{file}:12: warning: labs.acme.reasoning[0].model: huge has retired on 2020-01-01, "
        "and no target of this tier stays. Replace it."
    )
    assert last.startswith("ok: 1 warning, 1 of 1 labs on, ")
    report = json.loads(run("--config", file, "check", "--json").stdout)
    assert (report["ok"], report["errors"], report["warnings"]) == (True, 0, 1)
    assert [item["level"] for item in report["findings"]] == ["warning"]


def test_check_lists_raised_budgets_and_warns_of_a_rise_that_has_ended(tmp_path: Path) -> None:
    budgets = "budgets: [{name: a, hard: false, usd: 1, every: day, rise: {usd: 2, until: 2999-01-31}}, {name: b, hard: false, usd: 1, every: day, rise: {usd: 2, until: 2020-01-31}}]\n"  # fmt: skip
    file = config(tmp_path, f"{GOOD}{budgets}")
    result = run("--config", file, "check")
    raised = "'a': 3 USD in place of 1, until 2999-01-31"
    assert f"Budgets that are raised for a time:\n  {raised}\n" in result.stdout
    assert "budgets[1].rise.until: the rise of 'b' has ended: 2020-01-31." in result.stdout
    report = json.loads(run("--config", file, "check", "--json").stdout)
    assert (report["raised_budgets"], report["warnings"]) == ([raised], 1)


def test_a_hard_budget_warns_of_models_without_a_bound(tmp_path: Path) -> None:
    file = config(tmp_path, f"{GOOD}budgets: [{{name: b, usd: 1, every: day}}]\n")
    lines = run("--config", file, "check").stdout.splitlines()
    assert [line.partition("warning: ")[2].partition(":")[0] for line in lines[:3]] == [
        "labs.acme.fast[0].model", "labs.acme.smart[0].model", "labs.acme.reasoning[0].model",
    ]  # fmt: skip
    assert "neither `max_output` nor `context`" in lines[0]
    assert lines[-1].startswith("ok: 3 warnings, 1 of 1 labs on, ")


def test_check_strict_fails_on_warnings(tmp_path: Path) -> None:
    file = config(tmp_path, WARNED)
    result = run("--config", file, "check", "--strict")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith(
        "not ok: --strict refuses warnings: 1 warning, 1 of 1"
    )
    result = run("--config", file, "check", "--strict", "--json")
    assert (result.exit_code, json.loads(result.stdout)["ok"]) == (1, False)
    result = run("--config", config(tmp_path), "check", "--strict")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("ok: 1 of 1 labs on, ")


def test_the_help_says_what_a_status_means() -> None:
    lines = run("check", "--help").stdout.splitlines()
    assert "    0  the gateway would start; there may be warnings" in lines
    assert "    1  there is an error or, with --strict, a warning" in lines


def test_check_warns_of_a_tier_without_a_target(tmp_path: Path) -> None:
    file = config(tmp_path, GOOD.replace("reasoning: [{model: huge}]", ""))
    lines = run("--config", file, "check").stdout.splitlines()
    assert lines[0].startswith(f"{file}:9: warning: labs.acme: has no `reasoning` target. ")
    assert "on  acme: fast 1, smart 1, reasoning 0" in lines


def test_check_counts_only_the_targets_whose_provider_is_on(tmp_path: Path) -> None:
    text = GOOD.replace(
        "fast: [{model: small}]", "fast: [{model: small}, {provider: b, model: small}]"
    )
    text = text.replace(
        "labs:\n",
        (
            '  b: {base_url: "https://b.example", dialects: {openai-chat: /c}, '
            'accounts: {m: "${B_KEY}"}}\nlabs:\n'
        ),
    )
    file = config(tmp_path, text)
    assert "on  acme: fast 1 of 2, smart 1, reasoning 1" in run("--config", file, "check").stdout
    result = run("--config", file, "check", environ={**ON, "B_KEY": "k"})
    assert "on  acme: fast 2, smart 1, reasoning 1" in result.stdout


OPEN = "server: {host: 0.0.0.0}\n"


def test_open_keys_on_a_public_address_are_an_error(tmp_path: Path) -> None:
    file = config(tmp_path, GOOD + OPEN)
    result = run("--config", file, "check")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == (
        f"{file}:21: error: server.host: `keys: open` would let every client that reaches 0.0.0.0 "
        "spend money. Configure keys, or set server.open to true if something else guards the gateway."
    )
    declared_open = config(tmp_path, GOOD + OPEN.replace("}", ", open: true}"))
    assert run("--config", declared_open, "check").exit_code == 0
    digest = hashlib.sha256(b"x").hexdigest()
    result = run(
        "--config", config(tmp_path, GOOD + OPEN), "check",
        environ={**ON, "TIERGATE_KEYS": f"a={digest}"},
    )  # fmt: skip
    assert result.exit_code == 0


ISSUER = "issuer: https://a.example, audience: t"


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        (f"[{{{ISSUER}, keys: {{a: ann}}}}]", ""),
        (f"[{{{ISSUER}, keys: {{a: nobody}}}}]", "tokens[0].keys.a: there is no key 'nobody'."),
        (
            f"[{{{ISSUER}, keys: {{a: ann}}}}, {{{ISSUER}, keys: {{b: ann}}}}]",
            "tokens[1].issuer: another entry has this issuer: list all audiences in one.",
        ),
        (
            "[{issuer: 'http://a.example', audience: t, keys: {a: ann}}]",
            "tokens[0].issuer: must be an https:// URL",
        ),
        (
            f"[{{{ISSUER}, keys: {{a: ann}}, algorithms: [HS256]}}]",
            "tokens[0].algorithms[0]: 'HS256' is not allowed. Did you mean 'RS256'?",
        ),
        (
            f"[{{{ISSUER}, keys: {{a: ann}}, deny: [ann]}}]",
            "tokens[0].deny[0]: must be sub=SUBJECT or jti=TOKEN",
        ),
    ],
)  # fmt: skip
def test_mistakes_of_token_issuers_are_errors(tmp_path: Path, tokens: str, problem: str) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    file = config(tmp_path, f"{GOOD}tokens: {tokens}\n")
    result = run("--config", file, "check", environ={**ON, "TIERGATE_KEYS": f"ann={digest}"})
    assert result.exit_code == (1 if problem else 0), result.output
    assert problem in result.output


def test_tokens_need_keys_and_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config(tmp_path, f"{GOOD}tokens: [{{{ISSUER}, keys: {{a: ann}}}}]\n")
    monkeypatch.setattr("gateway.runtime.build.find_spec", lambda _: None)
    result = run("--config", file, "check")
    assert result.exit_code == 1
    assert "tokens: map tokens to keys, and `keys` is open. Name a file of keys." in result.output
    assert (
        "tokens: need the extra `oidc`. Install it: pip install 'tiergate[oidc]'." in result.output
    )


def test_a_store_whose_driver_is_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.check.find_spec", lambda _: None)
    file = config(tmp_path, GOOD + "ledger: {store: 'postgresql://u:canary@db/x'}\n")
    result = run("--config", file, "check", environ={**ON, "TIERGATE_DATA": str(tmp_path)})
    assert result.exit_code == 1
    assert "ledger.store: PostgreSQL needs the extra `postgres`." in result.output
    assert "canary" not in result.output


def test_a_ledger_that_cannot_be_written_is_an_error_and_check_creates_nothing(
    tmp_path: Path,
) -> None:
    """The check creates nothing to find that out."""
    (tmp_path / "taken").write_text("")
    data = {**ON, "TIERGATE_DATA": str(tmp_path / "data")}
    elsewhere = "Set another path, or move all of them with TIERGATE_DATA."
    for ledger, problem in (
        ("store: 'postgresql://u:canary@db/x'", ""),
        ("store: 'mysql://u:canary@db/x'",
         ("ledger.store: the gateway cannot use 'mysql' as a store. "
         "Write it as sqlite:///ledger.db or postgresql://user:password@host/database.")),
        ("store: 'sqlite:///'",
         ("ledger.store: the gateway cannot use 'sqlite' as a store. "
         "Write it as sqlite:///ledger.db or postgresql://user:password@host/database.")),
        ("store: 'sqlite:///deep/er/l.db', journal: deep/j", ""),
        (f"store: 'sqlite:///{tmp_path}'", f"ledger.store: {tmp_path} is a folder. Name a file."),
        (f"store: 'sqlite:///{tmp_path}/taken/l.db'",
         f"ledger.store: {tmp_path}/taken is a file, but the gateway needs a folder. {elsewhere}"),
        (f"journal: {tmp_path}/taken/deep/er",
         f"ledger.journal: {tmp_path}/taken is a file, but the gateway needs a folder. {elsewhere}"),
    ):  # fmt: skip
        file = config(tmp_path, GOOD + f"ledger: {{{ledger}}}\n")
        result = run("--config", file, "check", environ=data)
        assert result.exit_code == (1 if problem else 0)
        if problem:
            assert result.stdout.splitlines()[0] == f"{file}:21: error: {problem}"
        assert "canary" not in result.output
    assert not (tmp_path / "data").exists()


def test_a_damaged_store_that_was_set_aside_is_a_warning(tmp_path: Path) -> None:
    aside = tmp_path / "data" / "ledger.db.damaged-20261017T080000Z"
    aside.parent.mkdir()
    aside.touch()
    aside.with_name(f"{aside.name}-wal").touch()  # a part of the damaged store
    file = config(tmp_path)
    data = {**ON, "TIERGATE_DATA": str(tmp_path / "data")}
    result = run("--config", file, "check", environ=data)
    (line,) = [line for line in result.stdout.splitlines() if "ledger" in line]
    assert f"warning: ledger.store: {aside} is a damaged store that the gateway moved aside" in line
    assert result.exit_code == 0
    assert run("--config", file, "check", "--strict", environ=data).exit_code == 1


def test_a_folder_without_permission_to_write_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    file = config(tmp_path)
    result = run("--config", file, "check", environ={**ON, "TIERGATE_DATA": str(tmp_path / "data")})
    assert result.stdout.splitlines()[:2] == [
        (
            f"{file}:1: error: ledger.{part}: {tmp_path} cannot be written. "
            "Set another path, or move all of them with TIERGATE_DATA."
        )
        for part in ("journal", "store")
    ]


def test_check_reports_errors_of_several_parts_together(tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("alice: {sha256: abc}")
    text = GOOD.replace("lab: acme}", "lab: amce}") + "keys: k.yaml\nledger: {store: x}\n"
    lines = run("--config", config(tmp_path, text), "check").stdout.splitlines()
    assert len(lines) == 4
    assert lines[-1] == "3 errors: the gateway would not start."


def test_check_prints_every_error_and_exits_with_1(tmp_path: Path) -> None:
    file = config(
        tmp_path, GOOD.replace("lab: acme}", "lab: amce}").replace("tag: draft", "tga: draft")
    )
    result = run("--config", file, "check")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{file}:18: error: guards[0].when.tga (rule 'drafts are cheap'): no such key. Did you mean 'tag'?",
        "1 error: the gateway would not start.",
    ]
    file = config(
        tmp_path, GOOD.replace("lab: acme}", "lab: amce}").replace("{tag: draft}", "{matches: (}")
    )
    result = run("--config", file, "check")
    assert result.stdout.splitlines() == [
        f"{file}:2: error: default.lab: no lab 'amce'. Did you mean 'acme'?",
        f"{file}:18: error: guards[0].when.matches (rule 'drafts are cheap'): '(' is not a regular expression: missing ): (.",
        "2 errors: the gateway would not start.",
    ]
    report = json.loads(run("--config", file, "check", "--json").stdout)
    assert report["ok"] is False
    assert report["findings"][0] == {
        "level": "error",
        "file": str(file),
        "line": 2,
        "path": "default.lab",
        "rule": "",
        "message": "no lab 'amce'.",
        "hint": "Did you mean 'acme'?",
    }


def test_a_configuration_with_no_lab_on_is_an_error(tmp_path: Path) -> None:
    file = config(tmp_path)
    result = run("--config", file, "check", environ={})
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{file}:8: error: labs: no lab is on (acme: set ACME_API_KEY).",
        "1 error: the gateway would not start.",
    ]
    file = config(tmp_path, "version: 1")
    assert "no lab is configured." in run("--config", file, "check").stdout


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (None, "k.yaml: error: cannot be read: no such file or directory"),
        ("alice: {sha256: abc}", "a key is a name and the SHA-256 of its secret, 64 hex digits."),
        (f"alice: {{sha256: {hashlib.sha256(b'x').hexdigest()}}}", ""),
    ],
)
def test_check_reads_the_key_file_too(tmp_path: Path, keys: str | None, problem: str) -> None:
    if keys is not None:
        (tmp_path / "k.yaml").write_text(keys)
    result = run("--config", config(tmp_path, GOOD + "keys: k.yaml\n"), "check")
    assert result.exit_code == (1 if problem else 0)
    assert problem in result.stdout


def test_check_compares_the_keys_in_rules_with_the_keys_that_exist(tmp_path: Path) -> None:
    guard = "guards:\n- {name: k, when: {key: alise}, max_tier: smart}\n"
    text = GOOD.replace("guards:\n", guard)
    digest = hashlib.sha256(b"secret").hexdigest()
    (tmp_path / "k.yaml").write_text(f"alice: {{sha256: {digest}}}\n")
    result = run("--config", config(tmp_path, text + "keys: k.yaml\n"), "check")
    assert (
        "guards[0].when.key (rule 'k'): no key is called 'alise'. Did you mean 'alice'?"
        in result.stdout
    )
    result = run("--config", config(tmp_path, text), "check")
    assert "no key is called 'alise': keys are open, as 'open'." in result.stdout


def test_the_shipped_configuration_without_keys_has_the_local_model_on() -> None:
    result = run("--config", shipped.MAIN, "check", environ={})
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert "on  local: fast 1, smart 1, reasoning 1" in lines
    assert any(line.startswith("off openai: set OPENAI_API_KEY") for line in lines)
    assert re.match(r"ok: (1 warning, )?1 of \d+ labs on, 2 guards, 4 choices, version ", lines[-1])


def test_the_shipped_configuration_turns_a_lab_on_when_its_key_is_set() -> None:
    result = run("--config", shipped.MAIN, "check", environ={"OPENAI_API_KEY": "sk-canary"})
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any(line.startswith("on  openai: fast 2") for line in lines)
    assert "off local: it starts only where no other provider is on" in lines
    assert "sk-canary" not in result.output


@pytest.mark.parametrize("file", [shipped.MAIN, shipped.MATRIX], ids=lambda file: file.name)
def test_the_shipped_configurations_are_valid_with_every_key(file: Path) -> None:
    result = run("--config", file, "check", "--json", environ=shipped.ALL_SET)
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"]) == (0, True)


def test_the_program_exits_with_the_status_of_check(tmp_path: Path) -> None:
    config(tmp_path)
    good = program("check", "--config", "c.yaml", environ=ON, folder=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    bad = program("check", "--config", "c.yaml", environ={}, folder=tmp_path)
    assert (bad.returncode, bad.stderr) == (1, "")
    assert bad.stdout.startswith("c.yaml:8: error: labs: no lab is on")


def test_check_against_another_file_lists_the_differences(tmp_path: Path) -> None:
    """The report reads like that of a reload, and shows no credentials."""
    other = tmp_path / "running.yaml"
    other.write_text(GOOD + "server: {port: 9}\n")
    file = config(tmp_path, GOOD.replace("model: large", "model: small"))
    result = run("--config", file, "check", "--against", other)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "server.port: 9 -> 8484 (needs a restart)" in lines
    assert "labs.acme.smart[0].model: large -> small" in lines
    report = json.loads(run("--config", file, "check", "--json", "--against", other).stdout)
    assert report["changes"][0] == {
        "path": "server.port", "before": "9", "after": "8484", "waits": True,
    }  # fmt: skip
    same = run("--config", file, "check", "--against", file)
    assert f"There is no difference from {file}." in same.stdout
    assert "changes" not in json.loads(run("--config", file, "check", "--json").stdout)
    other.write_text("version: 3\n")
    broken = run("--config", file, "check", "--against", other)
    assert broken.exit_code == 1
    assert "running.yaml:1: error: version" in broken.stderr


def test_a_yaml_list_that_tiers_share_gets_one_warning(tmp_path: Path) -> None:
    shared = GOOD.replace(
        "    fast: [{model: small}]\n    smart: [{model: large}]\n    reasoning: [{model: huge}]\n",
        "    fast: &all [{model: unknown}]\n    smart: *all\n    reasoning: *all\n",
    )
    result = run("--config", config(tmp_path, shared), "check")
    assert result.stdout.count("the price of acme/unknown is unknown") == 1
    apart = shared.replace("*all", "[{model: unknown}]")
    result = run("--config", config(tmp_path, apart), "check")
    assert result.stdout.count("the price of acme/unknown is unknown") == 3


def test_only_a_setting_turns_off_the_certificate_check_of_redis_with_a_warning(
    tmp_path: Path,
) -> None:
    """A URL cannot turn the certificate check off; a setting can, with a warning."""
    environ = {**ON, "REDIS_URL": "rediss://:hunter2@127.0.0.1:1/0?ssl_cert_reqs=none"}
    result = run("--config", config(tmp_path), "check", environ=environ)
    assert result.exit_code == 1
    assert "set redis.verify to false" in result.stdout
    file = config(tmp_path, GOOD + "redis: {verify: false}\n")
    result = run("--config", file, "check", environ=environ)
    assert result.exit_code == 0
    assert "warning: redis.verify: lets an attacker on the network read" in result.stdout
    environ["REDIS_URL"] = "redis://127.0.0.1:1/0"
    assert "redis.verify" not in run("--config", file, "check", environ=environ).stdout
    assert "hunter2" not in result.stdout
