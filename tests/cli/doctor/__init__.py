"""Tests of `gateway/cli/doctor`."""
