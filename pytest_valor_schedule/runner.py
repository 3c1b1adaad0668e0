"""Run one job, or a session: a dispatcher of another version starts both by this name, for ever."""

import sys

SPARE_NAME = "valor-spare"
"""What one is called that waits to be told what it is for."""


def main() -> None:
    """Run what the command line names: an attempt at a job, a session, or what comes by message."""
    if sys.argv[2] == "spare":
        _wait_for_words()
    if sys.argv[2] == "session":
        from pytest_valor_schedule.client import session_runner

        session_runner.main()
    else:
        from pytest_valor_schedule.daemon import runner

        runner.main()


def _wait_for_words() -> None:
    """Import all that may be needed, and wait for the words of the command line."""
    import socket

    from pytest_valor_schedule.client import session_runner  # noqa: F401
    from pytest_valor_schedule.process import messages, startup

    startup.set_name(SPARE_NAME)
    with socket.socket(fileno=int(sys.argv[3])) as control:
        message = messages.receive(control)
    if message is None:
        sys.exit()
    sys.argv[2:] = [*message.content["words"], *map(str, message.handles)]


if __name__ == "__main__":
    main()
