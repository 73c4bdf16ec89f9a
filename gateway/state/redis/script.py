"""Scripts that a server of the Redis protocol runs, beside this file as `.lua`."""

import hashlib
from pathlib import Path


class Script:
    """One script: its source, and the name under which a server that has run it knows it."""

    def __init__(self, name: str) -> None:
        self.source = (Path(__file__).parent / f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.source).hexdigest().encode()  # noqa: S324 - the protocol's name
