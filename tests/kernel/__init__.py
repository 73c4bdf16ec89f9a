"""The classifier's C under sanitizers: `make kernel-check`, and a short run of it among the tests."""
