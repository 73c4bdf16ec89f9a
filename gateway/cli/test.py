"""`tiergate test`: runs golden prompts against the configuration, for people and for CI."""

import sys
from pathlib import Path

import click

from gateway.cli.junit import format_junit
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import progress
from gateway.core import jsonio
from gateway.evaluation import golden
from gateway.evaluation.golden import GoldenResult
from gateway.evaluation.golden_file import read_golden_file


@click.command("test")
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print verdicts as JSON.")
@click.option(
    "--junit",
    "xml",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write verdicts as JUnit XML, for CI.",
)
@pass_session
def command(session: CommandSession, file: str | None, xml: Path | None, *, as_json: bool) -> None:
    """Run golden prompts from FILE, by default golden.yaml beside the configuration.

    \b
    Examples:
      tiergate test
      tiergate test golden.yaml --junit verdicts.xml
      tiergate --config new.yaml test --json

    \b
    Exit status:
      0  all are decided as they say
      1  one is decided otherwise, or the file is wrong
      2  the command itself was not understood
    """  # noqa: D301 - \b is click's sign that lines stay apart
    path = find_golden_file(session, file)
    prompts = read_golden_file(path)
    keys = session.load_keys_by_name() if any(prompt.key is not None for prompt in prompts) else {}
    with progress("deciding", len(prompts)) as step:
        verdicts = golden.decide_prompts(session.built_config.router, prompts, keys, step)
    failures = [verdict for verdict in verdicts if not verdict.passed]
    if xml is not None:
        _write_file(
            xml,
            format_junit(str(path), verdicts, [_describe_verdict(verdict) for verdict in verdicts]),
        )
    if as_json:
        click.echo(jsonio.dumps_printable([_build_verdict_json(verdict) for verdict in verdicts]))
    else:
        for verdict in failures:
            click.secho(f"- {_shorten(verdict.name)}", bold=True)
            for line in _describe_verdict(verdict):
                click.secho(f"    {line}", fg="green" if line.startswith("expected") else "red")
        click.echo(f"{len(verdicts) - len(failures)} passed, {len(failures)} failed")
    sys.exit(1 if failures else 0)


def find_golden_file(session: CommandSession, file: str | None) -> Path:
    """Return the file of golden prompts: `file`, or golden.yaml beside the configuration."""
    return Path(file) if file else session.source.file.parent / "golden.yaml"


def _describe_verdict(verdict: GoldenResult) -> list[str]:
    """Return lines with the expected decision, the actual one, and the trace lines behind it."""
    expectation = verdict.golden
    expected = _format_lab_tier(expectation.lab, expectation.tier or "any tier")
    actual = _format_lab_tier(verdict.lab if expectation.lab else None, verdict.tier or "nothing")
    return [
        f"expected {expected}{f' ({expectation.why})' if expectation.why else ''}",
        f"got      {actual} ({verdict.source}: {verdict.reason})",
        *(f"         {line}" for line in verdict.changes),
    ]


def _write_file(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise click.ClickException(f"{file} cannot be written: {reason}.") from None


def _build_verdict_json(verdict: GoldenResult) -> dict[str, object]:
    expectation = verdict.golden
    return {
        "prompt": expectation.prompt,
        "turn": verdict.turn or None,
        "model": expectation.model,
        "key": expectation.key,
        "tags": expectation.tags,
        "dialect": expectation.dialect,
        "client": expectation.client or None,
        "at": expectation.at or None,
        "expected": expectation.tier,
        "expected_lab": expectation.lab,
        "tier": verdict.tier,
        "lab": verdict.lab,
        "source": verdict.source,
        "why": verdict.reason,
        "moved": verdict.changes,
        "passed": verdict.passed,
    }


def _format_lab_tier(lab: str | None, tier: str) -> str:
    return f"{lab}/{tier}" if lab else tier


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    max_chars = 90
    return line if len(line) <= max_chars else f"{line[:max_chars]}..."
