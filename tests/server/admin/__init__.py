"""Tests of `gateway/server/admin`."""
