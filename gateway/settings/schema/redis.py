"""Settings of the way to Redis; REDIS_URL says where it is."""

from pydantic import BaseModel

from gateway.settings.schema.base import STRICT_CONFIG
from gateway.settings.schema.server import WaitSeconds


class RedisPart(BaseModel):
    """Settings of connections to Redis."""

    model_config = STRICT_CONFIG

    connect_timeout: WaitSeconds = 1.0
    """Until a connection can be used: TCP, TLS, the password and the database. No call waits."""
    verify: bool = True
    """Check the certificate of a `rediss://` server."""
