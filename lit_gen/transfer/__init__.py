"""Pure functions on state dicts: what a source holds and where it goes; no Lightning in here."""
