"""Read and write private files, lock them, log, and format time; knows nothing of jobs."""
