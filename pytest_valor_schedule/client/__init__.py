"""Answer programs: schedule, query, wait, control, compare, administer.

schedule        schedule a command, a job once more, or `valor-schedule run`
rerun           schedule a job once more
query           how jobs stand, what became of their tests, what they printed
job_answers     how jobs stand, for the command line too, which imports no more than it needs
live_jobs       the same of jobs that have yet to end
wait            wait until a job has ended
control         cancel, hold, release and reorder jobs; pause the queue
compare         what changed between two jobs, and since when a test fails
administer      slots, settings and pruning
collect         have pytest collect the tests of a run, in a process of its own
session         ask the dispatcher for a session, which collects and runs them
session_runner  run a session, and its job at its turn
submit          put a collected run into the queue
doctor          find what is wrong with a home, and repair it
settings_check  find settings that cannot be used
endpoint        open the queue, and return errors as answers
responses       the types of the answers
"""
