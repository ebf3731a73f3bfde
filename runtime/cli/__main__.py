"""`python -m runtime.cli` is `greenroom`."""

from runtime.cli import main

main()
