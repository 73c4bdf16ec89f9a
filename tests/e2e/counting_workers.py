"""Two workers that only count: each request to /note is a call, and /metrics shows the total.

The gateway's own supervisor runs them, and they share a socket and memory as its workers do.
"""

import os
import socket
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from gateway.cli.serve.supervisor import supervise
from gateway.telemetry.log import make_stderr_log
from gateway.telemetry.metrics import GaugeMetric, Metrics
from gateway.telemetry.shared_metrics import SharedMemory
from tests.telemetry.rows import entry


def main() -> None:
    """Run until a signal stops it; the first line printed is the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    memory = SharedMemory(2)

    def work(_: object) -> None:
        metrics = Metrics(memory=memory, gauges=[GaugeMetric("workers", "Alive.", lambda: 1)])
        metrics.refresh()

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/note":
                    metrics.count_row(entry())
                data, kind = metrics.render() if self.path == "/metrics" else (b"", "text/plain")
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("x-pid", str(os.getpid()))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Answer, bind_and_activate=False)
        server.socket.close()
        server.socket = listening
        server.serve_forever()

    supervise(
        2, work, [listening], make_stderr_log(time.time), lambda: print(listening.getsockname()[1])
    )


if __name__ == "__main__":
    main()
