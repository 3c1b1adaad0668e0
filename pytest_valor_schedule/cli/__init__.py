"""Be the command `valor-schedule`: parse, call the client, print."""
