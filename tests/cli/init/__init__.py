"""Tests of `gateway/cli/init`."""
