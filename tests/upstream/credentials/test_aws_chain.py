"""Sources of a credential of AWS: each one, their order, and what an error says."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.upstream.credentials.aws.token_service import get_endpoint
from gateway.upstream.credentials.request_signer import CredentialError, CredentialStatus
from tests.upstream.credentials.aws_cloud import ROLE, SECRET_MARK, AwsCloud, Clock
from tests.upstream.credentials.aws_search import (
    fetch_error,
    fetch_status,
    make_signer,
    write_files,
)

pytestmark = pytest.mark.jumping_clock

KEY = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": f"{SECRET_MARK}-env"}


@pytest.fixture
async def cloud() -> AsyncIterator[AwsCloud]:
    cloud = AwsCloud(Clock())
    await cloud.start()
    yield cloud
    await cloud.close()


def write_web_token(folder: Path) -> str:
    path = folder / "token"
    path.write_text(f"header.{SECRET_MARK}-web-identity-1.signature\n", encoding="utf-8")
    return str(path)


async def test_the_first_source_that_is_configured_is_the_only_one_asked(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    files = write_files(
        tmp_path, credentials="[default]\naws_access_key_id=AKIDFILE\naws_secret_access_key=s\n"
    )
    del files["AWS_EC2_METADATA_DISABLED"]
    container = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/credentials/task"}
    web = {"AWS_WEB_IDENTITY_TOKEN_FILE": write_web_token(tmp_path), "AWS_ROLE_ARN": ROLE}
    empty = {"HOME": str(tmp_path / "nobody")}
    orders: list[tuple[dict[str, str], str, list[str]]] = [
        (KEY | web | files | container, "AWS, environment", []),
        (web | files | container, "AWS, web identity", ["sts"]),
        (files | container, "AWS, profile `default`", []),
        (
            empty | container,
            "AWS, container role",
            ["container"],
        ),
        (empty, "AWS, instance role (IMDSv2)", ["metadata token", "metadata", "metadata"]),
    ]
    for environ, source, services in orders:
        cloud.asked.clear()
        assert (await fetch_status(cloud, environ)).source == source
        assert cloud.asked == services


async def test_each_source_says_what_it_lacked(cloud: AwsCloud) -> None:
    cloud.answers["metadata token"] = 404, b""
    assert await fetch_error(cloud, {}) == (
        "AWS gives this machine no credential: environment: AWS_ACCESS_KEY_ID is not set; "
        "web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set; "
        "profile: ~/.aws/config and ~/.aws/credentials have no profile `default`; "
        "container: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor "
        "AWS_CONTAINER_CREDENTIALS_FULL_URI is set; "
        "instance metadata: 169.254.169.254 answers 404 to the question for a session token (this is "
        "not EC2, or a container behind the instance's hop limit of 1)."
    )
    assert (await fetch_error(cloud, {"AWS_EC2_METADATA_DISABLED": "true"})).endswith(
        "instance metadata: AWS_EC2_METADATA_DISABLED is true."
    )


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"AWS_ACCESS_KEY_ID": "A"}, "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not"),
        (KEY | {"AWS_SESSION_TOKEN": "a\nb"}, "the session token is empty or has characters"),
        (KEY | {"AWS_ACCESS_KEY_ID": "ä"}, "the access key id is empty or has characters"),
        (KEY | {"AWS_CREDENTIAL_EXPIRATION": "soon"}, "is no time of ISO 8601"),
        (
            KEY | {"AWS_CREDENTIAL_EXPIRATION": "2001-01-01T00:00:00"},
            "credential of AWS, environment has ended already",
        ),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/none"}, "and AWS_ROLE_ARN is not"),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/none", "AWS_ROLE_ARN": ROLE},
            "/none cannot be read: No such file or directory",
        ),
        ({"AWS_PROFILE": "lab"}, "have no profile `lab`"),
    ],
)
async def test_a_source_that_is_configured_and_fails_ends_the_search(
    cloud: AwsCloud, environ: dict[str, str], reason: str
) -> None:
    assert reason in await fetch_error(cloud, environ)
    assert cloud.sent == []


async def test_an_environment_with_a_session_token_and_an_end_shows_the_end(
    cloud: AwsCloud,
) -> None:
    status = await fetch_status(
        cloud,
        KEY | {"AWS_SESSION_TOKEN": "t", "AWS_CREDENTIAL_EXPIRATION": "2033-05-18T03:33:20Z"},
    )
    assert status == CredentialStatus(source="AWS, environment", identity="AKIDENV", expires_at=2e9)


async def test_web_identity_asks_sts_of_the_region_with_the_token_of_the_file(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    environ = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": write_web_token(tmp_path),
        "AWS_ROLE_ARN": ROLE,
        "AWS_ROLE_SESSION_NAME": "pod-1",
    }
    status = await fetch_status(cloud, environ)
    assert status.identity == "arn:aws:sts::1:assumed-role/gateway/pod-1"
    assert status.expires_at == cloud.clock.now + 3600
    assert cloud.sent == [("sts.eu-central-1.amazonaws.com", None)]
    assert cloud.forms == [
        {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": ROLE,
            "RoleSessionName": "pod-1",
            "WebIdentityToken": f"header.{SECRET_MARK}-web-identity-1.signature",
        }
    ]


async def test_an_empty_token_file_says_so(cloud: AwsCloud, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(" \n", encoding="utf-8")
    environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(path), "AWS_ROLE_ARN": ROLE}
    assert f"{path} is empty" in await fetch_error(cloud, environ)


async def test_an_error_of_sts_shows_no_part_of_the_token(cloud: AwsCloud, tmp_path: Path) -> None:
    environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": write_web_token(tmp_path), "AWS_ROLE_ARN": ROLE}
    cloud.web_tokens.clear()
    assert (
        f"sts.eu-central-1.amazonaws.com refused AssumeRoleWithWebIdentity for {ROLE}: "
        "InvalidIdentityToken: It is refused: ***"
    ) in await fetch_error(cloud, environ)
    part = f"{SECRET_MARK}-web-identity-1"
    cloud.answers["sts"] = (
        400,
        f"<E><Error><Message>a&#10;b{part}.sig and eyJ{part}</Message></Error></E>".encode(),
    )
    assert "a b*** and eyJ***" in await fetch_error(cloud, environ)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, b"\xff"), "status 500"),
        ((302, b""), "status 302"),
        ((200, b"<a>"), "the answer of STS has no AccessKeyId"),
        ((200, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"), "the answer of STS has no AccessKeyId"),
        ((200, b"<a><Credentials/></a>"), "the answer of STS has no AccessKeyId"),
        ((200, b"x" * 110_000), "answers more than 100,000 bytes"),
    ],
)
async def test_sts_may_answer_anything(
    cloud: AwsCloud, tmp_path: Path, answer: tuple[int, bytes], reason: str
) -> None:
    environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": write_web_token(tmp_path), "AWS_ROLE_ARN": ROLE}
    cloud.answers["sts"] = answer
    assert reason in await fetch_error(cloud, environ)
    assert cloud.counts["sts"] == 1  # a redirect is not followed


def test_the_endpoint_of_sts_is_the_regions_unless_the_environment_has_one() -> None:
    for region, host in {
        "eu-central-1": "sts.eu-central-1.amazonaws.com",
        "us-gov-west-1": "sts.us-gov-west-1.amazonaws.com",
        "cn-north-1": "sts.cn-north-1.amazonaws.com.cn",
        "eusc-de-east-1": "sts.eusc-de-east-1.amazonaws.eu",
        "us-iso-east-1": "sts.us-iso-east-1.c2s.ic.gov",
        "us-isob-east-1": "sts.us-isob-east-1.sc2s.sgov.gov",
    }.items():
        assert get_endpoint(region, {}) == f"https://{host}/"
    both = {"AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_STS": "http://sts:2"}
    assert get_endpoint("eu-central-1", both) == "http://sts:2"
    assert get_endpoint("eu-central-1", {"AWS_ENDPOINT_URL": "http://all:1"}) == "http://all:1"
    for text in ("sts.amazonaws.com", "http://", "http://a\x00b", "ftp://sts"):
        with pytest.raises(CredentialError, match="AWS_ENDPOINT_URL_STS is no"):
            get_endpoint("eu-central-1", {"AWS_ENDPOINT_URL_STS": text})


async def test_a_role_is_assumed_with_the_credential_of_the_chain(cloud: AwsCloud) -> None:
    name = cloud.add_key(f"{SECRET_MARK}-env", f"{SECRET_MARK}-session")
    environ = {
        "AWS_ACCESS_KEY_ID": name,
        "AWS_SECRET_ACCESS_KEY": f"{SECRET_MARK}-env",
        "AWS_SESSION_TOKEN": f"{SECRET_MARK}-session",
    }
    status = await fetch_status(cloud, environ, role=ROLE)
    assert status.source == f"AWS, environment, then {ROLE}"
    assert status.identity == "arn:aws:sts::1:assumed-role/gateway/tiergate"
    environ["AWS_SECRET_ACCESS_KEY"] = "wrong"
    assert f"refused AssumeRole for {ROLE}: InvalidSignatureException" in await fetch_error(
        cloud, environ, role=ROLE
    )


async def test_sts_is_asked_through_the_proxy_and_metadata_without_one(cloud: AwsCloud) -> None:
    signer = make_signer(cloud, {}, role=ROLE, proxy="http://proxy:3128")
    await signer.fetch_status()
    assert cloud.sent == [("169.254.169.254", None)] * 3 + [
        ("sts.eu-central-1.amazonaws.com", "http://proxy:3128")
    ]
    await signer.close()


async def test_a_profile_of_the_settings_is_the_only_source(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    environ = KEY | write_files(
        tmp_path,
        config="[profile lab]\nregion = x\n",
        credentials="[lab]\naws_access_key_id = AKIDLAB\naws_secret_access_key = s\naws_session_token = t\n[bare]\n",
    )
    assert (await fetch_status(cloud, environ, profile="lab")).identity == "AKIDLAB"
    assert await fetch_error(cloud, environ, profile="bare") == (
        "AWS gives this machine no credential: profile: the profile `bare` has no setting of a credential."
    )


CONFIG = """
[default]
s3 =
  signature_version = s3v4
[sso-session corp]
sso_region = us-east-1
[profile "with space"]
aws_access_key_id = AKIDSPACE
aws_secret_access_key = s
["broken]
[profile broken-quote"]
[profile keyless]
[profile half]
aws_access_key_id = AKIDHALF
[profile own]
role_arn = arn:aws:iam::1:role/own
source_profile = own
external_id = e-1
duration_seconds = 900
role_session_name = s-1
[profile chained]
role_arn = arn:aws:iam::1:role/chained
source_profile = middle
[profile middle]
role_arn = arn:aws:iam::1:role/middle
source_profile = own
[profile circle]
role_arn = arn:aws:iam::1:role/circle
source_profile = circle-2
[profile circle-2]
role_arn = arn:aws:iam::1:role/circle
source_profile = circle
[profile nowhere]
role_arn = arn:aws:iam::1:role/x
source_profile = missing
[profile both]
role_arn = arn:aws:iam::1:role/x
source_profile = own
credential_source = Environment
[profile neither]
role_arn = arn:aws:iam::1:role/x
[profile mfa]
role_arn = arn:aws:iam::1:role/x
source_profile = own
mfa_serial = arn:aws:iam::1:mfa/x
[profile environment]
role_arn = arn:aws:iam::1:role/environment
credential_source = Environment
[profile ecs]
role_arn = arn:aws:iam::1:role/ecs
credential_source = EcsContainer
[profile ec2]
role_arn = arn:aws:iam::1:role/ec2
credential_source = Ec2InstanceMetadata
[profile odd]
role_arn = arn:aws:iam::1:role/x
credential_source = Odd
[profile web]
role_arn = arn:aws:iam::1:role/web
web_identity_token_file = TOKEN_FILE
[profile web-roleless]
web_identity_token_file = TOKEN_FILE
[profile sso]
sso_session = corp
[profile process-and-key]
credential_process = false
aws_access_key_id = AKIDCONFIG
aws_secret_access_key = s
"""


@pytest.fixture
def profiles(cloud: AwsCloud, tmp_path: Path) -> dict[str, str]:
    """Return an environment whose files have many profiles; `own` has a key of the cloud."""
    name = cloud.add_key(f"{SECRET_MARK}-own")
    return write_files(
        tmp_path,
        CONFIG.replace("TOKEN_FILE", write_web_token(tmp_path)),
        f"[own]\naws_access_key_id = {name}\naws_secret_access_key = {SECRET_MARK}-own\n",
    )


@pytest.mark.parametrize(
    ("profile", "identity", "roles"),
    [
        ("with space", "AKIDSPACE", []),
        ("own", "assumed-role/own/s-1", ["own"]),
        ("chained", "assumed-role/chained/tiergate", ["middle", "chained"]),
        ("ec2", "assumed-role/ec2/tiergate", ["ec2"]),
        ("web", "assumed-role/web/tiergate", ["web"]),
        ("process-and-key", "AKIDCONFIG", []),
    ],
)
async def test_a_profile_gives_a_credential(
    cloud: AwsCloud, profiles: dict[str, str], profile: str, identity: str, roles: list[str]
) -> None:
    del profiles["AWS_EC2_METADATA_DISABLED"]
    status = await fetch_status(cloud, profiles | {"AWS_PROFILE": profile})
    assert str(status.identity).endswith(identity)
    assert status.source.startswith(f"AWS, profile `{profile}`")
    assert [form["RoleArn"].rpartition("/")[2] for form in cloud.forms] == roles
    if profile == "own":
        assert cloud.forms[0]["ExternalId"] == "e-1"
        assert cloud.forms[0]["DurationSeconds"] == "900"


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ("keyless", "the profile `keyless` has no setting of a credential; container: neither"),
        ("half", "the profile `half` has no aws_secret_access_key"),
        ("circle", "source_profile goes round in a circle: circle -> circle-2 -> circle"),
        ("nowhere", "the profile `nowhere` needs another credential: "),
        ("both", "needs source_profile or credential_source"),
        ("neither", "needs source_profile or credential_source"),
        ("mfa", "the profile `mfa` has mfa_serial: the gateway cannot ask for a code"),
        ("environment", "needs another credential: AWS_ACCESS_KEY_ID is not set"),
        ("ecs", "needs another credential: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor"),
        ("odd", "credential_source Odd; there are Environment, EcsContainer, Ec2InstanceMetadata"),
        ("web-roleless", "has web_identity_token_file and no role_arn"),
        ("sso", "`credential_process = aws configure export-credentials --profile sso`"),
        ("broken-quote", "have no profile `broken-quote`"),
        ("sso-session corp", "have no profile `sso-session corp`"),
    ],
)
async def test_a_profile_that_gives_none_says_why(
    cloud: AwsCloud, profiles: dict[str, str], profile: str, reason: str
) -> None:
    assert reason in await fetch_error(cloud, profiles | {"AWS_PROFILE": profile})
    assert cloud.sent == []


async def test_a_profile_with_a_duration_asks_for_it_with_its_web_token(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    environ = write_files(
        tmp_path,
        f"[default]\nrole_arn = {ROLE}\nduration_seconds = 7200\n"
        f"web_identity_token_file = {write_web_token(tmp_path)}\n",
    )
    await fetch_status(cloud, environ)
    assert cloud.forms[0]["DurationSeconds"] == "7200"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"aws_secret_access_key = {SECRET_MARK}\n".encode(), "cannot be read: line 1 is wrong"),
        (f"[default]\na = 1\n{SECRET_MARK}\n".encode(), "cannot be read: line 3 is wrong"),
        (b"\xff", "is not UTF-8"),
        (b"#" * 1_000_001, "is longer than 1000000 bytes"),
        (None, "cannot be read: Is a directory"),
    ],
)
async def test_a_file_that_cannot_be_read_is_named_and_not_quoted(
    cloud: AwsCloud, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / ".aws" / "credentials"
    path.parent.mkdir()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    message = await fetch_error(cloud, {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "1"})
    assert reason in message
    assert ".aws/credentials" in message


async def test_a_home_of_another_user_is_passed_over_and_a_named_file_is_not(
    cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read anything, so that the file system cannot show it."""

    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", f"{path} {mode}")

    monkeypatch.setattr(Path, "open", refuse)
    environ = {"HOME": "/root", "AWS_PROFILE": ""}
    assert (await fetch_status(cloud, environ)).source == "AWS, instance role (IMDSv2)"
    assert "/a cannot be read: Permission denied" in await fetch_error(
        cloud, {"AWS_CONFIG_FILE": "/a"}
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.170.2/credentials/task",
        "http://169.254.170.23/credentials/task",
        "http://[fd00:ec2::23]/credentials/task",
        "http://127.0.0.1:9/credentials/task",
        "http://[::1]/credentials/task",
        "http://localhost/credentials/task",
        "https://agent.example/credentials/task",
    ],
)
async def test_a_container_agent_on_an_allowed_host_is_asked(cloud: AwsCloud, url: str) -> None:
    status = await fetch_status(cloud, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url})
    assert status.source == "AWS, container role"
    assert status.identity == ROLE
    assert cloud.sent == [(httpx.URL(url).host, None)]


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/credentials/task",
        "http://169.254.170.2.evil.example/",
        "http://169.254.170.2@evil.example/",
        "http://localhost.evil.example/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://[2001:db8::1]/",
        "http://2130706433/",
    ],
)
async def test_a_container_agent_on_a_foreign_host_is_never_asked(
    cloud: AwsCloud, url: str
) -> None:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": SECRET_MARK,
    }
    assert "http:// reaches only this machine, 169.254.170.2, 169.254.170.23" in await fetch_error(
        cloud, environ
    )
    assert cloud.sent == []


async def test_a_relative_uri_cannot_name_another_host(cloud: AwsCloud) -> None:
    environ = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "@evil.example/"}
    assert "does not begin with a slash" in await fetch_error(cloud, environ)
    assert cloud.sent == []


async def test_the_agents_token_comes_from_its_file_before_the_environment(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    """EKS Pod Identity names its agent and the token's file."""
    path = tmp_path / "eks-token"
    path.write_text(f"{SECRET_MARK}-eks", encoding="utf-8")
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/credentials/task",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": f"Basic {SECRET_MARK}",
    }
    cloud.container_token = f"Basic {SECRET_MARK}"
    await fetch_status(cloud, environ)
    environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(path)
    assert "169.254.170.23 answers 403" in await fetch_error(cloud, environ)
    cloud.container_token = f"{SECRET_MARK}-eks"
    await fetch_status(cloud, environ)
    path.write_text(f"{SECRET_MARK}\r\nx: y", encoding="utf-8")
    assert "the token of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE has" in await fetch_error(
        cloud, environ
    )
    path.unlink()
    assert f"{path} cannot be read: No such file" in await fetch_error(cloud, environ)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, b"{}"), "the credential in JSON cannot be read: Object missing required field"),
        ((200, b'{"AccessKeyId": "a", "SecretAccessKey": ""}'), "the secret access key is empty"),
        ((302, b""), "169.254.170.2 answers 302"),
        ((500, SECRET_MARK.encode()), "169.254.170.2 answers 500"),
    ],
)
async def test_a_container_agent_may_answer_anything(
    cloud: AwsCloud, answer: tuple[int, bytes], reason: str
) -> None:
    cloud.answers["container"] = answer
    environ = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/credentials/task"}
    assert reason in await fetch_error(cloud, environ)
    assert cloud.counts["container"] == 1


async def test_instance_metadata_is_asked_at_the_address_of_the_environment(
    cloud: AwsCloud,
) -> None:
    assert (await fetch_status(cloud, {})).identity == "gateway-role"
    await fetch_status(cloud, {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"})
    await fetch_status(cloud, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.9:1"})
    assert [host for host, _ in cloud.sent] == (
        ["169.254.169.254"] * 3 + ["fd00:ec2::254"] * 3 + ["127.0.0.9"] * 3
    )


@pytest.mark.parametrize(
    ("service", "answer", "reason"),
    [
        (
            "metadata token",
            (302, b""),
            "169.254.169.254 answers 302 to the question for a session token",
        ),
        ("metadata token", (200, b""), "the metadata service gave no session token"),
        ("metadata token", (200, b"a\r\nb: c"), "the metadata service gave no session token"),
        ("metadata", (302, b""), "169.254.169.254 answers 302"),
        ("metadata", (404, b""), "169.254.169.254 answers 404"),
        ("metadata", (200, b"<html> "), "the credential in JSON cannot be read"),
    ],
)
async def test_instance_metadata_may_answer_anything(
    cloud: AwsCloud, service: str, answer: tuple[int, bytes], reason: str
) -> None:
    """A redirect is not followed: the cloud would count what it leads to."""
    cloud.answers[service] = answer
    assert reason in await fetch_error(cloud, {})
    assert {host for host, _ in cloud.sent} == {"169.254.169.254"}


async def test_metadata_version_1_is_never_asked(cloud: AwsCloud) -> None:
    cloud.answers["metadata token"] = 403, b""
    await fetch_error(cloud, {})
    assert cloud.asked == ["metadata token"]


async def test_a_credential_that_metadata_did_not_renew_lasts_for_five_minutes_more(
    cloud: AwsCloud,
) -> None:
    cloud.lifetime = -60.0
    assert (await fetch_status(cloud, {})).expires_at == cloud.clock.now + 300


async def test_a_credential_without_an_end_is_taken(cloud: AwsCloud) -> None:
    cloud.answers["metadata"] = 200, b'{"AccessKeyId":"A","SecretAccessKey":"s","Token":"t"}'
    assert (await fetch_status(cloud, {})).expires_at is None


def test_no_name_of_a_file_or_variable_is_misspelled() -> None:
    """All variables that the code reads are those of AWS's SDKs."""
    folder = Path(__file__).parents[3] / "gateway/upstream/credentials/aws"
    names = {
        name
        for path in folder.glob("*.py")
        for name in re.findall(r'"(AWS_[A-Z0-9_]+)"', path.read_text(encoding="utf-8"))
    }
    assert names == {
        "AWS_ACCESS_KEY_ID",
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_STS",
        "AWS_PROFILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    }
