"""Where inputs are looked for and where downloads are kept: the same places for checkpoints as for data."""

from pathlib import Path

from datamodules.paths import cache_folder, find_input, places_searched, search_folders

__all__ = ["cache_folder", "find_input", "places_searched", "project_of", "search_folders"]


def project_of(config: Path) -> Path:
    """The project that a YAML belongs to: the nearest folder above it that looks like one."""
    for folder in config.parents:
        if (folder / "pyproject.toml").exists() or (folder / ".git").exists():
            return folder
    return config.parent
