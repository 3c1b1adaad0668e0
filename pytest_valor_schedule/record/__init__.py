"""Make the events of a job into its results, and these into its record and what is made of it.

reports, event_log: write events, and read them without what no writer wrote.
attempt, aggregator, run_summary: of the events of one attempt, of a test, and of the whole job.
record_file: the public record; junit: that as XML; compare: two of them.
replay: show the reports of a job in another pytest; output: what of its output tells most.
"""
