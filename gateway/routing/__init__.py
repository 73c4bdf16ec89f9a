"""Which tier, which targets and why: pure functions of the call, the configuration and the evidence."""
