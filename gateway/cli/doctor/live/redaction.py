"""Redact a recording: no keys, no headers of an account, no ids of people and organisations.

What a provider answers to the fixed questions stays as it is, byte by byte, unless it quotes one of
these. Errors are redacted more: they quote what the caller sent, and who the caller is.
"""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from gateway.core.target import Catalogue, Provider
from gateway.ledger.redaction import redact_text
from gateway.upstream import credential_masking

_MASK = "***"
_MIN_SECRET_CHARS = 8
"""Characters of the shortest value that is masked. Shorter ones are words such as `none`."""
_REQUEST_HEADERS = frozenset({
    "accept", "accept-encoding", "anthropic-version", "content-type", "user-agent",
})  # fmt: skip
_CREDENTIAL_HEADERS = frozenset({"authorization", "x-amz-security-token"})
_RESPONSE_HEADERS = frozenset({
    "cache-control", "content-encoding", "content-type", "openai-version", "retry-after",
    "transfer-encoding", "vary",
})  # fmt: skip
_LIMIT_HEADER_PATTERN = re.compile(r"(?:x|anthropic)-ratelimit-[a-z-]{1,60}")
"""Matches headers that are recorded without their values, which depend on the account."""
_ID_PATTERN = re.compile(
    rb"\b(org|organization|proj|project|user|acct|account|team|tenant|workspace|wrkspc)"
    rb"([-_])(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{6,}"
)
"""Matches an id, in which there is a digit: other words begin so too."""
_PROJECT_PATTERN = re.compile(rb"\b(projects|organizations|folders|accounts)/[\w.:-]{1,80}")
_MEMBER_PATTERN = re.compile(
    rb'("(?:organization|organization_id|org|org_id|project|project_id|project_number|user|user_id|'
    rb"safety_identifier|account|account_id|team|team_id|workspace|workspace_id|tenant|tenant_id|"
    rb'customer|customer_id|email|ip|ip_address|request_id|consumer)"\s*:\s*")(?:[^"\\]|\\.)+"'
)
_STARRED_PATTERN = re.compile(r"[\w-]*\*{3,}[\w*-]*")
"""Matches a key of which a provider shows the beginning and the end."""
_ADDRESS_PATTERN = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?<![\w:])(?:[\da-fA-F]{0,4}:){3,7}[\da-fA-F]{1,4}"
)
_UUID_PATTERN = re.compile(r"\b[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}\b")
_OWN_MODEL_PATTERN = re.compile(r"^(ft:[^:]+|arn):(.+)$", re.DOTALL)
"""Matches the name of a fine-tuned or provisioned model, which has the owner in it."""


class RecordingRedactor:
    """Takes out of recordings what belongs to the user of one configuration."""

    def __init__(self, providers: Iterable[Provider], models: Iterable[str] = ()) -> None:
        """Take the credentials, headers and URLs of all providers, and the names of models."""
        self._secrets: dict[str, None] = {}
        masked_texts, hosts = set[str](), set[str]()
        for provider in providers:
            self._secrets.update((account.secret, None) for account in provider.accounts)
            masked_texts.update(account.secret for account in provider.accounts)
            masked_texts.update(
                value
                for name, value in provider.headers.items()
                if name.lower() not in _REQUEST_HEADERS
            )
            urls = [*provider.urls.values(), *provider.realtime.values()]
            urls += [account.base_url for account in provider.accounts]
            hosts.update(urlsplit(url).hostname or "" for url in urls)
        self._url_pattern = _compile_urls(hosts - {""})
        self._texts = sorted(
            (text for text in masked_texts if len(text) >= _MIN_SECRET_CHARS), key=len, reverse=True
        )
        self._models = {model: mask_model(model) for model in models if mask_model(model) != model}

    def note_credential(self, headers: Iterable[tuple[str, str]]) -> None:
        """Mask the credential of a request from now on: those of clouds change with time."""
        for name, value in headers:
            if name.lower() in _CREDENTIAL_HEADERS:
                self._secrets[value.removeprefix("Bearer ")] = None

    def mask_text(self, text: str) -> str:
        """Return a text without what belongs to the user."""
        return self.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def mask(self, data: bytes) -> bytes:
        """Return bytes without what belongs to the user; the very same if there is nothing."""
        for secret in self._secrets:
            data = credential_masking.mask_body(secret, data)
        for text in self._texts:
            data = data.replace(text.encode(), _MASK.encode())
        for model, masked_model in self._models.items():
            data = data.replace(model.encode(), masked_model.encode())
        if self._url_pattern is not None:
            data = self._url_pattern.sub(_MASK.encode(), data)
        data = _ID_PATTERN.sub(rb"\1\2***", data)
        data = _PROJECT_PATTERN.sub(rb"\1/***", data)
        return _MEMBER_PATTERN.sub(rb'\1***"', data)

    def mask_error(self, data: bytes) -> bytes:
        """Return the body of an error without what belongs to the user."""
        text = self.mask(data).decode("utf-8", "replace")
        text = _STARRED_PATTERN.sub(_MASK, redact_text(text))
        text = _UUID_PATTERN.sub(_MASK, _ADDRESS_PATTERN.sub(_MASK, text))
        return text.encode()

    def select_headers(
        self, headers: Sequence[tuple[str, str]], *, is_request: bool
    ) -> dict[str, str]:
        """Return the headers that are the same for every account."""
        allowed_names = _REQUEST_HEADERS if is_request else _RESPONSE_HEADERS
        selected: dict[str, str] = {}
        for name, value in headers:
            lower_name = name.lower()
            if lower_name in allowed_names:
                selected[lower_name] = self.mask_text(value)
            elif _LIMIT_HEADER_PATTERN.fullmatch(lower_name):
                selected[lower_name] = _MASK
        return selected


def _compile_urls(hosts: Iterable[str]) -> re.Pattern[bytes] | None:
    """Return a pattern of URLs on some hosts, and of the hosts alone; None without a host."""
    choice = "|".join(re.escape(host) for host in sorted(hosts, key=len, reverse=True))
    if not choice:
        return None
    pattern = rf"""(?i:(?:\w+://)?(?:{choice})(?::\d+)?(?:/[^\s"'\\]*)?)"""
    return re.compile(pattern.encode())


def mask_model(model: str) -> str:
    """Return the name of a model without its owner."""
    return _OWN_MODEL_PATTERN.sub(rf"\1:{_MASK}", model)


def list_providers(catalogue: Catalogue) -> list[Provider]:
    """List the providers of a catalogue, whether they are on or off."""
    providers = {
        id(target.provider): target.provider
        for lab in catalogue.labs.values()
        for targets in (*lab.tiers.values(), lab.embeddings)
        for target in targets
    }
    return [*providers.values(), *(owner.provider for owner in catalogue.name_owners)]
