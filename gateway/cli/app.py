"""Parts that all commands share: help with headings, suggestions of names, errors in one line."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

import click

from gateway.cli import terminal
from gateway.settings.errors import ConfigError, Mistake, suggest_name

EXIT_INTERRUPTED = 130
"""The exit status after Ctrl-C, as in shells: 128 plus the number of the signal."""

_HEADING_PATTERN = re.compile(r"^( *)([A-Z][A-Za-z ]*:)$", re.MULTILINE)
_LEVEL_COLORS = {"error": "red", "warning": "yellow"}


class _Formatter(click.HelpFormatter):
    """Writes help with bold headings and coloured names. Click removes both if colours are off."""

    def write(self, string: str) -> None:
        super().write(
            _HEADING_PATTERN.sub(lambda match: f"{match[1]}{_format_bold(match[2])}", string)
        )

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, _format_bold("Usage:") + " " if prefix is None else prefix)

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        styled_rows = [(click.style(name, fg="cyan"), text) for name, text in rows]
        super().write_dl(styled_rows, col_max, col_spacing)


class CommandContext(click.Context):
    """The context of each command."""

    formatter_class = _Formatter


class CommandGroup(click.Group):
    """A group of commands. For an unknown command it suggests the nearest name."""

    context_class = CommandContext

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that a command line names.

        For an unknown command, return None to shell completion, and raise click.NoSuchCommand
        otherwise.
        """
        command_names = self.list_commands(ctx)
        if (
            args[0] not in command_names
            and not args[0].startswith("-")
            and not ctx.resilient_parsing
        ):
            hint = suggest_name(args[0], command_names)
            raise click.NoSuchCommand(
                args[0], f"No such command {args[0]!r}. {hint}".rstrip(), ctx=ctx
            )
        return super().resolve_command(ctx, args)


class TiergateCommand(CommandGroup):
    """The whole command line. Every run ends here, with its exit status.

    `sections` has, for each heading of the help, the commands and what they do.
    """

    sections: Mapping[str, Mapping[str, str]] = {}

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: object,
    ) -> click.Context:
        """Parse a command line. The environment decides on colours."""
        extra.setdefault("color", terminal.read_color_choice())
        return super().make_context(info_name, args, parent, **extra)

    def main(  # type: ignore[override]  # its overloads differ by standalone_mode
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: object
    ) -> object:
        """Run a command line. Exit status: 0 done, 1 wrong or failed, 2 misused, or another."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)  # type: ignore[call-overload]
        try:
            result: object = super().main(args, standalone_mode=False, **extra)  # type: ignore[call-overload]
        except ConfigError as error:
            for mistake in error.mistakes:
                click.echo(format_mistake(mistake), err=True, color=terminal.read_color_choice())
            sys.exit(1)
        except click.ClickException as error:
            _print_error(error)
            sys.exit(error.exit_code)
        except click.Abort:
            click.echo("Interrupted.", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except OSError as error:
            _print_error(click.ClickException(describe_os_error(error)))
            sys.exit(1)
        sys.exit(result if isinstance(result, int) else 0)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands below their headings."""
        width = max(len(name) for rows in self.sections.values() for name in rows)
        for heading, rows in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{width}}", text) for name, text in rows.items()])


def parse_amount(_ctx: click.Context, option: click.Parameter, value: str) -> Decimal:
    """Return an amount of USD of an option. Raises click.BadParameter."""
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise click.BadParameter(f"{value!r} is not an amount of USD, as 0.05.", param=option)
    return amount


def format_mistake(mistake: Mistake) -> str:
    """Format a mistake as one line, with its level in a colour."""
    level = click.style(mistake.level, fg=_LEVEL_COLORS[mistake.level], bold=True)
    return str(mistake).replace(f"{mistake.level}: ", f"{level}: ", 1)


def describe_os_error(error: OSError) -> str:
    """Say in one line why a file, or another resource, could not be used."""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return f"{error.filename}: {reason}." if error.filename else f"{reason}."


def _print_error(error: click.ClickException) -> None:
    """Print an error in one line. For a usage error, name the command that shows the help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    text = error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        full_stop = "" if text.endswith((".", "?", "!", ")")) else "."
        text = f"{text}{full_stop} See `{error.ctx.command_path} --help`."
    click.echo(f"{click.style('Error:', fg='red')} {text}", err=True, color=error.show_color)


def _format_bold(text: str) -> str:
    return click.style(text, bold=True)
