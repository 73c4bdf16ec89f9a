"""A program that a tree's own Python runs: commands of the gateway, one after the other in one process.

It uses the standard library alone. It reads a JSON list of command lines from its input, runs each
as `python -m gateway` does, and writes a JSON list of their results.
"""

import contextlib
import io
import json
import runpy
import sys


def run(command: list[str]) -> dict[str, object]:
    """Run one command; return its exit status and what it wrote."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    status: object = 0
    sys.argv = ["tiergate", *command]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("gateway", run_name="__main__")
        except SystemExit as ended:
            status = ended.code
        except Exception as error:  # noqa: BLE001 - the comparison shows a command that breaks
            status = repr(error)
        out.flush()
        err.flush()
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return {"status": status, "out": texts[0], "err": texts[1]}


if __name__ == "__main__":
    print(json.dumps([run(command) for command in json.load(sys.stdin)]))
