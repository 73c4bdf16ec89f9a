"""`tiergate costs user`: prints the hash under which the ledger has an end user."""

import click

from gateway.cli.session import CommandSession, pass_session
from gateway.core.call import OPEN_KEY
from gateway.settings.data_folder import find_data_folder
from gateway.settings.errors import suggest_name
from gateway.state import secret


@click.command
@click.argument("key")
@click.argument("user_id", metavar="ID")
@pass_session
def user(session: CommandSession, key: str, user_id: str) -> None:
    """Print the hash of an end user: the value of `user` in costs, and of `end_user` in rows.

    KEY is the name of the client's key, or `open` if the gateway needs none. ID is the id that the
    client sends.

    \b
    Examples:
      tiergate costs user website u-4711
      tiergate costs --only user=$(tiergate costs user website u-4711)
    """  # noqa: D301 - \b is click's sign that lines stay apart
    from gateway.pipeline.end_users import (  # noqa: PLC0415 - slow to import
        HASH_KEY_LABEL,
        EndUserHasher,
    )

    keys = {OPEN_KEY.name: OPEN_KEY, **session.load_keys_by_name()}
    if key not in keys:
        raise click.ClickException(f"there is no key {key!r}. {suggest_name(key, keys)}".rstrip())
    data_folder = find_data_folder(session.environ)
    root_secret = secret.find_root(data_folder, session.environ)
    if not root_secret:
        raise click.ClickException(
            f"there is no secret in {data_folder}: set TIERGATE_SECRET or TIERGATE_DATA as the"
            " gateway has it."
        )
    hasher = EndUserHasher(secret.derive_key(root_secret, HASH_KEY_LABEL))
    name = hasher.hash_id(keys[key].tenant, key, user_id)
    if name is None:
        raise click.ClickException("this id names nobody: it has only a session, or nothing.")
    click.echo(name)
