"""Serve the queue in the background: decide which job starts, run it, end it, tell of its end.

- service: tells whether a dispatcher runs, and starts one
- watcher: the parent of the dispatcher, which replaces it when it is killed
- dispatcher: decides which job may start
- executor: starts and watches runners, which only it knows as processes
- runner: runs one job, from its claim to its record
- spare_runner: a runner that is ready before its job
- session: the pytest of a job that collects once, waits, and runs the tests
- session_listener: where sessions are asked for
- rounds: the pytest runs of a job: all tests, what is missing, what failed
- invocation: command and environment of one of them
- supervisor: keeps the clocks of one pytest process and ends its tree
- progress: how far its tests are, from its event logs
- outcomes: which outcome a job has, and in which words
- job_notes: what only the runner knows of a job
- job_end: writes the record and ends the job in the queue
- notification: starts the notifier
- notifier: sends the message about the end of a job
"""
