"""The command line: `tiergate` and its commands, each imported when it is used."""

import gc
import importlib

import click

from gateway.cli.app import CommandContext, TiergateCommand

_SECTIONS = {
    "Start": {
        "init": "Write a configuration from what this machine has.",
        "serve": "Start the gateway.",
        "import": "Take over the configuration of LiteLLM, Portkey or ccr.",
        "check": "Find every mistake in the configuration.",
        "doctor": "Check what surrounds the gateway: disk, keys, Redis, labs.",
        "models": "Say what is known of a model name, and why.",
        "catalogue": "Show what the price list has changed; update the prices.",
    },
    "Route": {
        "explain": "Explain the decision for a prompt.",
        "test": "Run golden prompts against the configuration.",
        "dial": "Show what each position of the quality dial gives.",
        "replay": "Decide past calls again with this configuration.",
        "shadow": "Compare a candidate configuration with the one in force.",
        "arms": "Compare the calls in and out of a rule's part of the traffic.",
    },
    "Learn": {
        "label": "Make labels of your own traffic, within a budget.",
        "train": "Train the classifier on labels.",
        "evaluate": "Compare decisions with labels: quality and savings.",
        "judge": "Calibrate the judge on labels.",
        "report": "Say what routing saved, and what it cost in quality.",
    },
    "Account": {
        "costs": "Show what calls have cost.",
        "ledger": "Check journals for damage, rebuild the store, erase a person.",
        "keys": "Add, change, list, revoke and rotate the keys of clients.",
        "audit": "Show who changed what through the gateway.",
    },
    "Shell": {
        "completion": "Print the script that completes this command in a shell.",
    },
}
_MODULE_NAMES = {
    "doctor": "doctor.command",
    "import": "import_config",
    "init": "init.command",
    "label": "label.command",
    "serve": "serve.command",
    "train": "train.command",
}
"""Modules of commands, where the module has another name than the command."""
_GC_THRESHOLD = 100_000
"""The number of new objects after which the garbage collector looks for cycles."""
_PATH_TYPE = click.Path(readable=False)
"""A path that shells complete. Click does not check it: the command that reads it does."""


def _make_config_option() -> click.Option:
    """Make a `--config` option for a command, as people also write it behind the command's name."""

    def set_config_path(ctx: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.ensure_object(_import_module("session").CommandSession).config_path = value

    return click.Option(
        ["--config"],
        type=_PATH_TYPE,
        metavar="PATH",
        expose_value=False,
        callback=set_config_path,
        help="The configuration.",
    )


def _import_module(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a module
    """Import a module of the command line when it is used, so that the help starts at once."""
    return importlib.import_module(f"gateway.cli.{name}")


class _LazyCommandGroup(TiergateCommand):
    """The top command, which imports each command when it is used."""

    sections = _SECTIONS

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for rows in _SECTIONS.values() for name in rows]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = _import_module(_MODULE_NAMES.get(cmd_name, cmd_name))
        command: click.Command = getattr(module, "command", None) or getattr(module, cmd_name)
        for click_command in (command, *getattr(command, "commands", {}).values()):
            click_command.context_class = CommandContext
            if not any(option.name == "config" for option in click_command.params):
                click_command.params.append(_make_config_option())
        return command


@click.command(cls=_LazyCommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=_PATH_TYPE,
    metavar="PATH",
    help="The configuration. [TIERGATE_CONFIG, config/gateway.yaml]",
)
@click.version_option(package_name="tiergate", prog_name="tiergate")
@click.pass_context
def cli(ctx: click.Context, config: str | None) -> None:
    """A gateway that routes each prompt to the fast, smart or reasoning tier of an AI lab.

    \b
    Examples:
      tiergate init
      tiergate serve --port 9000
      tiergate explain "Prove that there are infinitely many primes."
      tiergate costs --by model --since 7d
    """  # noqa: D301 - \b is click's sign that lines stay apart
    ctx.obj = _import_module("session").CommandSession(config)


def main() -> None:
    """Run the command line. Exit status: 0 done, 1 wrong or failed, 2 misused."""
    # Imports make a hundred thousand objects that stay: 4% of a start went into searching them.
    gc.set_threshold(_GC_THRESHOLD)
    cli(prog_name="tiergate")
