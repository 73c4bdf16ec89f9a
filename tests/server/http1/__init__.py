"""Tests of `gateway/server/http1`."""
