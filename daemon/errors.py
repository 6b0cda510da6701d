"""What can go wrong around the work on a video."""

from __future__ import annotations


class ConfigError(Exception):
    """
    The configuration is wrong.

    Attributes:
        problems: each names the file, the key and what is allowed.
        message: all of it in one line: the only problem, or how many and the first.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems
        count = len(problems)
        self.message = problems[0] if count == 1 else f"{count} problems, the first: {problems[0]}"


class _InOneSentence(Exception):
    """What is wrong and what to do, in one sentence: its `message`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CannotListen(_InOneSentence):
    """The address that requests are to come to cannot be had, as when another program has it."""


class Unwell(_InOneSentence):
    """Something that the service needs is not as it should be; `media-cleaner doctor` tells."""


class UsageError(_InOneSentence):
    """The command cannot be carried out as it was given."""


class Interrupted(BaseException):
    """A signal asks the program to end. Like KeyboardInterrupt it is not an error."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
