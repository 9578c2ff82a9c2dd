from collections.abc import Iterable


def canonical_names(keys: Iterable[str]) -> dict[str, str]:
    return {key: key for key in keys}
