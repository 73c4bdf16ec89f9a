"""`tiergate serve`: starts the gateway and says what it serves."""

import click

from gateway.cli.session import CommandSession, pass_session


@click.command("serve")
@click.option("--host", help="Address to listen on. [server.host]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. [server.port]")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that share the port. [server.workers]"
)
@click.option(
    "--first-key",
    is_flag=True,
    help="Make a first client key if there is none, and print it once.",
)
@pass_session
def command(
    session: CommandSession,
    host: str | None,
    port: int | None,
    workers: int | None,
    *,
    first_key: bool,
) -> None:
    """Start the gateway; stop it with Ctrl-C.

    \b
    Examples:
      tiergate serve
      tiergate serve --port 9000
      tiergate --config mine.yaml serve --host 0.0.0.0 --workers 4
      TIERGATE_KEY_FILE=/data/keys.yaml tiergate serve --host 0.0.0.0 --first-key

    \b
    Exit status:
      0  it was told to stop, and stopped in good order
      1  it cannot start, and says why
      2  the command itself was not understood
    """  # noqa: D301 - \b is click's sign that lines stay apart
    from gateway.cli.serve import start  # noqa: PLC0415 - slow to import, and help needs nothing of it

    start.serve(session, host, port, workers, first_key=first_key)
