"""Whether what is printed has colours: the words of the environment for it, in one place."""

import os
import sys
from collections.abc import Mapping
from typing import TextIO


def wanted(environ: Mapping[str, str] = os.environ) -> bool | None:
    """What the environment asks for; None where the stream is to decide: on a terminal.

    NO_COLOR has the last word (no-color.org), then FORCE_COLOR or CLICOLOR_FORCE, then CLICOLOR=0
    and TERM=dumb. An empty variable says nothing.
    """
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environ.get("CLICOLOR") == "0" or environ.get("TERM") == "dumb":
        return False
    return None


def drawn(stream: TextIO | None = None) -> bool:
    """Whether a stream, standard output unless another is given, gets colours."""
    asked = wanted()
    return (sys.stdout if stream is None else stream).isatty() if asked is None else asked
