"""The tests of tiergate, one folder a room."""
