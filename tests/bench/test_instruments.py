"""The mock speaks OpenAI's wire format, and the load generator counts the answers that it gets."""

import json
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec
import pytest

from bench import load, machine, peers
from bench.load import Broken, Instruments, Setting

WHOLE = msgspec.json.encode(load.REQUEST)
STREAM = msgspec.json.encode(load.REQUEST | {"stream": True})
COUNTED = msgspec.json.encode(
    load.REQUEST | {"stream": True, "stream_options": {"include_usage": True}}
)


@pytest.fixture(scope="module")
def instruments(tmp_path_factory: pytest.TempPathFactory) -> Instruments:
    try:
        return load.build(tmp_path_factory.mktemp("instruments"))
    except machine.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def mock(
    instruments: Instruments, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[peers.Running]:
    cpu = machine.describe().load_cpu
    folder = tmp_path_factory.mktemp("mock")
    running, _ = peers.start(peers.Mock(instruments), folder, instruments, cpu=cpu)
    with running:
        yield running


@pytest.fixture(autouse=True)
def _at_once(mock: peers.Running) -> None:
    load.control(mock.port, Setting(n=4))


def posted(body: bytes) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def receive(s: socket.socket) -> tuple[bytes, bytes]:
    """Receive one answer as head and body, the body with its chunked framing."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(s)
    head, _, body = received.partition(b"\r\n\r\n")
    if b"chunked" in head:
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += _more(s)
    else:
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += _more(s)
        assert len(body) == length
    return head, body


def _more(s: socket.socket) -> bytes:
    received = s.recv(65536)
    assert received, "the mock closed the connection"
    return received


def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    with connect(port) as s:
        s.sendall(request)
        return receive(s)


def frames(body: bytes) -> list[bytes]:
    """Return the chunks of a chunked body; each has to be a whole SSE frame."""
    payloads = []
    while body != b"0\r\n\r\n":
        size, _, remaining = body.partition(b"\r\n")
        length = int(size, 16)
        frame, body = remaining[:length], remaining[length:]
        assert frame.startswith(b"data: ")
        assert frame.endswith(b"\n\n")
        assert body.startswith(b"\r\n")
        payloads.append(frame[6:-2])
        body = body[2:]
    return payloads


def test_the_request_is_the_documented_size() -> None:
    assert len(WHOLE) == 845


def test_a_whole_reply_is_a_chat_completion(mock: peers.Running) -> None:
    head, body = ask(mock.port, posted(WHOLE))
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
    assert b"\r\nx-request-id: req_" in head
    reply = json.loads(body)
    assert reply["object"] == "chat.completion"
    assert reply["choices"][0]["message"]["content"].startswith(" the model")
    assert reply["choices"][0]["finish_reason"] == "stop"
    usage = reply["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert 1200 < len(body) < 1700


def test_a_stream_is_role_tokens_finish_and_done(mock: peers.Running) -> None:
    head, body = ask(mock.port, posted(STREAM))
    assert b"\r\ncontent-type: text/event-stream; charset=utf-8\r\n" in head
    *chunks, last = frames(body)
    assert last == b"[DONE]"
    read = [json.loads(chunk) for chunk in chunks]
    assert {chunk["object"] for chunk in read} == {"chat.completion.chunk"}
    assert [chunk["choices"][0]["delta"] for chunk in read] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": " model"},
        {"content": ","},
        {"content": " gateway"},
        {},
    ]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in read]
    assert reasons == [None, None, None, None, "stop"]
    assert {chunk["usage"] for chunk in read} == {None}


def test_the_mock_sends_a_usage_chunk_if_the_request_asks_for_it(mock: peers.Running) -> None:
    *_, finish, usage, done = frames(ask(mock.port, posted(COUNTED))[1])
    assert json.loads(finish)["choices"][0]["finish_reason"] == "stop"
    assert json.loads(usage)["choices"] == []
    assert json.loads(usage)["usage"] == {
        "prompt_tokens": 219,
        "completion_tokens": 256,
        "total_tokens": 475,
    }
    assert done == b"[DONE]"


@pytest.mark.parametrize(
    ("body", "streams"),
    [
        (b'{"stream":true}', True),
        (b'{"stream" : true}', True),
        (b'{"stream": false}', False),
        (b'{"stream":null,"x":true}', False),
        (b"{}", False),
    ],
)
def test_the_body_says_whether_to_stream(mock: peers.Running, body: bytes, streams: bool) -> None:
    head, _ = ask(mock.port, posted(body))
    assert (b"text/event-stream" in head) is streams


def test_a_request_in_single_bytes_is_one_request(mock: peers.Running) -> None:
    expected = ask(mock.port, posted(b'{"stream":true}'))
    with connect(mock.port) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in posted(b'{"stream":true}'):
            s.sendall(bytes([byte]))
        assert receive(s) == expected


def test_a_chunked_request_is_read_to_its_end(mock: peers.Running) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(mock.port) as s:
        s.sendall(head + b"5\r\n12345\r\n2\r\n67\r\n0\r\n\r\n")
        assert b"application/json" in receive(s)[0]
        s.sendall(head + b'f\r\n{"stream":true}\r\n0\r\n\r\n')
        assert b"event-stream" in receive(s)[0]


def test_answers_keep_the_order_of_requests(mock: peers.Running) -> None:
    with connect(mock.port) as s:
        s.sendall(posted(STREAM) + posted(WHOLE))
        received = b""
        while received.count(b'chat.completion"') < 1:
            received += _more(s)
    assert received.index(b"[DONE]") < received.index(b'"chat.completion"')


def test_the_mock_lists_models(mock: peers.Running) -> None:
    _, body = ask(mock.port, b"GET /v1/models HTTP/1.1\r\nHost: mock\r\n\r\n")
    assert json.loads(body)["data"][0]["object"] == "model"


def test_the_mock_counts_what_it_answered(mock: peers.Running) -> None:
    before = load.control(mock.port)
    ask(mock.port, posted(WHOLE))
    ask(mock.port, posted(STREAM))
    ask(mock.port, posted(STREAM))
    after = load.control(mock.port)
    assert (after.served - before.served, after.streams - before.streams) == (1, 2)


def test_the_load_generator_counts_what_the_mock_served(
    instruments: Instruments, mock: peers.Running
) -> None:
    before = load.control(mock.port)
    measured = load.run(instruments, mock.port, connections=4, seconds=5, most=500)
    served = load.control(mock.port).served - before.served
    assert measured.answered >= 500
    assert measured.total <= served <= measured.total + 4  # requests in flight at the end
    assert measured.p50 is not None
    assert measured.p99 is not None
    assert 0 < measured.p50 <= measured.p99


def test_the_load_generator_counts_the_events_of_streams(
    instruments: Instruments, mock: peers.Running
) -> None:
    measured = load.run(
        instruments, mock.port, connections=2, seconds=5, most=40, stream=True, events=6
    )
    assert 40 * 6 <= measured.events <= (measured.answered + 2) * 6
    assert measured.ttft50 is not None
    assert measured.p50 is not None
    assert measured.ttft50 <= measured.p50


def test_the_load_generator_measures_the_waits_of_the_mock(
    instruments: Instruments, mock: peers.Running
) -> None:
    load.control(mock.port, Setting(n=20, lat_us=30_000, ttft_us=20_000, delay_us=10_000))
    whole = load.run(instruments, mock.port, seconds=5, most=3)
    assert whole.p50 is not None
    assert whole.p50 >= 30
    stream = load.run(instruments, mock.port, seconds=5, most=3, stream=True)
    assert stream.ttft50 is not None
    assert stream.gap50 is not None
    assert stream.ttft50 >= 20
    assert stream.gap50 >= 9


def test_both_ways_of_accounting_cpu_agree(instruments: Instruments, mock: peers.Running) -> None:
    """The load generator reads schedstat inside its own window; machine.py reads it around that
    window.

    A fixed number of answers keeps the time between the two windows small on a busy machine.
    """
    before = machine.cpu_seconds(mock.pids())
    measured = load.run(
        instruments, mock.port, pids=mock.pids(), connections=8, seconds=60, most=20_000
    )
    after = machine.cpu_seconds(mock.pids())
    assert measured.cpu is not None
    assert measured.waited is not None
    assert 0 < measured.cpu <= after.ran - before.ran
    assert measured.cpu == pytest.approx(after.ran - before.ran, rel=0.25)
    assert measured.answers_per_cpu_second == pytest.approx(measured.answered / measured.cpu)


def test_without_pids_cpu_is_unknown(instruments: Instruments, mock: peers.Running) -> None:
    measured = load.run(instruments, mock.port, seconds=5, most=1)
    assert measured.cpu is None
    assert measured.answers_per_cpu_second is None


class Script:
    """A server that answers each connection's first request with the same bytes, then closes it."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            try:
                s, _ = self._listener.accept()
            except OSError:
                return
            with s:
                s.settimeout(5)
                if s.recv(65536):
                    s.sendall(self._answer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def sse(*data: bytes) -> bytes:
    body = b"".join(b"data: %s\n\n" % item for item in data)
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "last status 500"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut", r"[1-9]\d* errors"),
        (b"", r"[1-9]\d* errors"),
        (sse(b"a", b"b"), r"[1-9]\d* streams without \[DONE\]"),
        (sse(b"a", b"[DONE]"), r"[1-9]\d* short streams"),
    ],
)
def test_the_load_generator_refuses_figures_of_bad_answers(
    instruments: Instruments, answer: bytes, complaint: str
) -> None:
    with Script(answer) as server, pytest.raises(Broken, match=complaint):
        load.run(instruments, server.port, seconds=0.1, most=3, stream=True, events=3)


@pytest.mark.parametrize(
    ("frame", "counts"),
    [
        (b'{"delta":{"role":"assistant","content":""}}', False),
        (b'{"delta":{"role":"assistant","content": ""}}', False),
        (b'{"delta":{}}', False),
        (b'{"delta":{"content":"x"}}', True),
        (b'{"delta":{"content": "x"}}', True),
    ],
)
def test_the_first_token_is_the_first_frame_with_content(
    instruments: Instruments, frame: bytes, counts: bool
) -> None:
    with Script(sse(frame, b"[DONE]")) as server:
        measured = load.run(instruments, server.port, seconds=5, most=2, stream=True, events=2)
    assert (measured.ttft50 is not None) is counts


def test_a_burst_waits_for_all_answers_of_the_burst_before(instruments: Instruments) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    command = [
        str(instruments.lg),
        "-b",
        str(instruments.body(load.Ask("auto"))),
        "-c",
        "2",
        "-g",
        "-w",
        "0",
        "-d",
        "5",
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with subprocess.Popen([*command, "-p", port, "-n", "4"], stdout=subprocess.PIPE) as lg:
            first, second = listener.accept()[0], listener.accept()[0]
            with first, second:
                for s in (first, second):
                    take_request(s)
                first.sendall(answer)
                assert not readable(first, 0.05)  # it sends no second request alone
                second.sendall(answer)
                assert readable(first, 5)
                assert readable(second, 5)
                for s in (first, second):
                    take_request(s)
                    s.sendall(answer)
                assert lg.stdout is not None
                measured = msgspec.json.decode(lg.stdout.read(), type=load.Load)
    assert measured.answered == 4


def test_requests_differ_in_their_number_alone(instruments: Instruments) -> None:
    """Requests are as long as their template; with `vary` off they are equal to it."""
    for vary, expected in ((True, ["000000001", "000000002"]), (False, [load.VARIED] * 2)):
        bodies: list[bytes] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=_two, args=(listener, bodies))
            thread.start()
            port = int(listener.getsockname()[1])
            load.run(instruments, port, ask=load.Ask("auto", vary=vary), seconds=5, most=2)
            thread.join()
        assert bodies == [
            WHOLE.replace(load.VARIED.encode(), number.encode()) for number in expected
        ]


def _two(listener: socket.socket, bodies: list[bytes]) -> None:
    with listener.accept()[0] as s:
        s.settimeout(5)
        for _ in range(2):
            received = b""
            while len(received.partition(b"\r\n\r\n")[2]) < len(WHOLE):
                received += _more(s)
            bodies.append(received.partition(b"\r\n\r\n")[2])
            s.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


def test_a_request_that_cannot_be_varied_is_refused(
    instruments: Instruments, tmp_path: Path
) -> None:
    (tmp_path / "body").write_text("nothing in it")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        command = [str(instruments.lg), "-p", port, "-b", str(tmp_path / "body"), "-v", "12"]
        done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 2
    assert b"the text of -v is not in the body" in done.stderr


@pytest.mark.parametrize(
    ("size", "least", "most", "tools"),
    [("small", 845, 870, 0), ("middle", 18_000, 22_000, 0), ("large", 370_000, 430_000, 60)],
)
def test_each_request_size_has_its_length_and_tools(
    instruments: Instruments, size: load.Size, least: int, most: int, tools: int
) -> None:
    """Requests end with a user turn, and name the model and the path of the peer under load."""
    ask = load.Ask("some/model", temperature=0)
    body = instruments.body(ask, size, stream=True).read_bytes()
    assert least <= len(body) <= most
    request = json.loads(body)
    assert (request["model"], request["temperature"], request["stream"]) == ("some/model", 0, True)
    assert request["messages"][-1]["role"] == "user"
    assert len(request.get("tools", ())) == tools
    assert body.count(load.VARIED.encode()) == 1


def take_request(s: socket.socket) -> None:
    s.settimeout(5)
    received = b""
    while not received.endswith(WHOLE):
        received += _more(s)


def readable(s: socket.socket, seconds: float) -> bool:
    return bool(select.select([s], [], [], seconds)[0])


def test_an_unreachable_port_is_an_error(instruments: Instruments) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    with pytest.raises(Broken, match="connect: Connection refused"):
        load.run(instruments, port)


@pytest.mark.parametrize("program", ["mock", "lg"])
def test_the_instruments_compile_without_a_warning(program: str, tmp_path: Path) -> None:
    source = Path(load.__file__).with_name(f"{program}.c")
    try:
        compiler = machine.find("cc")
    except machine.Missing as missing:
        pytest.skip(str(missing))
    command = [compiler, *load.FLAGS, "-Werror", "-o", str(tmp_path / program), str(source)]
    done = subprocess.run(command, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_error_of_a_failing_compiler_has_its_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cc").write_text("#!/bin/sh\necho stdio.h: no such file >&2\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(machine.Missing, match=r"failed; a whole compiler(.|\n)*stdio.h: no such"):
        load.build(tmp_path)


def test_the_error_of_a_missing_compiler_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "apt-get").write_text("")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "SBIN", "")
    with pytest.raises(machine.Missing, match="apt-get install gcc libc6-dev"):
        load.build(tmp_path)
