# What all rules share: the plan, the environment of the jobs, the run lock and the last words.
import fcntl
import os
import sys
from pathlib import Path

# Jobs run `python -m workflow_scripts.<stage>`: with this interpreter and these sources, from whatever folder.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(workflow.basedir), os.environ.get("PYTHONPATH")]))
sys.path.insert(0, str(workflow.basedir))

from sparse_ortho.errors import UserError
from sparse_ortho.plan.console import tidy
from sparse_ortho.plan.workflow import Plan


def ask(question, *words):
    """An answer of the plan; a user's error ends here, in one sentence and nothing else."""
    try:
        return question(*words)
    except UserError as error:
        sys.exit(f"error: {error}")


tidy()
PLAN = ask(Plan, config)
os.environ["SPARSE_ORTHO_SERVE"] = str(int(PLAN.config.store))
os.environ["SPARSE_ORTHO_CHECKPOINT"] = str(PLAN.config.checkpoint)


wildcard_constraints:
    bundle=r"[a-z][a-z0-9_]*-[a-z][a-z0-9_]*-[a-z0-9_@]+-[a-z0-9_@]+-[a-z0-9]+(-s\d+)?",
    cell=r"[a-z0-9_@.\-]+-[0-9a-f]{12}",
    seed=r"\d+",
    study=r"[a-z][a-z0-9_]*",
    exhibit=r"[a-z][a-z0-9_]*",


onstart:
    # Held by this process and gone with it, so that after any crash the same command just works.
    os.makedirs("results", exist_ok=True)
    run_lock = open("results/.lock", "a")
    try:
        fcntl.flock(run_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("error: another snakemake is at work in this folder; wait for it, or use another --directory")
    globals()["RUN_LOCK"] = run_lock


onsuccess:
    for place in ("results/report.html", "results/tables", "results/figures"):
        if os.path.exists(place):
            print(f"{place.rpartition('/')[2].split('.')[0]:8}{place}", file=sys.stderr)
