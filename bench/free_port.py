"""A port of loopback for a program that is about to start."""

import random
import socket
from contextlib import suppress

PORTS = range(10_000, 32_000)
"""Below the ports that Linux (32768) and macOS (49152) give to outgoing connections.

Between the search and the start of the program, no outgoing connection takes such a port.
"""


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that no program listens on.

    Raises `RuntimeError` if 100 ports drawn at random are all taken.
    """
    # Not the shared generator: two programs that seed it alike would draw the same ports.
    for port in random.SystemRandom().sample(PORTS, 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no free port on 127.0.0.1: stop some of the programs that listen there")
