"""Make the events of a job into its results, and these into its record and what is made of it."""
