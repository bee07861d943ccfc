"""What docs/upstream says of Snakemake is still so; else a guard may go, and the page is out of date."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.conftest import ROOT, SNAKEMAKE

UPSTREAM = ROOT / "docs" / "upstream"


def test_every_script_is_in_the_table() -> None:
    named = set(re.findall(r"`(\w+\.sh)`", (UPSTREAM / "README.md").read_text()))
    assert named == {path.name for path in UPSTREAM.glob("*.sh")}


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("unkeyed_parameters.sh", "wanted: seed=2 width=1, found: seed=1 width=2"),
        ("dropped_values.sh", "wanted: second, found: first"),
    ],
)
def test_a_reproduction_prints_what_the_page_says(script: str, found: str) -> None:
    words = ["bash", str(UPSTREAM / script)]
    done = subprocess.run(
        words, cwd=ROOT, env={"PATH": "/usr/bin:/bin", "SNAKEMAKE": str(SNAKEMAKE)}, capture_output=True
    )
    told = done.stdout.decode()
    assert done.returncode == 0 and "Nothing to be done" in told and found in told, told + done.stderr.decode()
    assert found.partition(", found")[0] in (UPSTREAM / "README.md").read_text()


def test_no_rule_hides_a_change_or_has_a_parameter_besides_its_job() -> None:
    rules = "\n".join(path.read_text() for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")])
    assert "ancient(" not in rules
    blocks = re.findall(r"^    params:\n((?:        .*\n)+)", rules, re.MULTILINE)
    assert len(blocks) >= 10 and all(re.fullmatch(r"        job=.*\n", block) for block in blocks), blocks
