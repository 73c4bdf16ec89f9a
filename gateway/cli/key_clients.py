"""The keys of clients, as commands change them: in their store, or through a running gateway."""

import getpass
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import quote

import click

from gateway.cli.admin_client import send_json
from gateway.cli.session import CommandSession
from gateway.core.jsonio import Json
from gateway.limits.errors import KeyChangeError
from gateway.limits.key_admin import KeyAdmin, KnownNames, describe_key
from gateway.limits.key_loading import open_key_store
from gateway.limits.key_store.store import KeyStore, is_database
from gateway.settings.data_folder import find_data_folder

type Row = dict[str, Any]
"""A key as JSON values, without hashes."""


class MadeSecret(NamedTuple):
    """The name of a key and its new secret; None if the caller has brought a hash."""

    name: str
    secret: str | None


class KeyClient(Protocol):
    """Changes keys, and lists them."""

    @property
    def place(self) -> str:
        """The name of the store in messages."""
        ...

    def list_keys(self) -> list[Row]:
        """Return all keys."""
        ...

    def create(self, name: str, settings: Row) -> MadeSecret:
        """Add a key."""
        ...

    def change(self, name: str, changes: Row) -> None:
        """Change settings of a key; None removes one."""
        ...

    def rotate(self, name: str, keep_seconds: float) -> MadeSecret:
        """Give a key a new secret."""
        ...

    def revoke(self, name: str) -> bool:
        """Revoke a key; return False if it was revoked before."""
        ...


class StoreKeys:
    """The keys of the store that the configuration names. Methods raise what KeyAdmin raises."""

    def __init__(self, session: CommandSession, via: Literal["cli", "serve"] = "cli") -> None:
        source = session.source
        store = open_key_store(source, find_data_folder(session.environ))
        if store is None:
            hint = f"Write `keys: keys.yaml` into {source.file}: the file will lie beside it."
            raise KeyChangeError(f"`keys` is open: there is no file of keys. {hint}")
        self.store: KeyStore = store
        self._kind = "database" if is_database(source.config.keys.store) else "file"
        providers = source.config.providers.values()
        names = KnownNames(
            source.config.labs, {provider.region for provider in providers if provider.region}
        )
        self.admin = KeyAdmin(store, clock=time.time, names=names, via=via)

    @property
    def place(self) -> str:
        """The name of the store in messages."""
        return self.store.place

    def list_keys(self) -> list[Row]:
        """Return all keys."""
        now = time.time()
        return [describe_key(record, now, self._kind) for record in self.admin.list_keys()]

    def create(self, name: str, settings: Row) -> MadeSecret:
        """Add a key."""
        return MadeSecret(name, self.admin.create(name, settings, find_user()).secret)

    def change(self, name: str, changes: Row) -> None:
        """Change settings of a key; None removes one."""
        self.admin.change(name, changes, find_user())

    def rotate(self, name: str, keep_seconds: float) -> MadeSecret:
        """Give a key a new secret."""
        return MadeSecret(name, self.admin.rotate(name, keep_seconds, find_user()).secret)

    def revoke(self, name: str) -> bool:
        """Revoke a key; return False if it was revoked before."""
        return self.admin.revoke(name, find_user())


class GatewayKeys:
    """The keys of a running gateway. Methods raise click.ClickException."""

    def __init__(self, session: CommandSession, url: str) -> None:
        self._session = session
        self.place = url.rstrip("/")

    def list_keys(self) -> list[Row]:
        """Return all keys."""
        rows: list[Row] = []
        after = ""
        while True:
            answer = self._send("GET", f"?limit=1000&after={quote(after, safe='')}", None)
            rows += answer["keys"]
            after = answer["next"] or ""
            if not after:
                return rows

    def create(self, name: str, settings: Row) -> MadeSecret:
        """Add a key."""
        answer = self._send("POST", "", {"name": name, **settings})
        return MadeSecret(name, answer["secret"])

    def change(self, name: str, changes: Row) -> None:
        """Change settings of a key; None removes one."""
        self._send("PATCH", f"/{quote(name, safe='')}", changes)

    def rotate(self, name: str, keep_seconds: float) -> MadeSecret:
        """Give a key a new secret."""
        body = {"keep": f"{keep_seconds}s"}
        answer = self._send("POST", f"/{quote(name, safe='')}/rotate", body)
        return MadeSecret(name, answer["secret"])

    def revoke(self, name: str) -> bool:
        """Revoke a key; return False if it was revoked before."""
        return bool(self._send("DELETE", f"/{quote(name, safe='')}", None)["changed"])

    def _send(self, method: str, path: str, body: Row | None) -> Json:
        answer = send_json(self._session, f"{self.place}/admin/keys{path}", method, body)
        if answer is None:
            raise click.ClickException(f"no gateway answers at {self.place}.")
        return answer


def open_key_client(session: CommandSession, url: str | None) -> KeyClient:
    """Return the keys of the gateway at `url`, or of the store. Raises KeyChangeError."""
    return StoreKeys(session) if url is None else GatewayKeys(session, url)


def find_user(get_user: Callable[[], str] = getpass.getuser) -> str:
    """Return the user who runs the command, as the store and the audit name it."""
    try:
        return f"cli:{get_user()}"
    except (KeyError, OSError):
        return "cli"
