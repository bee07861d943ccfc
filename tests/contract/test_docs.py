"""The pages under docs/ name everything that is registered, and every option of a training."""

from __future__ import annotations

import dataclasses
import re

import pytest

from sparse_ortho.registry import table
from sparse_ortho.training.options import TrainOptions
from tests.conftest import ROOT


def words(page: str) -> set[str]:
    """What a page writes as code, taken apart at everything that is no name."""
    code = re.findall(r"`([^`]+)`", (ROOT / "docs" / page).read_text())
    return {word for piece in code for word in re.findall(r"[A-Za-z_][A-Za-z0-9_@]*", piece)}


PAGES = [("data.md", "datasets"), ("models.md", "models")]
PAGES += [("methods.md", kind) for kind in ("densities", "scores", "inits", "rules")]


@pytest.mark.parametrize(("page", "kind"), PAGES)
def test_every_registered_name_is_in_its_page(page: str, kind: str) -> None:
    assert not set(table(kind)) - words(page)


def test_every_option_of_a_training_is_in_its_page() -> None:
    assert not {field.name for field in dataclasses.fields(TrainOptions)} - words("training.md")
