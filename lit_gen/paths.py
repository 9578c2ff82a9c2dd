"""Where inputs are looked for and where downloads are kept: the same places for checkpoints as for data."""

from pathlib import Path

from datamodules.paths import cache_folder, find_input, places_searched, search_folders

__all__ = ["cache_folder", "find_input", "places_searched", "search_beside"]


def search_beside(*configs: Path) -> None:
    """From now on relative inputs are also looked for in the projects of these YAMLs, and beside them."""
    search_folders[:] = [folder for config in configs for folder in (_project_of(config), config.parent)]


def _project_of(config: Path) -> Path:
    """The project that a YAML belongs to: the nearest folder above it that looks like one."""
    for folder in config.parents:
        if (folder / "pyproject.toml").exists() or (folder / ".git").exists():
            return folder
    return config.parent
