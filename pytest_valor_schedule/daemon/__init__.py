"""Run in the background: decide which job starts, run it, end it, tell of its end."""
