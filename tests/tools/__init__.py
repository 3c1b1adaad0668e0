"""Programs to be run by hand: parity with plain pytest, chaos, a crowd, a simulation."""
