"""Start, fork, watch and end processes."""
