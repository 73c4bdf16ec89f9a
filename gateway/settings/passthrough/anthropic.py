"""Endpoints of Anthropic's API beside messages.

Source: the resources of the official SDK, anthropic-sdk-python 2.14.
"""

from gateway.core.passthrough import PassThroughEndpoint as Endpoint
from gateway.core.passthrough import PassThroughTable

_DIALECT, _PREFIX = "anthropic-messages", "/v1"

BATCHES = PassThroughTable(
    name="anthropic-batches",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="batches.create", method="POST", path="/messages/batches",
            body="json", billing="job", creates="batch", url_members=("results_url",),
        ),
        Endpoint(
            name="batches.list", method="GET", path="/messages/batches",
            lists="batch", url_members=("results_url",),
        ),
        Endpoint(
            name="batches.retrieve", method="GET", path="/messages/batches/{batch_id}",
            url_members=("results_url",),
        ),
        Endpoint(
            name="batches.cancel", method="POST", path="/messages/batches/{batch_id}/cancel",
            url_members=("results_url",),
        ),
        Endpoint(name="batches.results", method="GET", path="/messages/batches/{batch_id}/results"),
        Endpoint(
            name="batches.delete", method="DELETE", path="/messages/batches/{batch_id}",
            deletes=True,
        ),
    ),
)  # fmt: skip

FILES = PassThroughTable(
    name="anthropic-files",
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

SKILLS = PassThroughTable(
    name="anthropic-skills",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="skills.create", method="POST", path="/skills",
            body="multipart", is_upload=True, creates="skill",
        ),
        Endpoint(name="skills.list", method="GET", path="/skills", lists="skill"),
        Endpoint(name="skills.retrieve", method="GET", path="/skills/{skill_id}"),
        Endpoint(name="skills.delete", method="DELETE", path="/skills/{skill_id}", deletes=True),
        Endpoint(
            name="skills.versions.create", method="POST", path="/skills/{skill_id}/versions",
            body="multipart", is_upload=True,
        ),
        Endpoint(name="skills.versions.list", method="GET", path="/skills/{skill_id}/versions"),
        Endpoint(
            name="skills.versions.retrieve", method="GET",
            path="/skills/{skill_id}/versions/{version}",
        ),
        Endpoint(
            name="skills.versions.delete", method="DELETE",
            path="/skills/{skill_id}/versions/{version}",
        ),
        Endpoint(
            name="skills.versions.content", method="GET",
            path="/skills/{skill_id}/versions/{version}/content",
        ),
    ),
)  # fmt: skip

TABLES = (BATCHES, FILES, SKILLS)
