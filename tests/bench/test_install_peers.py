"""Other gateways are installed outside of the tree, in one pinned version each, or an error says why not."""

import os
import sys
from pathlib import Path

import msgspec
import pytest

from bench import install_peers, install_size, machine, measure, other_gateways, target
from bench.install_peers import PEER_PACKAGES, ROOT, PeerPackage
from bench.machine import Missing
from bench.other_gateways import OTHERS
from bench.peers import Place

LEAST = PeerPackage("least", "1.0", "least==1.0", "bin/least")


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def installed(package: PeerPackage) -> Path:
    """Create the program's file, as if the gateway were installed."""
    program = package.folder / package.program
    program.parent.mkdir(parents=True, exist_ok=True)
    program.touch(0o755)
    return program


@pytest.mark.parametrize("package", PEER_PACKAGES.values(), ids=lambda package: package.name)
def test_each_gateway_is_pinned_to_a_release_that_is_not_refused(package: PeerPackage) -> None:
    """The folder's name has the version, so a new version is installed anew; no folder is in the tree."""
    name, _, version = package.requirement.rpartition("@" if package.npm else "==")
    assert (bool(name), version) == (True, package.version)
    assert package.requirement.replace("[proxy]", "") not in install_peers.REFUSED
    assert package.folder.name == f"{package.name}-{package.version}"
    assert not package.folder.is_relative_to(ROOT)
    assert package.name not in (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.parametrize("refused", sorted(install_peers.REFUSED))
def test_the_bench_never_installs_releases_that_carried_malware(refused: str) -> None:
    package = msgspec.structs.replace(
        PEER_PACKAGES["litellm"], requirement=refused.replace("==", "[proxy]=="), version="0"
    )
    ran: list[list[str]] = []
    with pytest.raises(Missing, match="carried malware"):
        install_peers.install(package, ran.append)
    assert ran == []


def test_without_a_cache_folder_gateways_are_installed_in_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert install_peers.install_folder() == tmp_path / ".cache" / "tiergate-bench"


def test_an_installed_gateway_is_not_installed_again() -> None:
    ran: list[list[str]] = []
    program = installed(LEAST)
    install_peers.install(LEAST, ran.append)
    assert ran == []
    assert LEAST.find() == program


def test_a_failed_installation_is_removed() -> None:
    def fail(command: list[str]) -> None:
        (LEAST.folder / "half").touch()
        raise Missing(f"{command[0]} failed")

    with pytest.raises(Missing, match="failed"):
        install_peers.install(LEAST, fail)
    assert not LEAST.folder.exists()


def test_an_installation_without_its_program_is_an_error() -> None:
    with pytest.raises(Missing, match="least is not installed; install it with: make bench-peers"):
        install_peers.install(LEAST, lambda _: None)


def test_the_install_commands_use_the_available_tools(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The install uses uv if there is one, else pip, and no Python older than the gateway needs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "SBIN", "")
    monkeypatch.setattr(install_peers, "ROOT", tmp_path)
    inside = f"{LEAST.folder}/bin/python"
    assert install_peers.commands(LEAST) == [
        [sys.executable, "-m", "venv", str(LEAST.folder)],
        [inside, "-m", "pip", "install", "--quiet", "least==1.0"],
    ]
    (tmp_path / ".tools" / "bin").mkdir(parents=True)
    uv = tmp_path / ".tools" / "bin" / "uv"
    uv.touch(0o755)
    assert [command[0] for command in install_peers.commands(LEAST)] == [str(uv)] * 2
    later = msgspec.structs.replace(LEAST, python=(3, 99))
    with pytest.raises(KeyError):  # no package manager is known to have it
        install_peers.commands(later)
    (tmp_path / "python3.99").touch(0o755)
    assert str(tmp_path / "python3.99") in install_peers.commands(later)[0]
    npm = msgspec.structs.replace(LEAST, npm=True)
    with pytest.raises(Missing, match="node is missing; install it with: "):
        install_peers.commands(npm)
    for name in ("node", "npm"):
        (tmp_path / name).touch(0o755)
    ((program, *words),) = install_peers.commands(npm)
    assert program == str(tmp_path / "npm")
    assert "--ignore-scripts" in words
    assert words[-1] == "least==1.0"


def test_the_error_of_a_failed_command_has_its_output() -> None:
    install_peers.run([sys.executable, "-c", ""])
    with pytest.raises(Missing, match=r"-c .* failed: no such version"):
        install_peers.run([sys.executable, "-c", "raise SystemExit('no such version')"])
    with pytest.raises(Missing, match="/none: No such file"):
        install_peers.run(["/none"])


def test_the_bench_installs_every_gateway_and_reports_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(package: PeerPackage) -> None:
        if package.npm:
            raise Missing("node is missing")

    monkeypatch.setattr(install_peers, "install", install)
    assert install_peers.main() == 1
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(PEER_PACKAGES)
    assert printed[-1] == "portkey: node is missing"
    assert printed[0] == f"ferrogw 1.5.10 is in {PEER_PACKAGES['ferrogw'].folder}"


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_each_gateway_gets_only_its_port_and_the_url_of_the_mock(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each gateway reads them elsewhere: in a file, the environment, or the request."""
    (tmp_path / "node").touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Missing, match="make bench-peers"):
        OTHERS[name]()
    program = installed(OTHERS[name].package())
    folder = tmp_path / "place"
    folder.mkdir()
    place = Place(folder, 1234, 5678)
    peer = OTHERS[name]()
    command, ask = peer.command(place), peer.ask(place)
    assert str(program) in command[:2]
    files = b"".join(file.read_bytes() for file in sorted(folder.iterdir())).decode()
    settings = " ".join(
        [files, *command, *peer.environment(place).values(), *map(str, ask.headers)]
    )
    assert "1234" in settings
    assert "http://127.0.0.1:5678" in settings
    assert "https://" not in settings
    assert peer.version() == OTHERS[name].package().version
    assert peer.foreign
    assert peer.weight() is not None
    assert (peer.scenes or set()) <= {scene.name for scene in measure.SCENES}


def test_litellm_in_rust_is_the_same_installation_with_its_core_and_server_in_rust(
    tmp_path: Path,
) -> None:
    program = installed(PEER_PACKAGES["litellm"])
    place = Place(tmp_path, 1234, 5678)
    python, rust = OTHERS["litellm"](), OTHERS["litellm-rust"]()
    assert python.command(place)[0] == rust.command(place)[0] == str(program)
    assert rust.command(place) == [*python.command(place), "--run_granian"]
    assert rust.environment(place) == python.environment(place) | {"LITELLM_RUST": "true"}


def test_every_gateway_in_rust_has_a_target() -> None:
    of_shipped = {aim.base for aim in target.TARGETS if aim.peer == target.SHIPPED}
    assert set(target.RUST) <= set(OTHERS) & of_shipped


def test_a_gateway_without_streaming_is_not_measured_in_streams() -> None:
    streams = {scene.name for scene in measure.SCENES if scene.stream}
    assert {scene.name for scene in measure.SCENES} - streams == other_gateways.WHOLE


def test_the_size_of_a_distribution_is_that_of_its_listed_files(tmp_path: Path) -> None:
    """The program outside of the packages' folder counts, too; compiled bytecode does not."""
    packages = tmp_path / "lib" / "python3.13" / "site-packages"
    information = packages / "least-1.0.dist-info"
    information.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "least").write_bytes(b"x" * 1000)
    (packages / "least.py").write_bytes(b"x" * 100)
    (packages / "least.pyc").write_bytes(b"x" * 10)
    (packages / "other.py").write_bytes(b"x")
    (information / "METADATA").write_text("Metadata-Version: 2.4\nName: least\nVersion: 1.0\n")
    (information / "RECORD").write_text(
        "../../../bin/least,,\nleast.py,,\nleast.pyc,,\ngone.py,,\n"
    )
    assert install_size.venv(tmp_path) == install_size.Weight(1100, 1)


def test_the_size_of_npm_modules_is_that_of_all_their_files(tmp_path: Path) -> None:
    for name in ("one", "@some/two", ".bin"):
        folder = tmp_path / "node_modules" / name
        folder.mkdir(parents=True)
        (folder / "package.json").write_bytes(b"x" * 10)
    assert install_size.modules(tmp_path) == install_size.Weight(30, 2)


def test_the_core_is_measured_without_test_tools() -> None:
    """The core stays under the floor: 60 MB and 40 distributions."""
    seen = install_size.core(ROOT / "gateway")
    assert 10e6 < seen.bytes < 60e6
    assert 15 < seen.distributions < 40
