"""Values as bytes of a version, for a store that may hold what another version wrote."""

from collections.abc import Callable

import msgspec

_VERSION = b"\x01"


class VersionedCodec[T]:
    """Values of one kind, as bytes and back."""

    def __init__(self, kind: type[T]) -> None:
        self._encode: Callable[[T], bytes] = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def write(self, value: T) -> bytes:
        """A value as bytes that `read` takes."""
        return _VERSION + self._encode(value)

    def read(self, data: bytes | None) -> T | None:
        """The value that bytes hold; None for those of another version and for anything else."""
        if data is None or data[:1] != _VERSION:
            return None
        try:
            return self._decode(memoryview(data)[1:])
        except msgspec.DecodeError:
            return None
