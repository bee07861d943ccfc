"""Every profile keeps the promises of the default one, which it replaces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

PROFILES = sorted(path.parent.name for path in (ROOT / "profiles").glob("*/profile.yaml"))
PROMISES = ("nolock", "rerun-incomplete", "scheduler", "max-checksum-file-size", "quiet")


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())


def test_there_are_profiles_for_a_laptop_a_workstation_a_cluster_and_ci() -> None:
    assert PROFILES == ["ci", "default", "multi-gpu", "slurm"]


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("key", PROMISES)
def test_a_profile_repeats_what_caching_and_resuming_rest_on(name: str, key: str) -> None:
    assert profile(name)[key] == profile("default")[key]


@pytest.mark.parametrize("name", ["ci", "multi-gpu"])
def test_snakemake_takes_the_profile(name: str, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(ROOT / "Snakefile"), "--dry-run"]
    command += ["--workflow-profile", str(ROOT / "profiles" / name), "--directory", str(tmp_path), "--quiet", "all"]
    done = subprocess.run([*command, "--config", "device=cpu"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
