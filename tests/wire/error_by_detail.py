"""FastAPI hosts describe the error in `detail`."""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=422,
    sent=b'{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required"}]}',
    problem="upstream_rejected",
    shown=422,
    own=True,
)
