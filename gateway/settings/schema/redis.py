"""Settings of connections to Redis. The variable REDIS_URL holds its address."""

from pydantic import BaseModel

from gateway.settings.schema.base import STRICT_CONFIG
from gateway.settings.schema.server import WaitSeconds


class RedisPart(BaseModel):
    """Settings of connections to Redis."""

    model_config = STRICT_CONFIG

    connect_timeout: WaitSeconds = 1.0
    """Seconds until a connection must be ready: TCP, TLS, password and database. No call waits this
    long."""
    verify: bool = True
    """True if the gateway checks the certificate of a `rediss://` server."""
