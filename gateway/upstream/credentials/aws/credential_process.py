"""A program that prints a credential: `credential_process` of a profile."""

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Mapping

import msgspec

from gateway.core import jsonio
from gateway.upstream.credentials.aws.aws_credential import IssuedAwsCredential, read_credential
from gateway.upstream.credentials.request_signer import CredentialError
from gateway.upstream.local_engine import build_child_environment

_SECONDS = 20.0
"""Seconds for the program. A refresh as a whole is given up after 30 s."""
_MAX_BYTES = 65_536
"""Bytes of the longest output, as in AWS's SDK for Java."""
_VERSION = 1


class _Version(msgspec.Struct, rename="pascal"):
    version: int


_read_version = jsonio.make_reader(_Version)


async def run_credential_process(
    source: str, command: str, environ: Mapping[str, str]
) -> IssuedAwsCredential:
    """Run a command, without a shell, and read the credential in its output.

    Raises CredentialError, which shows nothing that the program printed.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise CredentialError("credential_process is no command: a quotation mark is not closed")
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=build_child_environment(environ, ()),
            start_new_session=True,  # its own programs end with it
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CredentialError(f"credential_process {words[0]} cannot start: {reason}") from None
    try:
        async with asyncio.timeout(_SECONDS):
            output = await _read_output(process.stdout)
            status = await process.wait()
    except TimeoutError:
        raise CredentialError(
            f"credential_process {words[0]} did not end within {_SECONDS:g} s"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status != 0:
        raise CredentialError(
            f"credential_process {words[0]} ended with status {status}: run it by hand to see why"
        )
    try:
        version = _read_version(output).version
    except jsonio.JsonError:
        version = None
    if version != _VERSION:
        raise CredentialError(f"credential_process {words[0]} printed no JSON with `Version: 1`")
    return read_credential(source, output)


async def _read_output(stream: asyncio.StreamReader | None) -> bytes:
    data = b""
    while stream is not None and (chunk := await stream.read(_MAX_BYTES)):
        data += chunk
        if len(data) > _MAX_BYTES:
            raise CredentialError(f"credential_process printed more than {_MAX_BYTES} bytes")
    return data
