"""STS, AWS's token service: it gives out the temporary credential of a role."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import httpx

from gateway.upstream.credentials.aws.ask_service import SendRequest, ask_service, parse_url
from gateway.upstream.credentials.aws.aws_credential import (
    AwsCredential,
    IssuedAwsCredential,
    issue_credential,
)
from gateway.upstream.credentials.aws.signature_v4 import (
    SigningScope,
    build_authorization,
    build_canonical_request,
    derive_signing_key,
    format_timestamp,
)
from gateway.upstream.credentials.identity_request import IdentityResponse
from gateway.upstream.credentials.request_signer import CredentialError

DEFAULT_SESSION_NAME = "tiergate"
"""The name of a session in AWS's logs, unless AWS_ROLE_SESSION_NAME or a profile says one."""
_VERSION = "2011-06-15"
_CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"
_DNS_SUFFIXES = (
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("", "amazonaws.com"),
)
"""The domain of each partition of AWS by the start of a region (botocore's partitions.json)."""
_MAX_MESSAGE_CHARS = 400
_MIN_PART_CHARS = 8
"""Characters of the shortest part of a secret that is masked."""


class TokenService:
    """The STS of a region."""

    def __init__(
        self,
        send: SendRequest,
        *,
        region: str,
        proxy: str | None,
        environ: Mapping[str, str],
        wall: Callable[[], float],
    ) -> None:
        """Take the function that sends, and a clock in seconds since the epoch."""
        self._send = send
        self._region = region
        self._proxy = proxy
        self._environ = environ
        self._wall = wall

    async def assume_role(
        self,
        source: str,
        credential: AwsCredential,
        role_arn: str,
        *,
        session_name: str = DEFAULT_SESSION_NAME,
        external_id: str | None = None,
        duration_seconds: str | None = None,
    ) -> IssuedAwsCredential:
        """Return the credential of a role, which `credential` may assume. Raises CredentialError.

        `source` is its source for people.
        """
        form = {"RoleArn": role_arn, "RoleSessionName": session_name}
        if external_id is not None:
            form["ExternalId"] = external_id
        if duration_seconds is not None:
            form["DurationSeconds"] = duration_seconds
        return await self._call(source, "AssumeRole", form, credential)

    async def assume_role_with_web_identity(
        self,
        source: str,
        role_arn: str,
        token: str,
        *,
        session_name: str = DEFAULT_SESSION_NAME,
        duration_seconds: str | None = None,
    ) -> IssuedAwsCredential:
        """Return the credential of a role for a token of OpenID Connect. Raises CredentialError."""
        form = {"RoleArn": role_arn, "RoleSessionName": session_name, "WebIdentityToken": token}
        if duration_seconds is not None:
            form["DurationSeconds"] = duration_seconds
        return await self._call(source, "AssumeRoleWithWebIdentity", form, None)

    async def _call(
        self, source: str, action: str, form: Mapping[str, str], credential: AwsCredential | None
    ) -> IssuedAwsCredential:
        url = get_endpoint(self._region, self._environ)
        body = urlencode({"Action": action, "Version": _VERSION, **form}).encode()
        headers = {"content-type": _CONTENT_TYPE}
        secrets = [form.get("WebIdentityToken")]
        if credential is not None:
            headers |= self._sign(url, body, credential)
            secrets += [credential.secret_access_key, credential.session_token]
        answer = await ask_service(
            self._send("POST", str(url), headers=headers, body=body, proxy=self._proxy)
        )
        if answer.status != httpx.codes.OK:
            reason = _mask(_read_error(answer), [secret for secret in secrets if secret])
            raise CredentialError(f"{url.host} refused {action} for {form['RoleArn']}: {reason}")
        return _read_credential(source, answer.body, form["RoleArn"])

    def _sign(self, url: httpx.URL, body: bytes, credential: AwsCredential) -> dict[str, str]:
        scope = SigningScope(
            timestamp=format_timestamp(self._wall()), region=self._region, service="sts"
        )
        headers = {"x-amz-date": scope.timestamp}
        if credential.session_token is not None:
            headers["x-amz-security-token"] = credential.session_token
        canonical_request = build_canonical_request(
            "POST",
            url.raw_path,
            [("host", url.netloc.decode()), ("content-type", _CONTENT_TYPE), *headers.items()],
            sha256(body).hexdigest(),
        )
        headers["authorization"] = build_authorization(
            credential.access_key_id,
            derive_signing_key(credential.secret_access_key, scope),
            scope,
            canonical_request,
        )
        return headers


def get_endpoint(region: str, environ: Mapping[str, str]) -> httpx.URL:
    """Return the URL of STS: of the environment, else of the region. Raises CredentialError."""
    for name in ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"):
        if text := environ.get(name):
            return parse_url(name, text)
    suffix = next(suffix for start, suffix in _DNS_SUFFIXES if region.startswith(start))
    return httpx.URL(f"https://sts.{region}.{suffix}/")


def _read_credential(source: str, data: bytes, role_arn: str) -> IssuedAwsCredential:
    root = _parse_xml(data)

    def get_text(name: str) -> str:
        text = None if root is None else root.findtext(f".//{{*}}Credentials/{{*}}{name}")
        if not text:
            raise CredentialError(f"the answer of STS has no {name}")
        return text

    return issue_credential(
        source,
        access_key_id=get_text("AccessKeyId"),
        secret_access_key=get_text("SecretAccessKey"),
        session_token=get_text("SessionToken"),
        expiration=get_text("Expiration"),
        identity=(None if root is None else root.findtext(".//{*}AssumedRoleUser/{*}Arn"))
        or role_arn,
    )


def _read_error(answer: IdentityResponse) -> str:
    root = _parse_xml(answer.body)
    code = None if root is None else root.findtext(".//{*}Error/{*}Code")
    message = None if root is None else root.findtext(".//{*}Error/{*}Message")
    texts = [text for text in (code, message) if text]
    return ": ".join(texts) if texts else f"status {answer.status}"


def _parse_xml(data: bytes) -> ET.Element | None:
    """Return the root of a document, or None for anything that STS does not send."""
    try:
        text = data.decode()
        if "<!" in text:  # no entities: the only part of XML that makes much of little
            return None
        return ET.fromstring(text)  # noqa: S314 - see above
    except (UnicodeDecodeError, ET.ParseError):
        return None


def _mask(message: str, secrets: Sequence[str]) -> str:
    """Mask each part of a secret that is long enough to tell it, and what steers a terminal."""
    text = "".join(char if char.isprintable() else " " for char in message[:_MAX_MESSAGE_CHARS])
    hidden: set[int] = set()
    for start in range(len(text) - _MIN_PART_CHARS + 1):
        part = text[start : start + _MIN_PART_CHARS]
        if any(part in secret for secret in secrets):
            hidden.update(range(start, start + _MIN_PART_CHARS))
    return "".join(
        "***" if is_hidden else "".join(text[index] for index in indexes)
        for is_hidden, indexes in groupby(range(len(text)), hidden.__contains__)
    )
