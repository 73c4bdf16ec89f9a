"""Endpoints of OpenAI's API beside text and embeddings, which many hosts have too.

Source: the resources of the official SDK, openai-python 3.57.
"""

from gateway.core.passthrough import PassThroughEndpoint as Endpoint
from gateway.core.passthrough import PassThroughTable

_DIALECT, _PREFIX = "openai-chat", "/v1"

IMAGES = PassThroughTable(
    name="openai-images",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="images.generate", method="POST", path="/images/generations",
            body="json", model="body", streams=True, billing="usage", unit="image",
        ),
        Endpoint(
            name="images.edit", method="POST", path="/images/edits",
            body="multipart", model="body", streams=True, billing="usage", unit="image",
        ),
    ),
)  # fmt: skip

MODERATIONS = PassThroughTable(
    name="openai-moderations",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="moderations.create", method="POST", path="/moderations",
            body="json", model="body", billing="units", unit="request",
        ),
    ),
)  # fmt: skip

FILES = PassThroughTable(
    name="openai-files",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="files.create", method="POST", path="/files",
            body="multipart", is_upload=True, creates="file",
        ),
        Endpoint(name="files.list", method="GET", path="/files", lists="file"),
        Endpoint(name="files.retrieve", method="GET", path="/files/{file_id}"),
        Endpoint(name="files.delete", method="DELETE", path="/files/{file_id}", deletes=True),
        Endpoint(name="files.content", method="GET", path="/files/{file_id}/content"),
    ),
)  # fmt: skip

TABLES = (IMAGES, MODERATIONS, FILES)
