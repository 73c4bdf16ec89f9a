"""`python -m gateway` is `tiergate`."""

from gateway.cli import main

main()
