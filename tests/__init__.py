"""Tests by kind; `support` is shared by all, `tools` and `benchmarks` are run by hand."""
