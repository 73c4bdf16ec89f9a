"""Stand for a package that the core does not install."""

raise ModuleNotFoundError("the core does not install it", name=__name__)
