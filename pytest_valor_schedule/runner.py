"""Run one job, or a session: a dispatcher of another version starts both by this name, for ever."""

import sys


def main() -> None:
    """Run the attempt at a job that the command line names, or the session that is asked for."""
    if sys.argv[2] == "session":
        from pytest_valor_schedule.client import session_runner

        session_runner.main()
    else:
        from pytest_valor_schedule.daemon import runner

        runner.main()


if __name__ == "__main__":
    main()
