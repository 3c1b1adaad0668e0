"""Touch the private parts of pytest-xdist and of other plugins, here alone."""
