"""Exhibits of scale laptop, built through the pipeline and recorded: what each of them shows, as numbers.

    python -m benchmarks.exhibits tost/ladder sparse_momentum/fig2 [--directory FOLDER]

The store keeps what is finished, so a long one may be stopped and asked for again. FOLDER is where results/ is, if not
here. Writes benchmarks/results/<study>_<exhibit>.json: columns that are equal in all rows once, then the rows.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

from benchmarks.recording import record
from sparse_ortho.plan import paths, studies
from sparse_ortho.plan.digest import ROOT

SCALE = "laptop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exhibits", nargs="+", help="study/exhibit")
    parser.add_argument("--directory", type=Path, default=ROOT, help="where results/ is")
    arguments = parser.parse_args()
    for name in arguments.exhibits:
        study, _, exhibit = name.partition("/")
        kind = studies.at_scale(study, SCALE, ROOT).exhibits[exhibit][0].kind
        (file,) = (path for path in paths.exhibit(kind, study, SCALE, exhibit) if path.endswith(".csv"))
        command = [Path(sys.executable).parent / "snakemake", "--snakefile", ROOT / "Snakefile", file]
        command += ["--directory", arguments.directory, "--config", f"scale={SCALE}", f"studies=[{study}]"]
        subprocess.run([str(word) for word in command], check=True)
        record(f"{study}_{exhibit}", figures(arguments.directory / file))


def figures(file: Path) -> dict[str, object]:
    """The rows of an exhibit's numbers."""
    rows = list(csv.DictReader(file.open()))
    same = {column for column in rows[0] if len({row[column] for row in rows}) == 1}
    shared = {column: number(rows[0][column]) for column in sorted(same) if rows[0][column]}
    return {"shared": shared, "rows": [{c: number(v) for c, v in row.items() if c not in same and v} for row in rows]}


def number(text: str) -> float | str:
    try:
        return round(float(text), 6)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
