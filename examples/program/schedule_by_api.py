"""Schedule the tests of ../shop from a program, wait for them, and say what failed."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_valor_schedule import get_job_results, schedule_tests, wait_for_job


def main() -> int:
    """Return 0 if all tests passed."""
    answer = schedule_tests(
        "pytest -k 'not discount'",
        max_workers=2,
        timeout_minutes=5,
        priority="high",
        cwd=Path(__file__).parent.parent / "shop",
    )
    if "error" in answer:
        print(answer["error"])
        return 2
    print(f"{answer['test_count']} tests, expected duration: {answer['estimated_duration']}")
    wait_for_job(answer["job_id"])
    results = get_job_results(answer["job_id"])
    print(results["outcome"], results["summary"])
    for result in results["results"]:
        if result["outcome"] not in ("passed", "skipped", "xfailed"):
            print(result["nodeid"], result["message"])
    return 0 if results["outcome"] == "passed" else 1


if __name__ == "__main__":
    sys.exit(main())
