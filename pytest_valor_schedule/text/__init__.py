"""Make answers into lines for people."""
