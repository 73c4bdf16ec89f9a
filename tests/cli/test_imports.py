"""The modules that a gateway imports before it serves."""

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import sys
import gateway.cli.serve.command, gateway.server.app, fastapi
import fastapi.openapi.models as models, pydantic
built = models.OpenAPI.__pydantic_complete__
app = fastapi.FastAPI()
@app.get("/{name}")
def item(name: str, size: int = 1) -> fastapi.Response: ...
app.openapi()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"re2", "genai_prices", "redis"}))
optional = ("gateway.evaluation", "gateway.importers", "gateway.local_model")
print(sorted(name for name in sys.modules if name.startswith(optional)))
print(built, models.OpenAPI.__pydantic_complete__, pydantic.BaseModel.model_config)
"""


def test_serving_imports_what_it_needs_where_it_needs_it() -> None:
    """A gateway without patterns, list prices or Redis imports none of their libraries.

    It imports no optional packages either.

    FastAPI builds its OpenAPI models only when a document is requested. No other models are
    deferred in this way.
    """
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["[]", "[]", "False True {}"]
