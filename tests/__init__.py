"""The tests of tiergate, one folder for each package or concern."""
