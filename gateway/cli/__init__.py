"""The command line: serve, and everything one wants to know before and after."""

import click

from gateway.cli.session import Session
from gateway.settings.mistake import ConfigError, nearest

_COMMANDS = {
    "serve": "Start the gateway.",
    "check": "Find every mistake in the configuration.",
    "doctor": "Say what of its surroundings would break a promise.",
    "explain": "Say what would be decided for a prompt, and why.",
    "test": "Run golden prompts against the configuration.",
    "train": "Train the classifier on labels.",
    "evaluate": "Hold decisions against labels: what routing gives, costs and saves.",
    "replay": "Say what this configuration would have done with past calls.",
    "shadow": "Say what a candidate configuration would have decided.",
    "costs": "Show what calls have cost.",
    "keys": "Add, list, revoke and rotate the keys of clients.",
}


def _config() -> click.Option:
    """`--config` behind a command's name too, where people also write it."""

    def use(ctx: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.ensure_object(Session).asked = value

    return click.Option(
        ["--config"], metavar="PATH", expose_value=False, callback=use, help="The configuration."
    )


class _Lazy(click.Group):
    """Imports a command when it is used: the help and the small commands start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = __import__(f"gateway.cli.{cmd_name}", fromlist=["command"])
        command: click.Command = getattr(module, "command", None) or getattr(module, cmd_name)
        for one in (command, *getattr(command, "commands", {}).values()):
            if not any(option.name == "config" for option in one.params):
                one.params.append(_config())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS:
            ctx.fail(f"No such command {args[0]!r}. {nearest(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for mistake in error.mistakes:
                click.secho(str(mistake), fg="red", err=True)
            ctx.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", metavar="PATH", help="The configuration. [TIERGATE_CONFIG, config/gateway.yaml]"
)
@click.version_option(package_name="tiergate", prog_name="tiergate")
@click.pass_context
def cli(ctx: click.Context, config: str | None) -> None:
    """A gateway that routes each prompt to the fast, smart or reasoning tier of an AI lab."""
    ctx.obj = Session(config)


def main() -> None:
    """Run the command line. Exit status: 0 done, 1 wrong or failed, 2 misused."""
    cli(prog_name="tiergate")
