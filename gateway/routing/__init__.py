"""Which tier, which targets and why: pure functions of call, configuration and evidence."""
