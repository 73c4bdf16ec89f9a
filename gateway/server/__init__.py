"""The HTTP server: the endpoints that clients reach."""

from pydantic import BaseModel

# FastAPI describes OpenAPI in 45 models and builds them all at import. With `defer_build` they are
# built at the first request for /openapi.json. Most gateways never need these 1.3 MB.
BaseModel.model_config["defer_build"] = True
try:
    import fastapi as fastapi
finally:
    del BaseModel.model_config["defer_build"]
