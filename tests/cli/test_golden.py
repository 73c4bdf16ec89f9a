"""`tiergate test`: golden prompts, the report on failures, and the status for CI."""

import hashlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.cli.run import GOOD, config, program, run
from tests.config import shipped

GOLDEN = """\
prompts:
- {prompt: hi, tier: fast}
- {prompt: "Prove it.", tier: reasoning, lab: acme}
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    (tmp_path / "golden.yaml").write_text(GOLDEN)
    return config(tmp_path, GOOD + "routing: {classifier: prior}\n")


def test_prompts_that_pass_are_counted(config_file: Path) -> None:
    result = run("--config", config_file, "test")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "2 passed, 0 failed\n", "")


def test_a_failure_shows_what_decided_the_prompt(config_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    long = "word " * 30
    other.write_text(
        "prompts:\n- {prompt: hi, tier: smart}\n- {prompt: hi, tier: fast}\n"
        "- {prompt: Prove it., tier: reasoning, lab: other}\n"
        f"- {{prompt: '{long}prove', tier: fast}}\n"
        "- {prompt: hi, model: nothing/fast, tier: fast}\n"
    )
    result = run("--config", config_file, "test", other)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "- hi",
        "    expected smart",
        "    got      fast (classifier: fast .96, smart 1.00: 1 word, greeting, simple task)",
        "- Prove it.",
        "    expected other/reasoning",
        "    got      acme/reasoning (rule: proofs)",
        f"- {long[:90]}...",
        "    expected fast",
        "    got      reasoning (rule: proofs)",
        "- hi",
        "    expected fast",
        (
            "    got      nothing (refused: The gateway does not serve the model 'nothing/fast'. Ask for "
            "auto, fast, smart, reasoning, lab/tier or a model that GET /v1/models lists.)"
        ),
        "1 passed, 4 failed",
    ]


def test_verdicts_as_json(config_file: Path, tmp_path: Path) -> None:
    result = run("--config", config_file, "test", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)[1] == {
        "prompt": "Prove it.",
        "turn": None,
        "model": "auto",
        "key": None,
        "tags": [],
        "dialect": "openai-chat",
        "client": None,
        "at": None,
        "expected": "reasoning",
        "expected_lab": "acme",
        "tier": "reasoning",
        "lab": "acme",
        "source": "rule",
        "why": "proofs",
        "moved": [],
        "passed": True,
    }
    (tmp_path / "golden.yaml").write_text("prompts: [{prompt: hi, tier: smart}]")
    result = run("--config", config_file, "test", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["passed"] is False


def test_a_failure_shows_the_guard_that_changed_the_tier(config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "golden.yaml").write_text(
        "prompts:\n- {prompt: Prove it., tags: [draft], tier: reasoning, why: it is a proof}\n"
    )
    result = run("--config", config_file, "test")
    assert result.stdout.splitlines() == [
        "- Prove it.",
        "    expected reasoning (it is a proof)",
        "    got      fast (rule: proofs)",
        "             guard: drafts are cheap: max_tier fast",
        "             guard: reasoning is out of bounds: fast",
        "0 passed, 1 failed",
    ]


def test_golden_prompts_use_the_keys_of_the_configuration(tmp_path: Path) -> None:
    """A key that the configuration lacks is known by its name alone."""
    file = config(tmp_path, GOOD + "keys: keys.yaml\n")
    digest = hashlib.sha256(b"k").hexdigest()
    (tmp_path / "keys.yaml").write_text(f"ann: {{sha256: '{digest}', tiers: [fast]}}\n")
    (tmp_path / "golden.yaml").write_text(
        "prompts:\n- {prompt: Prove it., key: ann, tier: fast}\n"
        "- {prompt: Prove it., key: bob, tier: reasoning}\n"
    )
    assert run("--config", file, "test").stdout == "2 passed, 0 failed\n"


def test_a_conversation_is_reported_turn_by_turn(config_file: Path, tmp_path: Path) -> None:
    """The report is for people, as JSON and for CI."""
    (tmp_path / "golden.yaml").write_text(
        "prompts:\n- why: a greeting decides nothing\n  turns:\n  - {prompt: hi, tier: smart}\n"
        "  - {prompt: Prove it., tier: reasoning, loop: 1}\n  - {prompt: hi, lab: other}\n"
    )
    report = tmp_path / "report.xml"
    result = run("--config", config_file, "test", "--junit", report)
    assert result.stdout.splitlines() == [
        "- turn 1: hi",
        "    expected smart (a greeting decides nothing)",
        "    got      fast (classifier: fast .96, smart 1.00: 1 word, greeting, simple task)",
        "- turn 3: hi",
        "    expected other/any tier (a greeting decides nothing)",
        "    got      acme/fast (classifier: fast .96, smart 1.00: 1 word, greeting, simple task)",
        "2 passed, 2 failed",
    ]
    assert 'name="turn 2, tool loop 1: Prove it."' in report.read_text("utf-8")
    report_rows = json.loads(run("--config", config_file, "test", "--json").stdout)
    assert [(row["turn"], row["tier"], row["source"]) for row in report_rows] == [
        ("turn 1", "fast", "classifier"),
        ("turn 2", "reasoning", "rule"),
        ("turn 2, tool loop 1", "reasoning", "seat"),
        ("turn 3", "fast", "classifier"),
    ]


def test_verdicts_for_ci_are_valid_junit_xml(config_file: Path, tmp_path: Path) -> None:
    """The verdicts are valid JUnit XML, whatever text a prompt has."""
    (tmp_path / "golden.yaml").write_text(
        'prompts:\n- {prompt: hi, tier: fast}\n- {prompt: "Prove <it>\\x01 & \\"me\\".", tier: fast}\n'
    )
    report = tmp_path / "report.xml"
    result = run("--config", config_file, "test", "--junit", report)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "1 passed, 1 failed")
    (suite,) = ET.fromstring(report.read_text("utf-8"))  # noqa: S314 - we wrote it
    assert suite.attrib == {"name": "golden prompts", "tests": "2", "failures": "1"}
    good, bad = suite
    assert (good.attrib["name"], len(good)) == ("hi", 0)
    assert bad.attrib == {
        "classname": str(tmp_path / "golden.yaml"), "name": 'Prove <it>\ufffd & "me".',
    }  # fmt: skip
    (failure,) = bad
    assert failure.attrib == {"message": "expected fast; got reasoning (rule: proofs)"}
    assert failure.text == "expected fast\ngot      reasoning (rule: proofs)"
    result = run("--config", config_file, "test", "--junit", tmp_path / "none" / "report.xml")
    assert result.exit_code == 1
    assert "cannot be written: no such file or directory" in result.stderr


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "golden.yaml: error: cannot be read: no such file or directory.\n"),
        (b"\xff", "golden.yaml: error: is not UTF-8.\n"),
        (b"prompts: []", "golden.yaml: error: names no prompts.\n"),
        (
            b"prompts: [",
            "golden.yaml:1: error: not valid YAML: a value is missing here\n",
        ),
        (
            b"prompts:\n- {prompt: hi, tier: quick}",
            (
                "golden.yaml:2: error: prompts[0].tier: Invalid enum value 'quick'. "
                "A tier is fast, smart, reasoning.\n"
            ),
        ),
    ],
)
def test_a_golden_file_that_cannot_be_used_is_reported_with_its_line(
    config_file: Path, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    golden = tmp_path / "golden.yaml"
    golden.unlink()
    if content is not None:
        golden.write_bytes(content)
    result = run("--config", config_file, "test")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{tmp_path}/{problem}"


@pytest.mark.parametrize(
    "environ", [{}, {"OPENAI_API_KEY": "k"}, {"ANTHROPIC_API_KEY": "k"}, shipped.ALL_SET]
)
def test_the_shipped_prompts_pass_with_any_set_of_provider_keys(environ: dict[str, str]) -> None:
    result = run("--config", shipped.MAIN, "test", environ=environ)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.endswith(" passed, 0 failed\n")


def test_a_failed_prompt_fails_a_pipeline(config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "golden.yaml").write_text("prompts: [{prompt: hi, tier: smart}]")
    result = program("--config", config_file, "test")
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.endswith("0 passed, 1 failed\n")
