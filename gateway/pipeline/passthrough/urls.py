"""URLs of a provider in its answers, written anew so that clients stay at the gateway.

A client sends its next request to such a URL, with its key of the gateway or with data. A URL that
leads anywhere else than to a pass-through endpoint of the same provider never reaches a client.
"""

from urllib.parse import parse_qs, urlencode, urlsplit

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.core.passthrough import PassThroughRoutes, ProviderEndpoint
from gateway.state.upload_tokens import QUERY_NAME, UploadTokens

UPLOAD_ID = "upload_id"
"""The query of an upload URL that names the upload."""
_METHODS = ("GET", "POST", "PUT")


class UrlRewriter:
    """Writes a provider's URLs anew, for the endpoints of one configuration."""

    def __init__(self, routes: PassThroughRoutes, tokens: UploadTokens) -> None:
        self._routes = routes
        self._tokens = tokens

    def rewrite(self, url: str, endpoint: ProviderEndpoint, origin: str) -> str:
        """Return the URL of the gateway for one of a provider. Raises ProblemError.

        `origin` is the scheme and host by which the client reaches the gateway.
        """
        base = urlsplit(endpoint.base_url)
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _make_error(endpoint) from None
        if (parts.scheme, parts.netloc) != (base.scheme, base.netloc) or not parts.path.startswith(
            base.path
        ):
            raise _make_error(endpoint)
        path = endpoint.table.prefix + parts.path[len(base.path) :]
        if not any(self._routes.match(method, path.encode()) for method in _METHODS):
            raise _make_error(endpoint)
        return f"{origin}{path}?{parts.query}" if parts.query else origin + path

    def rewrite_upload(
        self, url: str, endpoint: ProviderEndpoint, origin: str, key: Key
    ) -> tuple[str, str]:
        """Return an upload URL of the gateway, with a token for the key, and the upload's id.

        Raises ProblemError.
        """
        own_url = self.rewrite(url, endpoint, origin)
        ids = parse_qs(urlsplit(url).query).get(UPLOAD_ID, [])
        if len(ids) != 1:
            raise _make_error(endpoint)
        token = urlencode({QUERY_NAME: self._tokens.make(key, ids[0])})
        return f"{own_url}&{token}", ids[0]

    def rewrite_members(
        self, body: bytes, value: Json, endpoint: ProviderEndpoint, origin: str
    ) -> bytes:
        """Return an answer with the URLs in it that clients open. Raises ProblemError."""
        names = endpoint.endpoint.url_members
        items = [value]
        if endpoint.endpoint.lists and isinstance(value, dict):
            listed = value.get(endpoint.endpoint.list_member)
            items = listed if isinstance(listed, list) else []
        for item in items:
            for name in names if isinstance(item, dict) else ():
                url = item.get(name)
                if isinstance(url, str):
                    own_url = jsonio.dumps(self.rewrite(url, endpoint, origin))
                    if (written := jsonio.dumps(url)) not in body:
                        raise _make_error(endpoint)
                    body = body.replace(written, own_url)
        return body


def _make_error(endpoint: ProviderEndpoint) -> ProblemError:
    message = (
        f"{endpoint.provider.name} named a URL for the next request that is none of its endpoints. "
        "The gateway sends no client there."
    )
    return ProblemError(Problem(kind="upstream_error", message=message))
