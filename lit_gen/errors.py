"""The one exception that the command line turns into a message and exit status 2, and the hint for a misspelt name."""

from datamodules.errors import UserError, nearest

__all__ = ["UserError", "nearest"]
