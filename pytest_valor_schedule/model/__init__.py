"""Define jobs, results, options and commands: frozen data, without effects.

job: a job; job_terms: its status, priority and outcome; result: what became of its tests, and the
counts.
command_line, shell: parse a command as a person types it; run_request: that, and where it runs.
run_options: check what a caller asks for; run_config: what a runner passes on to pytest; round: one
pytest run of a job; collection: what a pytest has collected for the queue.
work_units: what a worker gets at a time; retention: what is old enough to go.
"""
