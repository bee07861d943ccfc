"""The long matrix of a real Slurm: started here, run by pytest, stopped, and what came out recorded.

    .venv/bin/python -m benchmarks.slurm [TEST ...]        as root, on Debian; `make ci-long` does this

Jobs are cancelled, pass their time limit, nodes drained and resumed, the controller restarted; tables, figures and
records are those of a local run byte for byte. An outcome that is not `passed` is recorded too, and ends in status 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.recording import record

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = str(ROOT / "tests" / "slurm" / "cluster.sh")


def outcomes(report: Path) -> dict[str, str]:
    """What each test came to, with its seconds, from pytest's JUnit file."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        bad = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), None)
        said = {"failure": "failed", "error": "failed", "skipped": "skipped", None: "passed"}[bad]
        found[case.attrib["name"].removeprefix("test_").replace("_", " ")] = (
            f"{said}, {float(case.attrib['time']):.0f} s"
        )
    return found


def main() -> None:
    tests = sys.argv[1:] or ["tests/slurm"]
    env = os.environ | {"SPARSE_ORTHO_SLURM_UP": "1", "SPARSE_ORTHO_SLURM_LONG": "1"}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        try:
            subprocess.run([CLUSTER, "start"], cwd=ROOT, check=True)
            version = subprocess.run(["sinfo", "--version"], capture_output=True, text=True, check=True).stdout.strip()
            words = [sys.executable, "-m", "pytest", "-n", "0", f"--junitxml={report}", *tests]
            done = subprocess.run(words, cwd=ROOT, env=env)
        finally:
            subprocess.run([CLUSTER, "stop"], cwd=ROOT)
        if not report.exists():
            sys.exit(f"error: pytest was ended with status {done.returncode} before it wrote what came out")
        found = outcomes(report)
    record("slurm", {"slurm": version, "node daemons": 2, **found, "load of the machine": round(os.getloadavg()[1], 1)})
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
