"""The one exception that is shown to users as a message, not as a traceback."""

from .messages import of_a_screen


class ElusiveError(ValueError):
    """Bad input or settings: the message says what was expected, what came, and what to do.

    The command line prints it and exits with code 2. It fits on a screen and shows every character, whatever it quotes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(of_a_screen(message))
