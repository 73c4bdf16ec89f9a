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

MARK = "tg1."
"""How every label begins; no provider's state does."""
_DIGEST = 8


def maker(target: Target, dialect: str) -> str:
    """Name the maker of a state, as a short hash: provider, model, and the dialect it was asked in.

    A model that is asked in another dialect writes its state in another form.
    """
    whole = f"{target.provider.name}\n{target.model}\n{dialect}"
    return hashlib.blake2b(
        whole.encode(), digest_size=_DIGEST, person=b"tiergate maker"
    ).hexdigest()


def label(maker: str, state: str) -> str:
    """A state as it goes to a client of another dialect."""
    return f"{MARK}{maker}.{state}"


def split(state: str) -> tuple[str | None, str]:
    """The maker that a label names and the state itself; None where there is no label."""
    if not state.startswith(MARK):
        return None, state
    name, dot, rest = state.removeprefix(MARK).partition(".")
    return (name, rest) if dot else (None, state)


type Object = dict[str, Json]
type Fix = Callable[[bytes, Json], bytes | None]
"""A JSON value, as bytes and as read, as it is to be: the same bytes, others, or None for none."""

_MARK = MARK.encode()
_WHY = "reasoning of another model is for that model alone"
_NULL = msgspec.Raw(b"null")
_ITEMS = jsonio.reader(list[msgspec.Raw])


def holds(body: RequestBody) -> bool:
    """Whether a body may hold a label: one without the mark of them holds none."""
    return _MARK in body.raw


class ReasoningLabels:
    """The labels in one request, and what they are to one target."""

    __slots__ = ("_mine", "lost")

    def __init__(self, target: Target, dialect: str) -> None:
        self._mine = maker(target, dialect)
        self.lost = False
        """Something was taken out."""

    def labelled(self, slot: Json) -> bool:
        """Whether a slot holds what the gateway wrote."""
        return isinstance(slot, str) and split(slot)[0] is not None

    def open(self, slot: Json) -> str | None:
        """The state in a slot, for the target; empty where it is another's, None: unlabelled."""
        made, state = split(slot) if isinstance(slot, str) else (None, "")
        return None if made is None else self.given(made, state)

    def given(self, made: str, state: str | None) -> str:
        """A state, for the target; empty where another made it."""
        if made == self._mine and state:
            return state
        self.lost = True
        return ""


def edit(body: RequestBody, member: str, seals: ReasoningLabels, fix: Fix) -> BodyPatch:
    """A body on its way, its `member` fixed; what is taken out is named as a loss."""
    raw = bytes(memoryview(body.members.get(member, _NULL)))
    fixed = fix(raw, body.said.get(member))
    if fixed is raw:
        return BodyPatch(body)
    fixed = fixed or b"[]"
    members = {**body.members, member: msgspec.Raw(fixed)}
    value = {**body.value, member: jsonio.loads(fixed)}
    found = BodyPatch(RequestBody(jsonio.join(members), members, value, body.prompt))
    if seals.lost:
        found.lose(f"{member}.reasoning", "dropped", _WHY)
    return found


def each(fix: Fix) -> Fix:
    """Every item of a list fixed, or one object that stands for a list; none left is none."""

    def fixed(raw: bytes, value: Json) -> bytes | None:
        if isinstance(value, dict):
            return fix(raw, value)
        if not isinstance(value, list):
            return raw
        old = [bytes(memoryview(item)) for item in _ITEMS(raw)]
        new = [fix(item, it) for item, it in zip(old, value, strict=True)]
        if all(one is other for one, other in zip(old, new, strict=True)):
            return raw
        kept = [item for item in new if item is not None]
        return b"[" + b",".join(kept) + b"]" if kept else None

    return fixed


def within(name: str, fix: Fix, *, needed: bool = False) -> Fix:
    """A member of an object fixed; where it is `needed`, the object goes with it."""

    def fixed(raw: bytes, value: Json) -> bytes | None:
        if not isinstance(value, dict) or name not in value:
            return raw
        parts = jsonio.members(raw)
        old = bytes(memoryview(parts[name]))
        new = fix(old, value[name])
        if new is old:
            return raw
        if new is None and needed:
            return None
        return _with(parts, name, new)

    return fixed


def put(raw: bytes, name: str, value: Json) -> bytes:
    """An object with a member set; None takes it out."""
    return _with(jsonio.members(raw), name, None if value is None else jsonio.dumps(value))


def _with(parts: jsonio.Members, name: str, value: bytes | None) -> bytes:
    if value is None:
        del parts[name]
    else:
        parts[name] = msgspec.Raw(value)
    return jsonio.join(parts)
