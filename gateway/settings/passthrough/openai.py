"""Endpoints of OpenAI's API beside text and embeddings that make or judge content; hosts have some.

Source: the resources of the official SDK, openai-python 3.57. What it stores is in
`openai_storage`.
"""

from gateway.core.passthrough import PassThroughEndpoint as Endpoint
from gateway.core.passthrough import PassThroughTable

_DIALECT, _PREFIX = "openai-chat", "/v1"

COMPLETIONS = PassThroughTable(
    name="openai-completions",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="completions.create", method="POST", path="/completions",
            body="json", model="body", streams=True, billing="usage",
        ),
    ),
)  # fmt: skip

DECISIONS = PassThroughTable(
    name="openai-decisions",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="decisions.create", method="POST", path="/decisions",
            body="json", model="body", billing="usage",
        ),
    ),
)  # fmt: skip

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
            body="multipart", is_upload=True, model="body", streams=True, billing="usage",
            unit="image",
        ),
        Endpoint(
            name="images.variation", method="POST", path="/images/variations",
            body="multipart", is_upload=True, model="body", billing="units", unit="image",
        ),
    ),
)  # fmt: skip

AUDIO = PassThroughTable(
    name="openai-audio",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="audio.speech", method="POST", path="/audio/speech",
            body="json", model="body", streams=True, billing="units", unit="character",
        ),
        Endpoint(
            name="audio.transcriptions", method="POST", path="/audio/transcriptions",
            body="multipart", is_upload=True, model="body", streams=True, billing="usage",
            unit="second",
        ),
        Endpoint(
            name="audio.translations", method="POST", path="/audio/translations",
            body="multipart", is_upload=True, model="body", billing="usage", unit="second",
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

PROVENANCE = PassThroughTable(
    name="openai-provenance",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="provenance.check", method="POST", path="/content_provenance_checks",
            body="multipart", is_upload=True, billing="unknown",
        ),
    ),
)  # fmt: skip
"""Checks whether OpenAI has made an image or a sound."""

VIDEOS = PassThroughTable(
    name="openai-videos",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="videos.create", method="POST", path="/videos",
            body="multipart", is_upload=True, model="body", billing="units", unit="second",
            creates="video",
        ),
        Endpoint(name="videos.list", method="GET", path="/videos", lists="video"),
        Endpoint(name="videos.retrieve", method="GET", path="/videos/{video_id}"),
        Endpoint(name="videos.delete", method="DELETE", path="/videos/{video_id}", deletes=True),
        Endpoint(name="videos.content", method="GET", path="/videos/{video_id}/content"),
        Endpoint(
            name="videos.remix", method="POST", path="/videos/{video_id}/remix",
            body="json", billing="unknown", creates="video",
        ),
        Endpoint(
            name="videos.edit", method="POST", path="/videos/edits",
            body="multipart", is_upload=True, billing="unknown", creates="video",
        ),
        Endpoint(
            name="videos.extend", method="POST", path="/videos/extensions",
            body="multipart", is_upload=True, billing="unknown", creates="video",
        ),
        Endpoint(
            name="videos.characters.create", method="POST", path="/videos/characters",
            body="multipart", is_upload=True, billing="unknown", creates="character",
        ),
        Endpoint(
            name="videos.characters.retrieve", method="GET",
            path="/videos/characters/{character_id}",
        ),
    ),
)  # fmt: skip

RESPONSES = PassThroughTable(
    name="openai-responses",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="responses.compact", method="POST", path="/responses/compact",
            body="json", model="body", billing="usage",
        ),
        Endpoint(name="responses.cancel", method="POST", path="/responses/{response_id}/cancel"),
        Endpoint(
            name="responses.input_items", method="GET", path="/responses/{response_id}/input_items",
        ),
    ),
)  # fmt: skip
"""Endpoints of the dialect beside calls; the gateway itself serves stored responses."""

CONVERSATIONS = PassThroughTable(
    name="openai-conversations",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="conversations.create", method="POST", path="/conversations",
            body="json", creates="conversation",
        ),
        Endpoint(
            name="conversations.retrieve", method="GET", path="/conversations/{conversation_id}",
        ),
        Endpoint(
            name="conversations.update", method="POST", path="/conversations/{conversation_id}",
            body="json",
        ),
        Endpoint(
            name="conversations.delete", method="DELETE", path="/conversations/{conversation_id}",
            deletes=True,
        ),
        Endpoint(
            name="conversations.items.create", method="POST",
            path="/conversations/{conversation_id}/items", body="json",
        ),
        Endpoint(
            name="conversations.items.list", method="GET",
            path="/conversations/{conversation_id}/items",
        ),
        Endpoint(
            name="conversations.items.retrieve", method="GET",
            path="/conversations/{conversation_id}/items/{item_id}",
        ),
        Endpoint(
            name="conversations.items.delete", method="DELETE",
            path="/conversations/{conversation_id}/items/{item_id}",
        ),
    ),
)  # fmt: skip

TABLES = (
    COMPLETIONS,
    DECISIONS,
    IMAGES,
    AUDIO,
    MODERATIONS,
    PROVENANCE,
    VIDEOS,
    RESPONSES,
    CONVERSATIONS,
)
