"""`python -m runtime.cli` is `greenroom`."""

from runtime.cli import main

if __name__ == "__main__":
    main()
