"""State that the gateway labelled, in `reasoning_details`: see dialects.reasoning_state."""

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch

_MEMBER = "reasoning_details"


def edit(body: RequestBody, target: Target) -> BodyPatch:
    """A body on its way to a target, without the reasoning of others."""
    if not reasoning_state.may_hold_label(body):
        return BodyPatch(body)
    seals = reasoning_state.ReasoningLabels(target, "openai-chat")

    def fix(raw: bytes, block: Json) -> bytes | None:
        state = seals.read_slot(block.get("data")) if isinstance(block, dict) else None
        if state is None:
            return raw
        details = _details(state)
        if not details:
            seals.has_losses = True
        return b",".join(map(jsonio.dumps, details)) or None

    message = reasoning_state.fix_member(_MEMBER, reasoning_state.fix_items(fix))
    return reasoning_state.patch_member(body, "messages", seals, reasoning_state.fix_items(message))


def _details(state: str) -> list[Json]:
    """The blocks of a host; a state that is the name of a member is none, and its text stands."""
    try:
        value = jsonio.loads(state.encode())
    except jsonio.JsonError:
        return []
    return value if isinstance(value, list) else []
