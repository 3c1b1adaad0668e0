"""Be the command `valor-schedule`: parse, call the client, print.

main            the entry: parse, run one command, explain errors
parser          commands, options and help
commands        what each command does
output          print answers as JSON or as lines
refresh         what `watch` and `follow` show as it changes
replay_command  show a job as pytest would have shown it
manual          print the pages of the manual

Somebody waits for each command: what every one imports is what a list of jobs needs, and the rest
is imported by the function that needs it. `typing` is a tenth of the time of a list, and needed by
type checkers alone, for which a `TYPE_CHECKING` of our own is true as well.
"""
