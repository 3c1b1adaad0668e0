"""Turn a frozen dataclass into a JSON object, and check one on the way back. Pure."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def without_empty(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs that have a value, as a JSON object."""
    return {key: value for key, value in pairs if value is not None and value != ()}


def own_fields(kind: type, document: Any) -> dict[str, Any]:
    """Return the entries of a JSON object that are fields of a dataclass.

    A newer version, which may have written it, can have more.

    Raises:
        TypeError: if the document is no object.
    """
    if not isinstance(document, dict):
        raise TypeError(f"Not an object: {document!r:.40}")
    names = field_names(kind)
    return {name: value for name, value in document.items() if name in names}


@functools.cache
def field_names(kind: type) -> frozenset[str]:
    """Return the names of the fields of a dataclass."""
    return frozenset(field.name for field in dataclasses.fields(kind))


@functools.cache
def _field_types(kind: type) -> dict[str, tuple[type, ...]]:
    """Return the classes that a value of each field of a dataclass may have."""
    types = {}
    for name, hint in get_type_hints(kind).items():
        parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        classes = [get_origin(part) or part for part in parts]
        types[name] = (*classes, int) if float in classes else tuple(classes)
    return types


def check_types(kind: type, fields: dict[str, Any]) -> None:
    """Raise TypeError for a field that has a value of another type."""
    types = _field_types(kind)
    for name, value in fields.items():
        # True is an int for Python alone, and no file says so by mistake.
        if not isinstance(value, types[name]) or (value is True and bool not in types[name]):
            raise TypeError(f"{name} is {value!r:.40}")
