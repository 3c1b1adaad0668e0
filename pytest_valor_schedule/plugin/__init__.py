"""Work inside the pytest that a person starts: hand its tests over, or show the run."""
