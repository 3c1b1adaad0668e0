"""Work inside the pytest that a person starts: hand its tests over, or show the run.

hooks          the hooks that pytest calls, by the role of the process
process_role   what this process does for us, decided once
options        the options of pytest and their ini twins
run_settings   look up the settings of a run in all their places
submit_role    the plugin object of a pytest whose tests another process runs
submit_plugin  collect, and hand over what was collected
session_plugin collect, wait for a turn, and run the tests then
output_buffer  what is printed until it is known who shows the run
show_run       show a job to whoever waits for it
direct_runs    share the worker slots with runs by hand, and learn from them
"""
