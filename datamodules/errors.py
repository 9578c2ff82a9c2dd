"""The one exception that is the user's to mend. Free of torch, so that anything may import it."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake: the message says what was found, what was expected and what to type."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word (` Did you mean "cat"?`), or nothing where no known word is near."""
    by_lower_case = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.5)
    return f' Did you mean "{by_lower_case[found[0]]}"?' if found else ""
