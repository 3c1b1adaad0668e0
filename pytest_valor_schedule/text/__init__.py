"""Make answers into lines for people.

render       one answer: a receipt, how a job stands, tables, exit codes
result_list  the results of a job, or what changed between two
queue_view   the queue, the slots and what runs, as `watch` shows them
timeline     a job over time, for a browser
screen       what a terminal shows to whoever waits
"""
