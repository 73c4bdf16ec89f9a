"""Settings of tokens that an identity provider issues, and that clients send in place of keys."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from gateway.settings.schema.base import STRICT_CONFIG, Word, Words

type TokenAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "Ed25519",
]  # fmt: skip
"""Algorithms of public keys. None allows `none`, or a shared secret (RFC 8725, section 3.1)."""


def _check_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2].partition(":")[0]
    if scheme != "https" and not (scheme == "http" and host in ("127.0.0.1", "localhost")):
        raise ValueError("must be an https:// URL")
    return text


def _check_denied(text: str) -> str:
    claim, _, value = text.partition("=")
    if claim not in ("sub", "jti") or not value:
        raise ValueError("must be sub=SUBJECT or jti=TOKEN")
    return text


type IssuerUrl = Annotated[str, AfterValidator(_check_url)]
type DeniedClaim = Annotated[str, AfterValidator(_check_denied)]


class TokenIssuerPart(BaseModel):
    """An identity provider whose tokens (JWTs) clients may send in place of a key."""

    model_config = STRICT_CONFIG

    issuer: IssuerUrl
    """The `iss` of its tokens, and the URL of its discovery document."""
    audience: Annotated[Words, Field(min_length=1)]
    """A token must be for one of these, by its `aud`."""
    jwks: IssuerUrl | None = None
    """The URL of its public keys; unset, the discovery document names it."""
    algorithms: Annotated[list[TokenAlgorithm], Field(min_length=1)] = ["RS256"]
    """The algorithms that the signature of a token may have."""
    claim: Word = "groups"
    """The claim whose values give access: a text or a list of texts. Dots lead into objects."""
    keys: Annotated[dict[str, str], Field(min_length=1)]
    """The name of a key by a value of the claim; the first that a token has counts. The token may
    do what that key may, within its limits and budgets."""
    user: Word | None = None
    """The claim that names the end user of all calls with a token, whatever they say themselves.
    Unset, it is `sub` for calls that name none. Dots lead into objects."""
    deny: list[DeniedClaim] = []
    """Tokens that are refused although they are valid: `sub=SUBJECT` or `jti=TOKEN`. A key may
    have more, as `denied_tokens`."""
