"""The one exception that the command line turns into a message and exit status 2."""

from datamodules.errors import UserError

__all__ = ["UserError", "nearest"]


def nearest(name: str, names: list[str]) -> str:
    """A hint such as ` Did you mean "GAN"?`, or nothing where no known name is near."""
    from difflib import get_close_matches

    by_lower = {known.lower(): known for known in names}
    found = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return f' Did you mean "{by_lower[found[0]]}"?' if found else ""
