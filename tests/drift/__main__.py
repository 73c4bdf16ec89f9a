"""Search the newest official SDKs for members that a member list has no decision on.

python -m tests.drift         1 where there is anything; needs uv, and the package index
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.drift.search import SDKS

_ROOT = Path(__file__).parents[2]
_VENV = _ROOT / ".tools" / "drift"


def main() -> int:
    """Install the newest SDKs beside the tools, and search them; return the search's status."""
    python = str(_VENV / "bin" / "python")
    uv = shutil.which("uv") or str(_ROOT / ".tools" / "bin" / "uv")
    subprocess.run(
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(_VENV)], check=True
    )
    install = [uv, "pip", "install", "--quiet", "--upgrade", "--python", python, *SDKS]
    subprocess.run(install, check=True)
    # All else that the search imports is in the Python that runs this. A line in a .pth file comes
    # after the folder of the .pth file, so that the newest SDKs are found first.
    packages = next((_VENV / "lib").glob("python*")) / "site-packages"
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return subprocess.run([python, "-m", "tests.drift.search"], cwd=_ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
