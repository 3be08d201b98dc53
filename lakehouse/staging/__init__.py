"""Stage and persistent stage: typed, compared once, kept as a log."""
