"""Build the published files, unpack them, install them alone, and start them."""
