"""The errors that a user of lmkit can meet, as one tree.

LmkitError                  base: one clear sentence that says what to do; exit code 2
├── ConfigError             an option or a configuration file is wrong or contradictory
├── DataError               a text is missing, empty, badly encoded or too short
│   └── CorpusError         a corpus name is unknown, or its source cannot be reached
├── TokenizerError          a tokenizer file cannot be used
├── RunError                a run folder exists already, is damaged, or is not one of lmkit's
└── FailedError             failed through no mistake of the user; exit code 1
    ├── LostProcessError    another process of the same training has ended
    └── NonFiniteError      the loss or the gradient became infinite or not a number

LmkitWarning                what lmkit mended by itself; the command line shows it as one line
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "CorpusError",
    "DataError",
    "FailedError",
    "LmkitError",
    "LmkitWarning",
    "LostProcessError",
    "NonFiniteError",
    "RunError",
    "TokenizerError",
]


class LmkitError(Exception):
    """Base of every error that lmkit raises on purpose. ``exit_code`` is what the command line ends with."""

    exit_code = 2


class LmkitWarning(UserWarning):
    """Something that lmkit mended by itself, and that its user should know: one clear sentence."""


class ConfigError(LmkitError):
    """An option or a configuration file is wrong or contradictory."""


class DataError(LmkitError):
    """A text is missing, empty, badly encoded or too short."""


class CorpusError(DataError):
    """A corpus name is unknown, or its source cannot be reached."""


class TokenizerError(LmkitError):
    """A tokenizer file cannot be used."""


class RunError(LmkitError):
    """A run folder exists already, is damaged, or is not one of lmkit's."""


class FailedError(LmkitError):
    """Failed through no mistake of the user (a full disk, a broken device)."""

    exit_code = 1


class LostProcessError(FailedError):
    """Another process of the same training has ended."""


class NonFiniteError(FailedError):
    """The loss or the gradient norm became infinite or not a number. ``skipped`` describes the step, if it is known."""

    def __init__(self, message: str, skipped: object = None) -> None:
        super().__init__(message)
        self.skipped = skipped
