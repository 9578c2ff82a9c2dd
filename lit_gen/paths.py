"""Where inputs are looked for and where downloads are kept: the same places for checkpoints as for data."""

from datamodules.paths import cache_folder, find_input, places_searched, search_folders

__all__ = ["cache_folder", "find_input", "places_searched", "search_folders"]
