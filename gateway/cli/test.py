"""`tiergate test`: golden prompts against the configuration, for people and for CI."""

import sys
from pathlib import Path

import click

from gateway.cli.session import Session, pass_session
from gateway.core import jsonio
from gateway.settings import yaml
from gateway.settings.mistake import ConfigError, Mistake
from gateway.study import golden


@click.command("test")
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print verdicts as JSON.")
@pass_session
def command(session: Session, file: str | None, *, as_json: bool) -> None:
    """Run golden prompts from FILE [golden.yaml]; exit status 1 when one is decided otherwise."""
    path = Path(file) if file else session.source.file.parent / "golden.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ConfigError([Mistake(file=str(path), message=f"cannot be read: {reason}.")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=str(path), message="is not UTF-8.")]) from None
    prompts = golden.read(yaml.read(text, str(path)))
    verdicts = golden.run(session.site.router, prompts)
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if as_json:
        click.echo(jsonio.shown([_plain(verdict) for verdict in verdicts]))
    else:
        for verdict in failed:
            wanted = verdict.golden
            click.secho(f"- {_short(wanted.prompt)}", bold=True)
            click.secho(f"    expected {_place(wanted.lab, wanted.tier)}", fg="green")
            got = _place(verdict.lab if wanted.lab else None, verdict.tier or "nothing")
            click.secho(f"    got      {got} ({verdict.source}: {verdict.why})", fg="red")
        click.echo(f"{len(verdicts) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


def _plain(verdict: golden.Verdict) -> dict[str, object]:
    return {
        "prompt": verdict.golden.prompt,
        "expected": verdict.golden.tier,
        "tier": verdict.tier,
        "lab": verdict.lab,
        "source": verdict.source,
        "why": verdict.why,
        "passed": verdict.passed,
    }


def _place(lab: str | None, tier: str) -> str:
    return f"{lab}/{tier}" if lab else tier


def _short(text: str) -> str:
    line = " ".join(text.split())
    most = 90
    return line if len(line) <= most else f"{line[:most]}..."
