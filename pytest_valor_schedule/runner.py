"""Run one job. A dispatcher of another version starts it by this name, which never changes."""

from pytest_valor_schedule.daemon.runner import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
