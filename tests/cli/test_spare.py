"""What a gateway without patterns and without another's command line does not import."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.spare import Hollow, Late

_PROGRAM = """
import sys
from gateway.cli.spare import spare
spare()
import gateway.cli.serve, gateway.http.app, fastapi, httpx
import fastapi.openapi.models as models, pydantic, uvicorn
built = models.OpenAPI.__pydantic_complete__
app = fastapi.FastAPI()
@app.get("/{name}")
def item(name: str, size: int = 1) -> fastapi.Response: ...
app.openapi()
httpx.Request("GET", "http://x")
uvicorn.Config(app, log_config=None).load()
there = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
unasked = {"multiprocessing", "pickle", "socketserver"}
print(sorted(there & {"rich", "pygments", "re2", "genai_prices", "redis", *unasked}))
import logging.config
stands = logging.config
print(stands.dictConfig is logging.config.dictConfig is not None, "socketserver" in sys.modules)
print(sys.modules["pydantic.v1"], "pydantic.v1.main" in sys.modules)
print(built, models.OpenAPI.__pydantic_complete__, pydantic.BaseModel.model_config)
"""


def test_serving_imports_no_library_that_it_has_no_use_for() -> None:
    """They are installed where tests run, and would cost memory and each start its time.

    What FastAPI describes OpenAPI with is built when a document is asked for, and nobody else's
    models are put off so.
    """
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    spared, late, unfound, built = told.stdout.splitlines()
    assert spared == "[]"
    assert late == "True True"  # whoever uses it has it
    assert (unfound, built) == ("None False", "False True {}")


def test_a_hollow_module_has_all_names_but_python_s_own() -> None:
    hollow = Hollow("some.library")
    assert hollow.__name__ == "some.library"
    assert hollow.Anything is None
    for module in (hollow, Late("logging.config")):
        with pytest.raises(AttributeError):
            _ = module.__path__
