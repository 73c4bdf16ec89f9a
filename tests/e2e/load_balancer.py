"""nginx and HAProxy before gateways on this machine, each with its shipped configuration file."""

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import machine
from tests.docs.pages import ROOT
from tests.e2e.child import Child, until

NAMES = ("nginx", "haproxy")
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy"}
_MAIN = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def program(name: str) -> str:
    try:
        return machine.find(name)
    except machine.Missing:
        pytest.skip(f"no {name}: apt-get install {PACKAGES[name]}")


def start(name: str, folder: Path, port: int, gateways: Sequence[int]) -> Child:
    """Start the program on a loopback port, before gateways on the given ports, and await its start."""
    folder.mkdir()
    command = [program(name), *(_nginx if name == "nginx" else _haproxy)(folder, port, gateways)]
    child = Child(command, folder / "run")
    until(lambda: _listens(port) or child.ended, f"{name} listens")
    return child


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def _nginx(folder: Path, port: int, gateways: Sequence[int]) -> list[str]:
    servers = "".join(
        f"server 127.0.0.1:{gateway} max_fails=1 fail_timeout=2s;\n" for gateway in gateways
    )
    text = (ROOT / "deploy/nginx.conf").read_text()
    text, many = re.subn(r"(?:\s*server gateway-\d:8484 [^\n]*\n)+", f"\n{servers}", text)
    assert many == 1
    (folder / "site.conf").write_text(text.replace("listen 8080;", f"listen 127.0.0.1:{port};"))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user))
    return ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def _haproxy(folder: Path, port: int, gateways: Sequence[int]) -> list[str]:
    servers = "".join(f"    server here-{gateway} 127.0.0.1:{gateway}\n" for gateway in gateways)
    text = (ROOT / "deploy/haproxy.cfg").read_text()
    text, many = re.subn(r"(?: +server gateway-\d gateway-\d:8484\n)+", servers, text)
    assert many == 1
    assert "bind :8080" in text
    (folder / "haproxy.cfg").write_text(text.replace("bind :8080", f"bind 127.0.0.1:{port}"))
    return ["-db", "-f", str(folder / "haproxy.cfg")]
