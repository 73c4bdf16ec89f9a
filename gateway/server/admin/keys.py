"""The keys of clients, for admins: list, create, change, rotate and revoke them.

All work is that of `limits.key_admin`, in a thread, since a store may be slow. An answer never has
a hash, and only the answers that make a secret have it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from pydantic import TypeAdapter, ValidationError

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, conflict, invalid_request
from gateway.limits.errors import KeyChangeError, KeyStoreError
from gateway.limits.key_admin import KeyAdmin, KnownNames, NewSecret, describe_key
from gateway.limits.key_file import KeyFile
from gateway.limits.key_store.store import KeyRecord
from gateway.limits.startup_check import explain_unshared_keys
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth, get_admin
from gateway.server.admin.query_params import check_parameters, parse_limit
from gateway.server.admission import Admission
from gateway.server.request_headers import RequestHeaders
from gateway.settings.errors import ConfigError
from gateway.settings.schema.base import Duration
from gateway.state.audit import AuditSource

_JSON = "application/json"
_CREATED = 201
_MAX_BYTES = 65_536
"""The maximum number of bytes of the body of a change."""
_MAX_LISTED = 1_000
_DEFAULT_KEEP = "24h"
_DATABASE_HINT = "set `keys` to a database, as sqlite:///keys.db"


def add_routes(app: FastAPI, gateway: Gateway, admission: Admission) -> None:
    """Add the routes to an app."""
    guard = AdminAuth.from_gateway(gateway)
    guards = [Depends(guard)]  # on the app itself, which then knows all methods of a path
    keys = KeyRequests(gateway, admission)

    @app.get("/admin/keys", summary="List the keys of clients", dependencies=guards)
    async def list_keys(
        request: Request, limit: str = str(_MAX_LISTED), after: str = ""
    ) -> Response:
        check_parameters(request, "limit", "after")
        return _render_json(await keys.list_keys(parse_limit(limit, _MAX_LISTED), after))

    @app.post(
        "/admin/keys",
        summary="Create a key; the answer has its secret, once",
        status_code=_CREATED,
        dependencies=guards,
    )
    async def create(request: Request) -> Response:
        check_parameters(request)
        settings = await keys.read_body(request)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise invalid_request('The body must have a name: {"name": "ann"}.', "name")
        made = await keys.change(request, lambda admin, who: admin.create(name, settings, who))
        return _render_json(keys.describe_new(made), _CREATED)

    @app.get("/admin/keys/{name}", summary="Get one key", dependencies=guards)
    async def get(request: Request, name: str) -> Response:
        check_parameters(request)
        return _render_json(keys.describe(await keys.get(name)))

    @app.patch(
        "/admin/keys/{name}",
        summary="Change settings of a key; null removes one",
        dependencies=guards,
    )
    async def change(request: Request, name: str) -> Response:
        check_parameters(request)
        changes = await keys.read_body(request)
        if not changes:
            raise invalid_request('Name the settings to change: {"expires": "2027-01-31"}.')
        record = await keys.change(request, lambda admin, who: admin.change(name, changes, who))
        return _render_json(keys.describe(record))

    @app.post(
        "/admin/keys/{name}/rotate",
        summary="Give a key another secret, which is shown once",
        dependencies=guards,
    )
    async def rotate(request: Request, name: str) -> Response:
        check_parameters(request)
        keep_seconds = _parse_keep(await keys.read_body(request))
        made = await keys.change(request, lambda admin, who: admin.rotate(name, keep_seconds, who))
        return _render_json(keys.describe_new(made))

    @app.delete(
        "/admin/keys/{name}", summary="Revoke a key; its name stays taken", dependencies=guards
    )
    async def revoke(request: Request, name: str) -> Response:
        check_parameters(request)
        is_changed = await keys.change(request, lambda admin, who: admin.revoke(name, who))
        return _render_json({"name": name, "state": "revoked", "changed": is_changed})


class KeyRequests:
    """The common parts of the requests: the store, the body, and errors as problems."""

    def __init__(self, gateway: Gateway, admission: Admission) -> None:
        self._gateway = gateway
        self._admission = admission
        self._source = "database" if gateway.keys.database is not None else "file"

    async def list_keys(self, limit: int, after: str) -> dict[str, Any]:
        """Return a page of keys, in the order of their names."""
        store = self._gateway.key_store
        records = {} if store is None else await self.work(store.read)
        names = sorted(name for name in records if name > after)
        page = names[:limit]
        return {
            "source": "open" if store is None else self._source,
            "place": None if store is None else store.place,
            "keys": [self.describe(records[name]) for name in page],
            "next": page[-1] if len(names) > limit else None,
        }

    async def get(self, name: str) -> KeyRecord:
        """Return one key. Raises ProblemError: not_found."""
        store = self._gateway.key_store
        if store is None:
            raise ProblemError(Problem(kind="not_found", message="Keys are open: there is none."))
        return await self.work(lambda: KeyAdmin(store, clock=time.time).get(name))

    async def change[T](self, request: Request, act: Callable[[KeyAdmin, str], T]) -> T:
        """Change keys in the name of the admin who sends a request. Raises ProblemError."""
        identity = get_admin(request)
        admin = self._open_admin(identity.via)
        return await self.work(lambda: act(admin, identity.name))

    def _open_admin(self, via: AuditSource) -> KeyAdmin:
        """Return the admin of keys that may be changed here. Raises ProblemError: a conflict."""
        store = self._gateway.key_store
        if store is None:
            raise conflict(f"Keys are open, so there is none to change: {_DATABASE_HINT}.")
        if isinstance(store, KeyFile):
            raise conflict(
                f"Keys come from the file {store.place}: change them there, with `tiergate keys`. "
                f"To change them here, {_DATABASE_HINT}."
            )
        config = self._gateway.built_config.source.config
        regions = {part.region for part in config.providers.values() if part.region}
        names = KnownNames(config.labs, regions)
        return KeyAdmin(
            store,
            clock=time.time,
            names=names,
            no_limits_reason=explain_unshared_keys(self._gateway.workers, self._gateway.environ),
            via=via,
            note=self._gateway.log_act,
        )

    async def read_body(self, request: Request) -> dict[str, Any]:
        """Return the members of a JSON body; none for an empty one."""
        headers = RequestHeaders(request.headers.raw)
        data = await self._admission.read_body(request.receive, headers.length)
        if len(data) > _MAX_BYTES:
            message = f"The body of a key has at most {_MAX_BYTES:,} bytes."
            raise ProblemError(Problem(kind="request_too_large", message=message))
        try:
            value = jsonio.loads(data) if data else {}
        except jsonio.JsonError as error:
            raise invalid_request(f"The body must be a JSON object: {error}.") from None
        if not isinstance(value, dict):
            raise invalid_request("The body must be a JSON object.")
        return value

    async def work[T](self, act: Callable[[], T]) -> T:
        """Run work on the store in a thread. Raises ProblemError for its errors."""
        try:
            result = await asyncio.to_thread(act)
        except KeyChangeError as error:
            raise _translate_refusal(error) from None
        except KeyStoreError as error:
            message = f"The gateway cannot use its database of keys: {error}."
            raise ProblemError(
                Problem(kind="keys_unavailable", message=message, retry_after=5.0)
            ) from None
        except (ConfigError, OSError) as error:
            raise conflict(f"The key file cannot be read: {error}") from None
        if (database := self._gateway.keys.database) is not None:
            database.hurry()
        return result

    def describe(self, record: KeyRecord) -> dict[str, Any]:
        """Return a key as JSON values."""
        return describe_key(record, time.time(), self._source)

    def describe_new(self, made: NewSecret) -> dict[str, Any]:
        """Return a key with the secret that it has just got."""
        return {**self.describe(made.record), "secret": made.secret}


def _parse_keep(body: dict[str, Any]) -> float:
    """Return how long the earlier secret stays valid. Raises ProblemError: invalid_request."""
    for name in body:
        if name != "keep":
            raise invalid_request(f"There is no member {name[:80]!r} here, only keep.", name[:80])
    try:
        return TypeAdapter[float](Duration).validate_python(body.get("keep", _DEFAULT_KEEP))
    except ValidationError:
        raise invalid_request(
            "keep is how long the earlier secret stays valid, as 24h or 0s.", "keep"
        ) from None


def _translate_refusal(error: KeyChangeError) -> ProblemError:
    message = str(error)
    message = message[:1].upper() + message[1:]
    if error.kind == "conflict":
        return conflict(message)
    if error.kind == "unknown":
        return ProblemError(Problem(kind="not_found", message=message))
    return invalid_request(message, error.setting or None)


def _render_json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(jsonio.dumps(value), status, media_type=_JSON)
