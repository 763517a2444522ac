"""The one exception that is shown to users as a message, not as a traceback."""


class ElusiveError(ValueError):
    """Bad input or settings: the message says what was expected, what came, and what to do.

    The command line prints it in one screen and exits with code 2.
    """
