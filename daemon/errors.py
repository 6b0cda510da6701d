"""What can go wrong around the work on a video."""

from __future__ import annotations


class ConfigError(Exception):
    """The configuration is wrong; the message names the file, the key and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(Exception):
    """The command cannot be carried out as it was given."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Interrupted(BaseException):
    """A signal asks the program to end. Like KeyboardInterrupt it is not an error."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
