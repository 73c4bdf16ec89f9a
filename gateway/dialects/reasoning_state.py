"""Reasoning state that the gateway has labelled, in requests to targets at home.

A client got it in the slot of its own dialect while a model of another dialect answered, and sends
it back with its history. A provider that speaks the client's dialect would refuse it, or take it
for its own. So it is taken out, or where its maker is the very target written as the maker wrote
it. Only what holds it is put together anew: all other bytes stay as they are.

Whose reasoning state it is: a label on what goes to a client of another dialect.

Signatures, encrypted reasoning and the like mean something to the model that made them alone. A
client keeps them in the slot that its own dialect has for such state and sends them back; the label
says whom they may go to. Nothing in it is secret.
"""

import hashlib
from collections.abc import Callable

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch

LABEL_PREFIX = "tg1."
"""The prefix of every label; no provider's state begins with it."""
_DIGEST_BYTES = 8


def hash_maker(target: Target, dialect: str) -> str:
    """Name the maker of a state, as a short hash: provider, model, and the dialect it was asked in.

    A model that is asked in another dialect writes its state in another form.
    """
    identity = f"{target.provider.name}\n{target.model}\n{dialect}"
    return hashlib.blake2b(
        identity.encode(), digest_size=_DIGEST_BYTES, person=b"tiergate maker"
    ).hexdigest()


def write_label(maker: str, state: str) -> str:
    """A state as it goes to a client of another dialect."""
    return f"{LABEL_PREFIX}{maker}.{state}"


def split_label(state: str) -> tuple[str | None, str]:
    """The maker that a label names and the state itself; None where there is no label."""
    if not state.startswith(LABEL_PREFIX):
        return None, state
    maker_name, separator, unlabelled = state.removeprefix(LABEL_PREFIX).partition(".")
    return (maker_name, unlabelled) if separator else (None, state)


type Object = dict[str, Json]
type ValueFixer = Callable[[bytes, Json], bytes | None]
"""A JSON value, as bytes and as read, as it is to be: the same bytes, others, or None for none."""

_LABEL_PREFIX_BYTES = LABEL_PREFIX.encode()
_FOREIGN_REASON = "only the model that wrote reasoning can read it"
_NULL = msgspec.Raw(b"null")
_read_raw_items = jsonio.make_reader(list[msgspec.Raw])


def may_hold_label(body: RequestBody) -> bool:
    """Return True if a body may hold a label: every label has this mark."""
    return _LABEL_PREFIX_BYTES in body.raw


class ReasoningLabels:
    """The labels in one request, and what they are to one target."""

    __slots__ = ("_own_maker", "has_losses")

    def __init__(self, target: Target, dialect: str) -> None:
        self._own_maker = hash_maker(target, dialect)
        self.has_losses = False
        """Something was taken out."""

    def is_labelled(self, slot: Json) -> bool:
        """Return True if the gateway wrote the value of a slot."""
        return isinstance(slot, str) and split_label(slot)[0] is not None

    def read_slot(self, slot: Json) -> str | None:
        """The state in a slot, for the target; empty where it is another's, None: unlabelled."""
        maker_name, state = split_label(slot) if isinstance(slot, str) else (None, "")
        return None if maker_name is None else self.filter_state(maker_name, state)

    def filter_state(self, maker_name: str, state: str | None) -> str:
        """A state, for the target; empty where another made it."""
        if maker_name == self._own_maker and state:
            return state
        self.has_losses = True
        return ""


def patch_member(
    body: RequestBody, member: str, labels: ReasoningLabels, fix: ValueFixer
) -> BodyPatch:
    """A body on its way, its `member` fixed; what is taken out is named as a loss."""
    raw = bytes(memoryview(body.members.get(member, _NULL)))
    new_raw = fix(raw, body.outline.get(member))
    if new_raw is raw:
        return BodyPatch(body)
    new_raw = new_raw or b"[]"
    members = {**body.members, member: msgspec.Raw(new_raw)}
    value = {**body.value, member: jsonio.loads(new_raw)}
    patch = BodyPatch(RequestBody(jsonio.join_members(members), members, value, body.prompt))
    if labels.has_losses:
        patch.record_loss(f"{member}.reasoning", "dropped", _FOREIGN_REASON)
    return patch


def fix_items(fix: ValueFixer) -> ValueFixer:
    """Every item of a list fixed, or one object that stands for a list; none left is none."""

    def fix_list(raw: bytes, value: Json) -> bytes | None:
        if isinstance(value, dict):
            return fix(raw, value)
        if not isinstance(value, list):
            return raw
        old_items = [bytes(memoryview(item)) for item in _read_raw_items(raw)]
        new_items = [
            fix(item, item_value) for item, item_value in zip(old_items, value, strict=True)
        ]
        if all(
            old_item is new_item for old_item, new_item in zip(old_items, new_items, strict=True)
        ):
            return raw
        remaining_items = [item for item in new_items if item is not None]
        return b"[" + b",".join(remaining_items) + b"]" if remaining_items else None

    return fix_list


def fix_member(name: str, fix: ValueFixer, *, is_required: bool = False) -> ValueFixer:
    """A member of an object fixed; where it is `is_required`, the object goes with it."""

    def fix_object(raw: bytes, value: Json) -> bytes | None:
        if not isinstance(value, dict) or name not in value:
            return raw
        members = jsonio.read_members(raw)
        old_raw = bytes(memoryview(members[name]))
        new_raw = fix(old_raw, value[name])
        if new_raw is old_raw:
            return raw
        if new_raw is None and is_required:
            return None
        return _join_with(members, name, new_raw)

    return fix_object


def set_member(raw: bytes, name: str, value: Json) -> bytes:
    """An object with a member set; None takes it out."""
    return _join_with(
        jsonio.read_members(raw), name, None if value is None else jsonio.dumps(value)
    )


def _join_with(members: jsonio.Members, name: str, value: bytes | None) -> bytes:
    if value is None:
        del members[name]
    else:
        members[name] = msgspec.Raw(value)
    return jsonio.join_members(members)
