"""Domain types, decisions, events and errors: pure, with no I/O, no clock and no chance."""
