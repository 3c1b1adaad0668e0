"""Keep the queue: jobs, slots, who starts next, and how long everything takes.

- `job_index`: looking jobs up; `store`: all jobs of one home; `job_row`: a job as a row;
  `environments`: what a job runs in.
- `database`: transactions in the SQLite file; `database_file`: making, opening and replacing it;
  `recovery`: filling a new one from records and event logs.
- `policy`: which jobs start now; `demand`: what a job takes of the machine, and for how long;
  `resources`: what is in use and what is free; `forecast`: when jobs start, and why not now.
- `slots`: the worker slots of the machine; `claim`: a runner takes a job and its slots.
- `estimate`: how long tests take; `history`: what was learned of tests and runs; `job_estimates`:
  the estimates of queued jobs.
- `job_records`: the record of a job; `previous_runs`: the runs before it; `pruning`: throwing away
  what is old.
- `wakeup`: the pipe that wakes the dispatcher.
"""
