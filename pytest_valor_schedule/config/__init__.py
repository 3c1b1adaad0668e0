"""Find the home, the settings and the project of a run."""
