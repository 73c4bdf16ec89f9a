"""Rules as the operator writes them: compiled, and matched against a call."""
