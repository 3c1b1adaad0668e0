"""Answer programs: schedule, query, wait, control, compare, keep the home in order."""
