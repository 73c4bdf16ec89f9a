"""Requests that are wrong or ambiguous, and a check that recognizes the others."""

import random
import re
from collections.abc import Iterator

CANARY = b"GET /v1/models/canary HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
SHOWN = b"does not serve the model 'canary'"
BODIES = {
    b"/v1/chat/completions": b'{"model":"able-1","messages":[{"role":"user","content":"Hello."}]}',
    b"/v1/messages": b'{"model":"claude-haiku-9","messages":[{"role":"user","content":"Hello."}],"max_tokens":9}',
}

_SPACES = (b" ", b"\t", b"\x0b", b"\x0c", b"\xa0", b"\0", b"\r", b"\n", b"\x85")
_LENGTHS = (
    b"%d", b"+%d", b"-%d", b"%d,%d", b"%d, %d", b"0x%x", b"%d.0", b"%de0", b"%d_0", b"%d ;a", b"\xb2%d", b"'%d'",
    b'"%d"', b"%d 0", b"0%o ", b"",
)  # fmt: skip
_CODINGS = (
    b"chunked", b"Chunked", b"xchunked", b"chunked;q=1", b"chunked, identity", b"identity, chunked", b"gzip, chunked",
    b"chunked, chunked", b'"chunked"', b"chunked,", b",chunked", b"chunk", b"identity", b"\xc4\x8bhunked", b"chunked\0",
    b"x: chunked", b"chunked, gzip", b"",
)  # fmt: skip
_NAMES = (
    b"transfer-encoding", b"Transfer-Encoding", b"transfer_encoding", b"transfer-encoding ", b" transfer-encoding",
    b"transfer-encoding\t", b"x\r\n transfer-encoding", b"transfer-encoding\0", b"\ttransfer-encoding",
    b"transfer-\x00encoding", b"transfer-encoding\r", b"x:y\ntransfer-encoding",
)  # fmt: skip
_CHUNKS = (
    b"%x\r\n%b\r\n0\r\n\r\n", b"%x \r\n%b\r\n0\r\n\r\n", b" %x\r\n%b\r\n0\r\n\r\n", b"0x%x\r\n%b\r\n0\r\n\r\n",
    b"+%x\r\n%b\r\n0\r\n\r\n", b"%x\n%b\n0\n\n", b"%x\r\n%b0\r\n\r\n", b"%x\r\n%bxx0\r\n\r\n", b"-%x\r\n%b\r\n0\r\n\r\n",
    b"%x_0\r\n%b\r\n0\r\n\r\n", b"%x;a\nb\r\n%b\r\n0\r\n\r\n", b"%x;a\r\n%b\r\n00\r\n\r\n", b"%x\r\n%b\r\n0\n\r\n",
    b"%x\r\n%b\r\n0\r\nx y: z\r\n\r\n", b"%x\r\n%b\r\n\r\n", b"f" * 17 + b"%x\r\n%b\r\n0\r\n\r\n", b"\r\n%x\r\n%b\r\n0\r\n\r\n",
    b"%x\x00\r\n%b\r\n0\r\n\r\n", b"%x\r\r\n%b\r\n0\r\n\r\n", b"%x;\x00\r\n%b\r\n0\r\n\r\n",
)  # fmt: skip


def mutations(number: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield requests that are wrong or ambiguous, each with its body: the same every time."""
    chance = random.Random(20_261_124)
    for _ in range(number):
        path, body = chance.choice(list(BODIES.items()))
        length = chance.choice(_LENGTHS)
        marks = len(re.findall(rb"%[dxo]", length))
        length_line = b"content-length: " + length % ((len(body),) * marks)
        coding = b"transfer-encoding: " + chance.choice(_CODINGS)
        name = chance.choice(_NAMES) + b": chunked"
        chunk = chance.choice(_CHUNKS) % (len(body), body)
        space = chance.choice(_SPACES)
        plain = b"content-length: %d" % len(body)
        kinds = {
            "TE and CL": ([b"transfer-encoding: chunked", plain], chunk),
            "CL and TE": ([plain, b"transfer-encoding: chunked"], chunk),
            "two CL": ([plain, b"content-length: %d" % chance.choice([0, 1, len(body) + 1])], body),
            "a CL": ([length_line], body),
            "a TE": ([coding], chunk),
            "a TE and CL": ([coding, plain], chunk),
            "a name and CL": ([name, plain], chunk),
            "a name": ([name], chunk),
            "a chunk": ([b"transfer-encoding: chunked"], chunk),
            "spaced": ([b"content-length" + space + b": %d" % len(body)], body),
            "spaced TE": ([b"transfer-encoding:" + space + b"chunked" + space, plain], chunk),
        }
        lines, rest = kinds[chance.choice(list(kinds))]
        if chance.random() < 0.3:
            lines.append(b"connection: keep-alive")
        end = chance.choice([b"\r\n"] * 8 + [b"\n", b"\r"])
        version = chance.choice([b"HTTP/1.1"] * 6 + [b"HTTP/1.0"])
        head = end.join([b"POST " + path + b" " + version, b"host: localhost", *lines, b"", b""])
        yield head + rest, body


def honest(data: bytes, body: bytes) -> bool:
    """True if a request is valid and can be read in one way only."""
    head, end, rest = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if (
        not end
        or not lines[0].endswith(b" HTTP/1.1")
        or re.search(rb"[\x00\n\r\x0b\x0c]", b"".join(lines))
    ):
        return False
    fields = [line.partition(b":") for line in lines[1:]]
    if any(re.fullmatch(rb"[\w-]+", name) is None for name, _, _ in fields):
        return False
    values = {name: [v.strip(b" \t") for n, _, v in fields if n.lower() == name] for name in (b"content-length", b"transfer-encoding")}  # fmt: skip
    lengths, codings = values[b"content-length"], values[b"transfer-encoding"]
    if lengths and codings:
        return False
    if codings:
        chunk = rb"%x(;[\w=]*)?\r\n%b\r\n0+\r\n([\w-]+:[^\r\n]*\r\n)*\r\n" % (
            len(body),
            re.escape(body),
        )
        return [c.lower() for c in codings] == [b"chunked"] and re.fullmatch(
            chunk, rest
        ) is not None
    return (
        len(lengths) == 1
        and re.fullmatch(rb"\d+", lengths[0]) is not None
        and int(lengths[0]) == len(rest)
    )
