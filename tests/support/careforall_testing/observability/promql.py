"""Reads which metrics and labels a query speaks of; enough of PromQL for the queries written here, and no more."""

from __future__ import annotations

import re

from msgspec import Struct

_SELECTOR = re.compile(r"(?<![\w:$])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\(|[\w:])")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_LEGEND = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "bool", "and", "or", "unless", "offset", "inf", "nan"}


class Read(Struct, frozen=True):
    """What a query speaks of: metrics with the labels asked of each, and labels it groups by."""

    metrics: dict[str, set[str]]
    grouped: set[str]


def read(expr: str) -> Read:
    """Return what an expression speaks of."""
    grouped = {label.strip() for _, labels in _GROUPING.findall(expr) for label in labels.split(",") if label.strip()}
    bare = _RANGE.sub("", _GROUPING.sub(" ", expr))
    found: dict[str, set[str]] = {}
    for name, selector in _SELECTOR.findall(_outside_strings(bare)):
        if name not in _WORDS:
            found.setdefault(name, set()).update(_MATCHER.findall(selector))
    return Read(found, grouped)


def legend_labels(legend: str) -> set[str]:
    """Return the labels that a legend or an annotation names."""
    return set(_LEGEND.findall(legend))


def _outside_strings(expr: str) -> str:
    """Return an expression with what stands in quotes blanked, brackets and all."""
    return _STRINGS.sub(lambda found: '"' + "_" * (len(found.group()) - 2) + '"', expr)
