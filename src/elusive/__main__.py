"""`python -m elusive` is the command `elusive`."""

from .cli import main

if __name__ == "__main__":
    main()
