"""What a gateway without patterns and without another's command line does not import."""

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import sys
from gateway.cli.spare import spare
spare()
import fastapi, gateway.cli.serve, gateway.http.app, httpx
app = fastapi.FastAPI()
@app.get("/{name}")
def item(name: str, size: int = 1) -> fastapi.Response: ...
app.openapi()
httpx.Request("GET", "http://x")
there = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
print(sorted(there & {"rich", "pygments", "re2", "genai_prices", "redis"}))
print(sys.modules["pydantic.v1"], "pydantic.v1.main" in sys.modules)
"""


def test_serving_imports_no_library_that_it_has_no_use_for() -> None:
    """They are installed where tests run, and would cost memory and each start its time."""
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["[]", "None False"]
