"""Mount secrets as Kubernetes does, for tests of what happens when they change."""

from pathlib import Path


def mount_secrets(folder: Path, number: int, **secrets: str) -> None:
    """Write version `number` of secrets into a new folder, and swap the link that leads to it."""
    version = folder / f"..{number}"
    version.mkdir(parents=True)
    for name, text in secrets.items():
        (version / name).write_text(text)
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")
