"""Work inside the pytest of a job, as plugins of its controller and of its workers.

- roles: which plugins the controller and a worker need
- controller_recorder, worker_recorder: write the event logs
- crash_output: what a dead worker had printed
- collect_reports: skips and errors of the collection, counted for each module
- scheduler, worker_queue: which worker runs which test next
- scheduler_plugin: gives that scheduler to xdist
- selected_tests: runs only the tests that the runner names
- worker_env: slot number and threads of each worker
- forked_workers: starts workers by forks
- session_workers, session_worker: forks the workers from a session that has collected
- fork_hazards, collection_source: whether that is as good as workers that are started
- worker_watchdog: declares dead workers down
- inline: runs the tests of a session without xdist; files_read: whether they have changed
- plain_terminal: prints what a pytest without workers prints
"""
