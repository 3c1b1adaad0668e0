"""Find the home, the settings and the project of a run.

home: where the files of a queue lie; settings: one row for each; project: the name of a history.
"""
