"""`python -m elusive` is the command `elusive`."""

from elusive.cli.main import main

if __name__ == "__main__":
    main()
