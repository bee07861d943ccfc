"""`results/report.html` and `results/provenance/index.html`: each one file that loads nothing from anywhere."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from sparse_ortho.report.text import ABSENT, one_line, show

# columns in reading order
MADE = ("study", "stage", "bundle", "bundles", "cells", "seeds", "code")
HAPPENED = (
    "stage", "bundle", "seconds", "peak_memory_mb", "store", "resumed", "started", "commit", "dirty",
    "host", "device", "threads", "platform",
)  # fmt: skip
GROWN = 1.7  # pixels for a point of a figure at most: its text is then as large as that of the page
LONG = 24  # from here on a hexadecimal word is a digest, shown by its beginning


@dataclass(frozen=True)
class Field:
    """One place of a table of facts."""

    text: str
    full: str = ""  # what a shortened text stands for
    number: bool = False


def render(page: Mapping[str, Any]) -> str:
    """The report: contents, exhibits by study with caption, category, labels and files, and what made them."""
    studies = [{**study, "exhibits": [_exhibit(study, e) for e in study["exhibits"]]} for study in page["studies"]]
    shown = [exhibit for study in studies for exhibit in study["exhibits"]]
    categories = list(dict.fromkeys(exhibit["category"] for exhibit in shown if exhibit["category"]))
    made = page["provenance"]
    provenance = {"how": None, **made, "stages": _facts(made["stages"], MADE)}
    shown_page = {**page, "studies": studies, "provenance": provenance}
    return _template("page.html.j2").render(shown_page, categories=categories)


def provenance(rows: Iterable[Mapping[str, Any]]) -> str:
    """How each job came about: the columns of HAPPENED that occur; `env` of the rows becomes one list of versions."""
    rows = list(rows)
    env: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, version in (row.get("env") or {}).items():
            env.setdefault(name, {})[show(version)] = None
    versions = {name: ", ".join(found) for name, found in sorted(env.items())}
    flat = [{**row, **(row.get("git") or {})} for row in rows]
    return _template("provenance.html.j2").render(jobs=_facts(flat, HAPPENED), env=versions)


def _facts(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Rows as a table of those columns that occur."""
    columns = [name for name in names if any(name in row for row in rows)]
    table = [[_field(row.get(name)) for name in columns] for row in rows]
    numeric = [any(fields[i].number for fields in table) for i in range(len(columns))]
    return {"columns": list(zip(columns, numeric, strict=True)), "rows": table}


def _field(value: Any) -> Field:
    if isinstance(value, bool):
        return Field("yes" if value else "no")
    if isinstance(value, (int, float)):
        return Field(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}", number=True)
    if isinstance(value, Mapping):
        return Field(", ".join(f"{name} {show(item)}" for name, item in sorted(value.items())) or ABSENT)
    if isinstance(value, (list, tuple)):
        parts = [_field(item) for item in value]
        return Field(", ".join(p.text for p in parts) or ABSENT, ", ".join(p.full or p.text for p in parts))
    text = show(value)
    digest = len(text) >= LONG and re.fullmatch("[0-9a-f]+", text)
    return Field(text[:12], text) if digest else Field(text)


def inline_svg(svg: str, prefix: str, title: str) -> str:
    """A figure as part of a page: its ids and style are its own, its size is the page's, its metadata is gone."""
    svg = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(\b(?:xlink:)?href=")#', rf"\1#{prefix}-", svg)
    svg = svg.replace("url(#", f"url(#{prefix}-")
    svg = re.sub(r"(<style[^>]*>)\s*\*", rf"\1#{prefix} *", svg)
    opening, _, rest = svg.partition(">")
    opening = re.sub(r'\s(?:width|height)="[^"]*"', "", opening)
    box = re.search(r'viewBox="\S+ \S+ (\S+) ', opening)
    most = f' style="max-width: {GROWN * float(box[1]):.0f}px"' if box else ""  # a small figure is not blown up
    return f'{opening}{most} id="{prefix}" role="img" aria-label="{escape(one_line(title))}">{rest}'.strip()


def _exhibit(study: Mapping[str, Any], exhibit: Mapping[str, Any]) -> dict[str, Any]:
    anchor = re.sub(r"[^A-Za-z0-9_-]", "-", f"{study['name']}-{exhibit['name']}")
    svg, html, caption = exhibit.get("svg"), exhibit.get("html"), exhibit.get("caption") or ""
    return {
        **exhibit,
        "anchor": anchor,
        "caption": one_line(caption),
        "captioned": bool(html) and escape(one_line(caption)) in html,  # a table carries its caption itself
        "svg": inline_svg(svg, f"svg-{anchor}", exhibit["title"]) if svg else None,
        "html": html,
    }


@functools.cache
def _environment() -> Any:
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"show": show}
    return environment


def _template(name: str) -> Any:
    return _environment().get_template(name)
