"""Settings of the sign-in of people to the dashboard, by an identity provider (OpenID Connect)."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.settings.schema.base import STRICT_CONFIG, Word, Words
from gateway.settings.schema.tokens import IssuerUrl, TokenAlgorithm

type Role = Literal["viewer", "operator", "admin"]
"""A viewer reads; an operator also reloads, rolls back and replays; an admin may do everything."""


class SignInPart(BaseModel):
    """An identity provider whose people may sign in to the dashboard."""

    model_config = STRICT_CONFIG

    issuer: IssuerUrl
    """The identity provider; its discovery document is below this URL."""
    client_id: Word
    """The name under which the identity provider knows the gateway."""
    client_secret: Annotated[str, Field(repr=False)] = ""
    """The gateway's secret there; empty for a public client."""
    scopes: Words = ["openid", "email"]
    """The scopes that the gateway requests from the identity provider; `openid` is required."""
    algorithms: Annotated[list[TokenAlgorithm], Field(min_length=1)] = ["RS256"]
    """The algorithms that the signature of an ID token may have."""
    claim: Word = "groups"
    """The claim whose values give roles: a text or a list of texts. Dots lead into objects."""
    roles: Annotated[dict[Role, Words], Field(min_length=1)]
    """The values of the claim that give each role; a person gets the highest."""
    teams: dict[str, str] = {}
    """The team whose calls alone a viewer sees, by a value of the claim; the first counts."""
