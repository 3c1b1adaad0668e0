"""Name the environment variables by which processes of ours know one another. Pure."""

from __future__ import annotations

RUN_CONFIG_VARIABLE = "VALOR_SCHEDULE_HANDSHAKE"
"""Holds the `run_config.RunConfig` of a job's pytest."""
JOB_ID_VARIABLE = "VALOR_SCHEDULE_JOB_ID"
"""Stays in the environment of everything that a job starts."""
SLOT_VARIABLE = "VALOR_SCHEDULE_SLOT"
"""Tells each xdist worker of a job the number of its slot."""
DIRECT_VARIABLE = "VALOR_SCHEDULE_DIRECT_RUN"
"""Stays in the environment of everything that a direct run with slots starts."""
COLLECT_VARIABLE = "VALOR_SCHEDULE_COLLECT"
"""Tells a pytest that it only collects for us; see `run_config.CollectConfig`."""
FORKS_VARIABLE = "VALOR_SCHEDULE_FORKS"
"""Tells a controller the descriptor of its socket to what forks its workers."""
