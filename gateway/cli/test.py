"""`tiergate test`: golden prompts against the configuration, for people and for CI."""

import sys
from pathlib import Path

import click

from gateway.cli.junit import junit
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import progress
from gateway.core import jsonio
from gateway.evaluation import golden
from gateway.evaluation.golden import GoldenResult
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake


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
    """Run golden prompts from FILE, golden.yaml beside the configuration where none is named.

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
    path = Path(file) if file else session.source.file.parent / "golden.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ConfigError([Mistake(file=str(path), message=f"cannot be read: {reason}.")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=str(path), message="is not UTF-8.")]) from None
    prompts = golden.read(yaml.read(text, str(path)))
    keys = session.keys() if any(one.key is not None for one in prompts) else {}
    with progress("deciding", len(prompts)) as step:
        verdicts = golden.run(session.site.router, prompts, keys, step)
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if xml is not None:
        _write(xml, junit(str(path), verdicts, [_told(verdict) for verdict in verdicts]))
    if as_json:
        click.echo(jsonio.shown([_plain(verdict) for verdict in verdicts]))
    else:
        for verdict in failed:
            click.secho(f"- {_short(verdict.name)}", bold=True)
            for line in _told(verdict):
                click.secho(f"    {line}", fg="green" if line.startswith("expected") else "red")
        click.echo(f"{len(verdicts) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


def _told(verdict: GoldenResult) -> list[str]:
    """What should have been decided, what was, and the lines of the trace that did it."""
    wanted = verdict.golden
    expected = _place(wanted.lab, wanted.tier or "any tier")
    got = _place(verdict.lab if wanted.lab else None, verdict.tier or "nothing")
    return [
        f"expected {expected}{f' ({wanted.why})' if wanted.why else ''}",
        f"got      {got} ({verdict.source}: {verdict.why})",
        *(f"         {line}" for line in verdict.moved),
    ]


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise click.ClickException(f"{file} cannot be written: {reason}.") from None


def _plain(verdict: GoldenResult) -> dict[str, object]:
    wanted = verdict.golden
    return {
        "prompt": wanted.prompt,
        "turn": verdict.turn or None,
        "model": wanted.model,
        "key": wanted.key,
        "tags": wanted.tags,
        "dialect": wanted.dialect,
        "expected": wanted.tier,
        "expected_lab": wanted.lab,
        "tier": verdict.tier,
        "lab": verdict.lab,
        "source": verdict.source,
        "why": verdict.why,
        "moved": verdict.moved,
        "passed": verdict.passed,
    }


def _place(lab: str | None, tier: str) -> str:
    return f"{lab}/{tier}" if lab else tier


def _short(text: str) -> str:
    line = " ".join(text.split())
    most = 90
    return line if len(line) <= most else f"{line[:most]}..."
