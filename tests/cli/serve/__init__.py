"""Tests of `gateway/cli/serve`."""
