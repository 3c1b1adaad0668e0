"""Read and write private files, lock them, log, and format time; know nothing of jobs.

files, locks, log: of the home; clock: times as text; document: dataclasses as JSON objects.
"""
