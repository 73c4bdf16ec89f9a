"""The two files of AWS's own tools: `~/.aws/config` and `~/.aws/credentials`."""

import configparser
import shlex
from collections.abc import Mapping

import msgspec

from gateway.upstream.credentials.aws.read_file import expand_home, read_file
from gateway.upstream.credentials.request_signer import CredentialError

_CONFIG_PATH = "~/.aws/config"
_CREDENTIALS_PATH = "~/.aws/credentials"

type Profile = Mapping[str, str]
"""The settings of a profile by their names in lower case."""


class SharedFiles(msgspec.Struct, frozen=True):
    """The profiles of both files, and where they were read."""

    profiles: Mapping[str, Profile]
    paths: tuple[str, str]


async def read_shared_files(environ: Mapping[str, str]) -> SharedFiles:
    """Read both files; one that is missing has no profile. Raises CredentialError.

    A default file that must not be read is missing too: HOME may be another user's in a container.
    A setting of the credentials file wins over the same one of the config file.
    """
    config_path = environ.get("AWS_CONFIG_FILE") or _CONFIG_PATH
    credentials_path = environ.get("AWS_SHARED_CREDENTIALS_FILE") or _CREDENTIALS_PATH
    profiles: dict[str, dict[str, str]] = {}
    for section, settings in (await _read_sections(config_path, environ)).items():
        if (name := _get_profile_name(section)) is not None:
            profiles.setdefault(name, {}).update(settings)
    for name, settings in (await _read_sections(credentials_path, environ)).items():
        profiles.setdefault(name, {}).update(settings)
    return SharedFiles(profiles, (config_path, credentials_path))


async def _read_sections(path: str, environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    try:
        text = await read_file(expand_home(path, environ))
    except OSError as error:
        is_default = path in {_CONFIG_PATH, _CREDENTIALS_PATH}
        if isinstance(error, FileNotFoundError) or (
            is_default and isinstance(error, PermissionError)
        ):
            return {}
        raise CredentialError(f"{path} cannot be read: {error.strerror}") from None
    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(text)
    except configparser.Error as error:  # its message quotes lines
        line = getattr(error, "lineno", None) or next(iter(getattr(error, "errors", [])), (0,))[0]
        raise CredentialError(f"{path} cannot be read: line {line} is wrong") from None
    return {section: dict(parser[section]) for section in parser.sections()}


def _get_profile_name(section: str) -> str | None:
    """Return the profile that a section of the config file is for: `default`, `profile NAME`."""
    if section == "default":
        return section
    try:
        words = shlex.split(section)
    except ValueError:
        return None
    return words[1] if len(words) == 2 and words[0] == "profile" else None
