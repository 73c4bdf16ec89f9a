"""Files that only their owner may read, made for the user who runs the gateway."""

import os
from pathlib import Path

_MODE = 0o600
_ROOT_ID = 0


def open_private(file: Path, flags: int) -> int:
    """Open a file, and make it with mode 0600 if it is missing; return the descriptor.

    A command that runs as root gives a new file to the owner of its folder: the gateway, which
    runs as that user, must be able to use it. Raises OSError.
    """
    flags |= os.O_CLOEXEC
    try:
        return os.open(file, flags)
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, flags | os.O_CREAT, _MODE)
        if os.geteuid() == _ROOT_ID:
            folder_stat = file.parent.stat()
            os.fchown(descriptor, folder_stat.st_uid, folder_stat.st_gid)
        return descriptor
