"""Pages of one file, with a content policy that lets only their own script and style run."""

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import NamedTuple

from fastapi import Response

from gateway.server.dashboard.routes import SAFE_HEADERS

_STYLE_FILE = "inline_page.css"
_STYLE_MARK = f"/* {_STYLE_FILE} */\n".encode()
"""The place in the style of a page where the style of all these pages goes."""
_INLINE_ELEMENT = re.compile(rb"<(style|script)>(.*?)</\1>", re.DOTALL)


class InlinePage(NamedTuple):
    """A page as shipped, and its content policy."""

    text: str
    policy: str


@functools.cache
def load_page(package: str) -> InlinePage:
    """Read the file `page.html` of a package with the style of all pages, once."""
    style = (resources.files(__package__) / _STYLE_FILE).read_bytes()
    data = (resources.files(package) / "page.html").read_bytes().replace(_STYLE_MARK, style)
    policy = SAFE_HEADERS["content-security-policy"]
    for element, content in _INLINE_ELEMENT.findall(data):
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        name = element.decode()
        policy = policy.replace(f"{name}-src 'self'", f"{name}-src 'sha256-{digest}'")
    return InlinePage(data.decode(), policy)


def render_page(page: InlinePage) -> Response:
    """Return the page as an answer that no cache keeps."""
    headers = {
        **SAFE_HEADERS,
        "cache-control": "no-store",
        "vary": "accept",
        "content-security-policy": page.policy,
    }
    return Response(page.text, media_type="text/html", headers=headers)
