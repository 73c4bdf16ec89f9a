"""HTTP: what clients reach."""

from pydantic import BaseModel

# FastAPI describes OpenAPI in 45 models and builds them all as it is imported. They are wanted when
# somebody asks for /openapi.json, and are then built: 1.3 MB that most gateways never need.
BaseModel.model_config["defer_build"] = True
try:
    import fastapi as fastapi
finally:
    del BaseModel.model_config["defer_build"]
