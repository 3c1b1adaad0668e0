"""Be the command `valor-schedule`: parse, call the client, print.

main            the entry: parse, run one command, explain errors
parser          commands, options and help
commands        what each command does
output          print answers as JSON or as lines
refresh         what `watch` and `follow` show as it changes
replay_command  show a job as pytest would have shown it
manual          print the pages of the manual
"""
