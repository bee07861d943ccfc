"""The report is one well-formed file that shows every exhibit and loads nothing; its package imports no torch."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

from sparse_ortho.report import curves, page, tables

VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}
LOADING = {"src", "srcset", "data", "action", "poster", "background"}


class Reader(HTMLParser):
    """Every start has its end, and what a browser would fetch is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.handle_attributes(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_attributes(tag, attrs)

    def handle_attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in LOADING or (tag == "link" and name == "href"):
                self.fetched.append(value or "")
            elif name in ("href", "xlink:href"):
                (self.links if tag == "a" else self.references).append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def report() -> dict[str, Any]:
    axes = [{"mask": "erk", "init": init, "density": 0.1} for init in ("kaiming", "eoi")]
    cells = [{"id": a["init"], "axes": a, "seeds": [0]} for a in axes]
    records = [{"cell": c["id"], "seed": 0, "status": "ok", "reason": None, "test_accuracy_last": 90.0} for c in cells]
    points = [{"cell": c["id"], "seed": 0, "epoch": e, "train_loss": 1.0 - e / 4} for c in cells for e in range(3)]
    shared: dict[str, Any] = {
        "study": "eoi", "scale": "quick", "rows": ["density", "mask"], "columns": ["init"], "footnotes": [],
        "metric": "test_accuracy_last", "x": "epoch", "y": "train_loss", "panels": ["density"], "hue": "init",
    }  # fmt: skip
    exhibits = []
    for name, kind in (("accuracy", "table"), ("loss", "curves"), ("again", "curves")):
        exhibit = shared | {"name": name, "title": f"The {name} <of> it", "kind": kind, "caption": f"Caption & {name}."}
        drawn: dict[str, Any] = curves.render(exhibit, cells, points)
        if kind == "table":
            drawn = {**tables.render(exhibit, cells, records, [])}
        body = {"html": drawn.get("html"), "svg": drawn["svg"].decode() if "svg" in drawn else None}
        tags = {"category": f"Category {kind}", "labels": {"network": f"MLP {name}"}}
        exhibits.append(exhibit | body | tags | {"files": {"csv": f"tables/eoi/quick/{name}.csv"}})
    made = {"stage": "train", "bundle": "digits-mlp-3", "cells": 2, "code": "ab" * 32, "seeds": [0]}
    return {
        "title": "Sparse & orthogonal", "scale": "quick",
        "studies": [
            {"name": "eoi", "title": "EOI", "paper": "A paper, https://example.org/paper", "exhibits": exhibits},
            {"name": "tost", "title": "ToST", "paper": "", "exhibits": []},
        ],
        "provenance": {"env": {"torch": "2.11"}, "stages": [made], "how": "provenance/index.html"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def shown() -> tuple[dict[str, Any], str, Reader]:
    given = report()
    html = page.render(given)
    return given, html, read(html)


def test_every_exhibit_is_on_the_page_once_with_caption_category_and_labels(shown):
    given, html, reader = shown
    for exhibit in given["studies"][0]["exhibits"]:
        assert reader.text.count(exhibit["caption"]) == 1
        assert exhibit["title"] in reader.text and f"network: MLP {exhibit['name']}" in reader.text
        assert f'<li class="category">{exhibit["category"]}</li>' in html
        assert exhibit["files"]["csv"] in reader.links
        assert f"#eoi-{exhibit['name']}" in reader.links and f"eoi-{exhibit['name']}" in reader.ids


def test_ids_are_unique_and_every_reference_has_its_target(shown):
    _, html, reader = shown
    assert len(reader.ids) == len(set(reader.ids))
    inner = [link for link in reader.links + reader.references if link.startswith("#")]
    inner += re.findall(r"url\((#[^)]+)\)", html)
    assert len(inner) > 20 and {link[1:] for link in inner} <= set(reader.ids)


def test_nothing_is_loaded_from_anywhere(shown):
    _, html, reader = shown
    assert reader.fetched == [] and "@import" not in html and "fetch(" not in html
    assert all(link.startswith(("#", "data:")) for link in reader.references)
    assert all(match.startswith("#") for match in re.findall(r"url\(([^)]*)\)", html))


def test_provenance_says_what_the_results_are_made_of(shown):
    _, html, reader = shown
    assert "torch 2.11" in reader.text and "digits-mlp-3" in reader.text and 'title="' + "ab" * 32 in html
    assert "provenance/index.html" in reader.links


def test_equal_input_gives_equal_bytes(shown):
    assert page.render(report()) == shown[1]


def test_how_each_job_came_about_is_a_page_of_its_own():
    row = {
        "stage": "train", "bundle": "eoi/<one>", "job": "{}", "git": {"commit": "c0ffee" * 7, "dirty": None},
        "host": "h", "device": "cpu", "threads": 1, "started": "2025-01-01T00:00:00+00:00", "seconds": 1.25,
        "peak_memory_mb": 1234, "env": {"torch": "2.11"},
    }  # fmt: skip
    reader = read(page.provenance([row, row | {"stage": "mask", "seconds": 0.5}]))
    for word in ("eoi/<one>", "c0ffeec0ffee", "1,234", "1.2", "2025-01-01T00:00:00+00:00", "torch 2.11", "2 jobs"):
        assert word in reader.text
    assert "No job has been recorded." in read(page.provenance([])).text


def test_report_imports_no_torch_and_tables_no_matplotlib():
    code = (
        "import sys\n"
        "from sparse_ortho.report import collect, page, pivot, published, statistics, tables\n"
        "assert not {'torch', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)\n"
        "from sparse_ortho.report import curves, matrix, style\n"
        "assert not {'torch', 'pandas', 'matplotlib.pyplot'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
