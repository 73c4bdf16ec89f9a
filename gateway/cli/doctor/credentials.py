"""Checks of the gateway's own identity in clouds: whose credential it is, and when it ends."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.cli.doctor.environment import DoctorFinding
from gateway.cli.session import CommandSession
from gateway.core.cloud_auth import CloudAuth
from gateway.upstream.credentials.cloud_credentials import CloudCredentials
from gateway.upstream.credentials.request_signer import CredentialError, CredentialStatus

_TIMEOUT_SECONDS = 30.0
"""Seconds for all credentials: sources that do not answer have shorter limits of their own."""


def check_credentials(
    session: CommandSession, wall_clock: Callable[[], float] = time.time
) -> list[DoctorFinding]:
    """Get the credential of each provider in a cloud, and say what it is."""
    auths = {
        provider.name: provider.cloud_auth
        for provider in session.built_config.built_catalogue.providers.values()
        if provider.enabled and provider.cloud_auth is not None
    }
    return asyncio.run(_check_all(auths, CloudCredentials(session.environ, wall=wall_clock)))


async def _check_all(
    auths: dict[str, CloudAuth], credentials: CloudCredentials
) -> list[DoctorFinding]:
    try:
        return await asyncio.gather(*(_check(*item, credentials) for item in auths.items()))
    finally:
        await credentials.close()


async def _check(provider: str, auth: CloudAuth, credentials: CloudCredentials) -> DoctorFinding:
    where = f"providers.{provider}.auth"
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            status = await credentials.get_signer(auth).fetch_status()
    except TimeoutError:
        message = f"{provider}: its credential does not come in {_TIMEOUT_SECONDS:.0f} s."
        return DoctorFinding("error", "credentials", message, where=where)
    except CredentialError as error:
        message = f"{provider} has no credential. {error}"
        return DoctorFinding("error", "credentials", message, where=where)
    return DoctorFinding("ok", "credentials", f"{provider}: {_describe(status)}")


def _describe(status: CredentialStatus) -> str:
    identity = f" of {status.identity}" if status.identity else ""
    end = (
        "without an end"
        if status.expires_at is None
        else f"valid until {datetime.fromtimestamp(status.expires_at, UTC):%Y-%m-%d %H:%M UTC}"
    )
    return f"the credential{identity} from {status.source}, {end}"
