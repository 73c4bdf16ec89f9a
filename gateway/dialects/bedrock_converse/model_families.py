"""The members that each maker's models take on Converse, beyond or short of the API's own.

The id of a model names its maker, also behind the region of an inference profile:
`us.amazon.nova-micro-v1:0`. So this holds for models that no configuration lists too. A family that
is not here takes nothing that only some take. Sources: AWS's user guides of Bedrock and of Amazon
Nova; live requests of pydantic-ai's engineers (profiles of its version 2.68.0).
"""

from collections.abc import Mapping

import msgspec


class ModelFamily(msgspec.Struct, frozen=True, kw_only=True):
    """One maker's models."""

    caches_prompts: bool = False
    """True if a system prompt and messages may hold cache points; AWS answers others with 403."""
    result_media: frozenset[str] = frozenset({"image"})
    """The kinds of blocks that the result of a tool may hold beside text."""
    has_lone_results: bool = False
    """True if a message with the results of tools may hold nothing else."""
    streams_tools: bool = True
    """False if the models stream no answer to a request with tools."""
    takes_prefill: bool = False
    """True if the models continue an answer that the client began."""
    takes_top_k: bool = False
    """True if the models take `additionalModelRequestFields.inferenceConfig.topK`."""
    high_effort_is_free: bool = False
    """True if the models take no cap on the output, and no sampling, at effort high."""


_UNKNOWN = ModelFamily()
_FAMILIES: Mapping[str, ModelFamily] = {
    "amazon.nova": ModelFamily(
        caches_prompts=True,
        takes_prefill=True,
        takes_top_k=True,
        high_effort_is_free=True,
    ),
    "meta.llama": ModelFamily(
        result_media=frozenset({"image", "document"}), has_lone_results=True, streams_tools=False
    ),
}
"""By the start of an id, behind the region."""


def find_family(model: str) -> ModelFamily:
    """Return the family of a model by its id, or by the ARN that ends in it."""
    name = model.rpartition("/")[2]
    for start, family in _FAMILIES.items():
        if name.startswith(start) or f".{start}" in name:
            return family
    return _UNKNOWN
