"""What moves weights from one model to another: pure functions on state dicts, no Lightning in here."""
