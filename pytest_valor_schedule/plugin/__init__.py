"""Work inside the pytest that a person starts: hand its tests over, or show the run.

hooks           the hooks that pytest calls, by the role of the process
process_role    what this process does for us, decided once
options         the options of pytest and their ini twins
run_settings    look up the settings of a run in all their places
take_over       hand a run over before anything of the project is imported
session_view    show what a session prints that has taken over
session_plugin  collect, wait for a turn, and run the tests then
collect_role, collect_plugin  a pytest that collects for the queue
submit_role, submit_plugin    one that hands over what it has collected
output_buffer   what is printed until it is known who shows the run
show_run        show a job to whoever waits for it
direct_runs     share the worker slots with runs by hand, and learn from them
"""
