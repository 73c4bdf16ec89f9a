"""The model name, the headers and the key: what a call asks for by name, before rules decide."""

from typing import NamedTuple

import msgspec

from gateway.core.decision import TraceStep
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import TIERS, Catalogue, Lab, Tier
from gateway.routing import refusals, route_embeddings, unlisted_models, visible_models
from gateway.routing.features import Features
from gateway.routing.unlisted_models import UnlistedModel

_AUTO_NAMES = ("auto", "claude-auto")
"""Names that leave the tier open. Claude Code lists only names that contain "claude"."""


class RequestedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The lab, tier and model that a call asks for.

    `tier` None leaves the tier to the rules and the classifier.
    """

    lab: str
    is_lab_named: bool
    """True if the caller named the lab, or a model of it: the gateway uses no other lab."""
    tier: Tier | None = None
    model: str | None = None
    unlisted_model: UnlistedModel | None = None
    """The model, if no lab lists it. `tier` may be None, and then stays None."""
    family: str | None = None
    """The prefix of the model's name that chose the tier."""
    steps: tuple[TraceStep, ...] = ()

    @property
    def is_tier_open(self) -> bool:
        """True if the rules and the classifier choose the tier."""
        return self.tier is None and self.unlisted_model is None


class _ResolvedName(NamedTuple):
    """The meaning of a model name."""

    lab: str
    tier: Tier | None = None
    model: str | None = None
    unlisted_model: UnlistedModel | None = None
    family: str | None = None
    is_lab_fixed: bool = False
    """True if the lab makes the model: the gateway uses no other lab."""


def read(call: Features, catalogue: Catalogue) -> RequestedModel:
    """Resolve the names of a call. Raises ProblemError: model_not_found, not_allowed."""
    steps: list[TraceStep] = []
    requested_name = call.prompt.model
    if requested_name in catalogue.aliases:
        name = catalogue.aliases[requested_name]
        steps.append(
            TraceStep(
                step="pin", matched=True, effect=f"model {name}", reason=f"alias {requested_name}"
            )
        )
        requested_name = name
    prefix_lab = _find_prefix_lab(requested_name, catalogue)
    named_lab = call.options.lab or prefix_lab
    lab = named_lab or call.key.lab or catalogue.default_lab
    _require_lab(lab, call, catalogue)
    bare_name = requested_name.partition("/")[2] if prefix_lab else requested_name
    resolved = _resolve_name(
        requested_name, bare_name, lab, catalogue, call, is_lab_named=bool(named_lab)
    )
    lab, tier, model = resolved.lab, resolved.tier, resolved.model
    if call.options.tier is not None:
        tier, model = _parse_tier(call.options.tier), None
        resolved = _ResolvedName(lab, tier)
        steps.append(
            TraceStep(step="pin", matched=True, effect=f"tier {tier}", reason="x-tiergate-tier")
        )
    elif resolved.unlisted_model is not None:
        effect = f"{lab}/{tier}, model {model}" if tier is not None else f"{lab}, model {model}"
        reason = f"no lab lists it; it is a model of {resolved.unlisted_model.owner.provider.name}"
        steps.append(TraceStep(step="pin", matched=True, effect=effect, reason=reason))
    elif model is not None:
        effect = f"{lab}/{tier}, model {model}"
        steps.append(TraceStep(step="pin", matched=True, effect=effect, reason="a real model name"))
    elif resolved.family is not None:
        reason = (
            f"{requested_name!r}: none of its providers is on,"
            f" so its family {resolved.family} chooses the tier"
        )
        steps.append(TraceStep(step="pin", matched=True, effect=f"{lab}/{tier}", reason=reason))
    elif tier is not None:
        effect = f"{lab}/{tier}"
        steps.append(
            TraceStep(step="pin", matched=True, effect=effect, reason=f"model {requested_name!r}")
        )
    else:
        reason = f"{requested_name!r} leaves the tier open"
        steps.append(TraceStep(step="pin", matched=False, effect=f"lab {lab}", reason=reason))
    return RequestedModel(
        lab=lab,
        is_lab_named=bool(named_lab) or model is not None or resolved.is_lab_fixed,
        tier=tier,
        model=model,
        unlisted_model=resolved.unlisted_model,
        family=resolved.family,
        steps=tuple(steps),
    )


def leaves_tier_open(call: Features, catalogue: Catalogue) -> bool:
    """True if a call leaves the tier open: what `read` would find, but quicker."""
    if call.options.tier is not None:
        return False
    requested_name = call.prompt.model
    name = catalogue.aliases.get(requested_name, requested_name)
    return name in _AUTO_NAMES or name.endswith("/auto")


def _find_prefix_lab(requested_name: str, catalogue: Catalogue) -> str | None:
    lab, slash, bare_name = requested_name.partition("/")
    if not slash or lab not in catalogue.labs:
        return None
    if bare_name in ("auto", *TIERS):
        return lab
    if any(endpoint.lab == lab for endpoint in catalogue.models.get(bare_name, ())):
        return lab
    if requested_name in catalogue.models:
        return None
    models = unlisted_models.find_all(requested_name, catalogue)
    is_lab = any(model.lab == lab and model.name != requested_name for model in models)
    return lab if is_lab else None


def _resolve_name(
    requested_name: str,
    bare_name: str,
    lab: str,
    catalogue: Catalogue,
    call: Features,
    *,
    is_lab_named: bool,
) -> _ResolvedName:
    """Return the meaning of a name, for a lab that the caller named or not. Raises ProblemError."""
    if bare_name in _AUTO_NAMES:
        return _ResolvedName(lab)
    if bare_name in TIERS:
        return _ResolvedName(lab, _parse_tier(bare_name))
    has_provider_prefix = any(
        endpoint.target.name == requested_name
        for endpoint in catalogue.models.get(requested_name, ())
    )
    for name in (requested_name, bare_name) if has_provider_prefix else (bare_name, requested_name):
        endpoints = catalogue.models.get(name, ())
        lab_endpoints = [endpoint for endpoint in endpoints if endpoint.lab == lab]
        if lab_endpoints or (endpoints and not is_lab_named):
            endpoint = (lab_endpoints or endpoints)[0]
            return _ResolvedName(endpoint.lab, endpoint.tier, name, is_lab_fixed=True)
    if {requested_name, bare_name} & catalogue.models.keys():
        raise _refuse_unserved(call, lab)
    if _is_embedding_name(requested_name, bare_name, catalogue):
        raise _refuse_unknown(requested_name, bare_name, catalogue, call)
    unlisted_model = unlisted_models.resolve(
        requested_name, catalogue, call.key, lab=lab if is_lab_named else None
    )
    if unlisted_model is not None:
        if is_lab_named and unlisted_model.lab != lab:
            raise _refuse_unserved(call, lab)
        tier = unlisted_model.find_tier(catalogue)
        return _ResolvedName(
            unlisted_model.lab, tier, unlisted_model.name, unlisted_model, is_lab_fixed=True
        )
    family = next((prefix for prefix in catalogue.families if bare_name.startswith(prefix)), None)
    if family is None:
        raise _refuse_unknown(requested_name, bare_name, catalogue, call)
    return _resolve_family(requested_name, family, lab, catalogue, call, is_lab_named=is_lab_named)


def _resolve_family(
    requested_name: str,
    family: str,
    lab: str,
    catalogue: Catalogue,
    call: Features,
    *,
    is_lab_named: bool,
) -> _ResolvedName:
    """Let the name's family choose the tier, because no provider of the model is on.

    If the maker's lab is on, or some lab lists a name of the same kind, the call stays in that lab.
    """
    tier, name_prefix = catalogue.families[family], f"{family.partition('-')[0]}-"
    off_models = unlisted_models.find_all(requested_name, catalogue, is_off=True)
    maker_lab = off_models[0].lab if off_models else None
    if maker_lab is None or not catalogue.labs[maker_lab].enabled:
        endpoint_groups = catalogue.models.values()
        maker_lab = next(
            (
                endpoints[0].lab
                for endpoints in endpoint_groups
                if endpoints[0].target.model.startswith(name_prefix)
            ),
            None,
        )
    if maker_lab is None:
        return _ResolvedName(lab, tier, family=family)
    if is_lab_named and maker_lab != lab:
        raise _refuse_unserved(call, lab)
    return _ResolvedName(maker_lab, tier, family=family, is_lab_fixed=True)


def _is_embedding_name(requested_name: str, bare_name: str, catalogue: Catalogue) -> bool:
    """True if a name is that of an embedding model."""
    return any(
        {requested_name, bare_name} & route_embeddings.list_model_names(lab.name, target)
        for lab in catalogue.labs.values()
        for target in lab.embeddings
    )


def _require_lab(lab: str, call: Features, catalogue: Catalogue) -> None:
    """Raise ProblemError if a lab does not exist or is off."""
    lab_entry = catalogue.labs.get(lab)
    if lab_entry is not None and lab_entry.enabled:
        return
    detail = ""
    available_labs = [
        name for name, tiers in visible_models.list_labs(catalogue, call.key).items() if tiers
    ]
    if lab_entry is not None:
        message, detail = f"The lab {lab!r} is off.", lab_entry.disabled_reason
    elif any(item.enabled for item in catalogue.labs.values()):
        message = f"There is no lab {lab!r}."
    else:
        message = "No lab is on. `tiergate check` says why."
    if available_labs:
        message = f"{message} Labs that are on: {', '.join(available_labs)}."
    param = "x-tiergate-lab" if lab == call.options.lab else "model"
    raise ProblemError(Problem(kind="model_not_found", message=message, detail=detail, param=param))


def _parse_tier(name: str) -> Tier:
    for tier in TIERS:
        if tier == name:
            return tier
    message = f"There is no tier {name!r}. The tiers are fast, smart and reasoning."
    raise ProblemError(Problem(kind="invalid_request", message=message, param="x-tiergate-tier"))


def _refuse_unserved(call: Features, lab: str) -> ProblemError:
    """Refuse a name that a lab serves, but not the lab that the caller has named."""
    message = f"The lab {lab!r} does not serve the model {refusals.quote_name(call.prompt.model)}."
    return ProblemError(Problem(kind="model_not_found", message=message, param="model"))


def _refuse_unknown(
    requested_name: str, bare_name: str, catalogue: Catalogue, call: Features
) -> ProblemError:
    """Refuse a name that no lab serves, and suggest what the key may ask for instead."""
    quoted_name, key = refusals.quote_name(call.prompt.model), call.key
    off_reason = next(
        (
            reason
            for lab in catalogue.labs.values()
            for reason in _list_off_reasons(lab, (requested_name, bare_name))
        ),
        "",
    )
    if not off_reason:
        off_models = unlisted_models.find_all(requested_name, catalogue, is_off=True)
        off_reason = " or ".join(model.owner.provider.disabled_reason for model in off_models)
    if off_reason:
        message = f"The model {quoted_name} is off: none of its providers is on."
    elif _is_embedding_name(requested_name, bare_name, catalogue):
        message = (
            f"The model {quoted_name} makes embeddings. Send the request to POST /v1/embeddings."
        )
    else:
        names = visible_models.list_names(catalogue, key)
        nearest_name = visible_models.suggest_name(requested_name, catalogue, key)
        hint = f" Did you mean {nearest_name!r}?" if nearest_name else ""
        virtual_names = ", ".join(name for name in ("auto", *TIERS) if name in names)
        message = (
            f"The gateway does not serve the model {quoted_name}.{hint} Ask for "
            f"{virtual_names}, lab/tier or a model that GET /v1/models lists."
        )
    return ProblemError(
        Problem(kind="model_not_found", message=message, detail=off_reason, param="model")
    )


def _list_off_reasons(lab: Lab, names: tuple[str, ...]) -> list[str]:
    """Return why targets of these names are off."""
    return [
        target.provider.disabled_reason
        for targets in lab.tiers.values()
        for target in targets
        if not target.provider.enabled
        and not {target.model, target.name, f"{lab.name}/{target.model}"}.isdisjoint(names)
    ]
