"""The Messages API as Google Cloud serves it: the path names the model, the body the version.

Source: `anthropic/lib/vertex/_client.py` of Anthropic's SDK 2.14. Its paths go on from `/models`:
`/NAME:rawPredict`, `/NAME:streamRawPredict` and `/count-tokens:rawPredict`.
"""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from gateway.core import jsonio
from gateway.dialects.anthropic_messages import request
from gateway.dialects.base import WrittenBody

DIALECT = request.NAME
"""The dialect whose variant this is."""
_FIRST_VERSION = "2023-06-01"
_FIRST_VERTEX_VERSION = "vertex-2023-10-16"
"""Google's name of that version; later ones have one name."""
_VERSION_HEADER = "anthropic-version"
_COUNT_SUFFIX = "/count-tokens:rawPredict"


def rewrite(
    written_body: WrittenBody, headers: Mapping[str, str], operation: str, *, stream: bool
) -> WrittenBody:
    """Return a body of the Messages API in Google's form, with the end of its URL.

    A count of tokens keeps its `model`. The version is that of the client's header.
    """
    members = jsonio.read_members(written_body.body)
    version = headers.get(_VERSION_HEADER, _FIRST_VERSION)
    if version == _FIRST_VERSION:
        version = _FIRST_VERTEX_VERSION
    suffix = _COUNT_SUFFIX
    if operation == "generate":
        model = str(jsonio.loads(memoryview(members.pop("model"))))
        suffix = f"/{quote(model, safe='@.-')}:{'streamRawPredict' if stream else 'rawPredict'}"
    members["anthropic_version"] = msgspec.Raw(jsonio.dumps(version))
    body = jsonio.join_members(members)
    return msgspec.structs.replace(written_body, body=body, url_suffix=suffix)
