"""Tests of `gateway/routing/lint`."""
