"""Tests of `gateway/settings/schema`."""
