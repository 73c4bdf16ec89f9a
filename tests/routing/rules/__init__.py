"""Tests of `gateway/routing/rules`."""
