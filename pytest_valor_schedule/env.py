"""Name the environment variables by which processes of ours know one another. Pure."""

from __future__ import annotations

from collections.abc import Mapping

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
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "PYTHON_CPU_COUNT",
)


def thread_variables(threads: int | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what gives the libraries in a process its share of threads.

    Args:
        threads: How many; None to leave that to them.
        environment: The environment; what the user has set in it stays as it is.
    """
    names = () if threads is None else _THREADS
    return {name: str(threads) for name in names if name not in environment}
