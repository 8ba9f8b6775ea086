"""The one exception that means "the user can mend this": shown as a sentence, never a traceback."""


class UserError(Exception):
    """A mistake in parameters, data or set-up; the message is one sentence that says what to do.

    ``exit_code`` is what the command line ends with: 2 for parameters and arguments, 1 otherwise.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
