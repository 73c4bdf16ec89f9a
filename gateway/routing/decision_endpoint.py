"""Find the endpoint of a decision model: its provider, and the form in which it is asked."""

from gateway.core.passthrough import PassThroughRoutes, ProviderEndpoint
from gateway.core.target import Catalogue
from gateway.routing import route_passthrough
from gateway.settings.passthrough import DECISION_TABLES, TABLES


def find_decision_endpoint(
    catalogue: Catalogue, routes: PassThroughRoutes, model: str
) -> ProviderEndpoint | None:
    """Return the endpoint that serves a decision model; None if no provider that is on has one.

    If a provider has both forms, the first of `DECISION_TABLES` is used. Raises ProblemError if
    several providers may serve the model.
    """
    endpoints: dict[str, ProviderEndpoint] = {}
    for table in DECISION_TABLES:
        for item in routes.list_endpoints(TABLES[table].endpoints[0].name):
            endpoints.setdefault(item.provider.name, item)
    if not endpoints:
        return None
    requested = catalogue.aliases.get(model, model)
    provider, slash, _ = requested.partition("/")
    candidates = [*endpoints.values()]
    if slash and (named := endpoints.get(provider)) is not None:
        candidates = [named]
    return route_passthrough.find_model(catalogue, candidates, requested, None).endpoint
