"""tiergate: an API gateway that routes to the fast, smart or reasoning tier of real providers."""
