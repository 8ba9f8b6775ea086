"""The exception for mistakes that the user can correct."""


class UserError(Exception):
    """A mistake in parameters, data or set-up. The user sees one sentence, not a traceback.

    Args:
        message: one sentence that says what is wrong and what to do.
        exit_code: exit code of the command line: 2 for parameters and arguments, else 1.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
