"""Tests of `gateway/cli/label`."""
