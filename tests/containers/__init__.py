"""Tests of the files that build and compose the containers; none needs a container engine."""
