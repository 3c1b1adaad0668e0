"""Write a job's record as JUnit XML, the form that CI systems read. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

_ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BAD = {"failed": "failure", "error": "error", "crashed": "error", "not_run": "error"}


def junit_xml(record: Mapping[str, Any]) -> str:
    """Return the results of an ended job's record, in the schema that pytest calls xunit2."""
    summary = record["summary"]
    suite = ET.Element(
        "testsuite",
        name=str(record["job_id"]),
        tests=str(summary["total"]),
        failures=str(summary["failed"]),
        errors=str(summary["errors"] + summary["crashed"] + summary["not_run"]),
        skipped=str(summary["skipped"] + summary["xfailed"]),
        time=f"{summary['duration_seconds']:.3f}",
        timestamp=str(record.get("started_at") or ""),
    )
    for result in record["results"]:
        suite.append(_case(result))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _case(result: Mapping[str, Any]) -> ET.Element:
    path, _, name = str(result["nodeid"]).partition("::")
    plain, bracket, parameters = name.partition("[")  # whose text may hold `::` too
    *classes, name = plain.split("::")
    names = [path.removesuffix(".py").replace("/", "."), *classes]
    seconds = f"{result.get('duration_seconds') or 0.0:.3f}"
    case = ET.Element(
        "testcase",
        classname=_legal(".".join(names)),
        name=_legal(name + bracket + parameters),
        time=seconds,
    )
    outcome, message = result["outcome"], _legal(result.get("message") or "")
    if outcome in _BAD:
        bad = ET.SubElement(case, _BAD[outcome], message=message or outcome.replace("_", " "))
        bad.text = _legal(result.get("longrepr") or "")
    elif outcome in ("skipped", "xfailed"):
        ET.SubElement(case, "skipped", type=f"pytest.{outcome}", message=message)
    return case


def _legal(text: str) -> str:
    """Return a text without what XML has no way to write."""
    return _ILLEGAL.sub(lambda char: f"#x{ord(char[0]):02X}", text)
