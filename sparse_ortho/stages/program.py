"""What every program of workflow_scripts/ does besides its stage: arguments, news, log file, errors, provenance.

A user's error ends in one sentence on stderr and in the log, with exit status 2; anything else leaves its traceback
in the log and one sentence that names it, with status 1; a job that its run's budget ends has status 3. Provenance (how
it came about) is written after success and is never an input of anything.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import digest_text, write_json
from sparse_ortho.errors import UserError
from sparse_ortho.lease import Lease, take_for
from sparse_ortho.plan import budget, paths
from sparse_ortho.plan import job as jobs
from sparse_ortho.plan.digest import ROOT, stage_code, stage_modules
from sparse_ortho.stages.budget import Budget, BudgetSpent
from sparse_ortho.stages.bundle import Context
from sparse_ortho.store import Store

LOG = logging.getLogger("sparse_ortho")


def say(line: str) -> None:
    """One line of news, written whole, so that parallel jobs do not mix their words."""
    LOG.info(line)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def parser_of(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="file for the log, with tracebacks")
    return parser


def add_store(parser: argparse.ArgumentParser) -> None:
    every = float(os.environ.get("SPARSE_ORTHO_CHECKPOINT", "30"))
    parser.add_argument("--store", default=store_root(), help="folder of the store (default: %(default)s)")
    unused = os.environ.get("SPARSE_ORTHO_SERVE") == "0"
    parser.add_argument("--no-store", action="store_true", default=unused, help="serve nothing, make everything again")
    told = "seconds between checkpoints (default: %(default)s)"
    parser.add_argument("--checkpoint", type=float, default=every, help=told)


def context_of(arguments: argparse.Namespace) -> Context:
    return Context(Store(arguments.store, not arguments.no_store), say, arguments.checkpoint, own_devices())


def own_devices() -> Callable[[int], None]:
    """Takes GPUs for this process when first asked, and holds them until it ends."""
    held: list[Lease | None] = []

    def devices(wanted: int) -> None:
        if not held:
            held.append(take_for(os.environ, wanted, say))

    return devices


def budget_of(job: jobs.Job) -> Budget | None:
    """What the run lets this job take, if it has a budget and wrote it down."""
    file = os.environ.get(budget.VARIABLE)
    return Budget(budget.until(file, job.stage, job.bundle, time.time())) if file and Path(file).exists() else None


def stage_program(
    description: str | None, add: Callable[[argparse.ArgumentParser], None], body: Callable[..., None]
) -> int:
    """A program that runs one job of a stage: `body(job, context, arguments)`."""
    parser = parser_of(description)
    parser.add_argument("--job", required=True, help="the job as JSON, or @FILE that holds it; `plan --job` prints one")
    add_store(parser)
    add(parser)

    def inner(arguments: argparse.Namespace) -> None:
        text = Path(arguments.job[1:]).read_text() if arguments.job.startswith("@") else arguments.job
        job = jobs.load(text)
        refuse_other_code(job)
        context = replace(context_of(arguments), budget=budget_of(job))
        started, clock = datetime.now(UTC), time.monotonic()
        body(job, context, arguments)
        write_json(paths.provenance(job.stage, job.bundle), how(job, text, context, started, time.monotonic() - clock))

    return guarded(parser, inner)


def guarded(parser: argparse.ArgumentParser, body: Callable[[argparse.Namespace], None]) -> int:
    """Run a program so that every end is a sentence and an exit status."""
    arguments = parser.parse_args()
    LOG.setLevel(logging.INFO)
    if arguments.log:
        arguments.log.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(arguments.log, mode="w")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        LOG.addHandler(handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        body(arguments)
    except BudgetSpent as told:
        say(str(told))
        return budget.ENDED
    except UserError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        LOG.exception("unexpected")
        where = f"the traceback is in {arguments.log}" if arguments.log else "--log FILE keeps the traceback"
        say(f"error: {parser.prog}: unexpected {type(error).__name__}: {error}; {where}")
        return 1
    return 0


def store_root() -> str:
    return os.environ.get("SPARSE_ORTHO_STORE") or paths.STORE


def refuse_other_code(job: jobs.Job) -> None:
    """A job that was planned for other sources than these must not write results in their name."""
    for task in job.cells:
        if stage_code(job.stage, frozenset(task.methods)) != task.code:
            raise UserError(
                f"{job.stage}/{job.bundle}", "the code changed since this job was planned; run the same command again"
            )


def how(job: jobs.Job, text: str, context: Context, started: datetime, seconds: float) -> dict[str, Any]:
    """How a job came about, and the modules that made it, for `why`."""
    return {
        "stage": job.stage,
        "bundle": job.bundle,
        "job": text,
        "modules": {m: d for task in job.cells for m, d in stage_modules(job.stage, frozenset(task.methods)).items()},
        "git": git(),
        "host": platform.node(),
        "platform": platform.platform(),
        "device": job.env.get("device", "cpu"),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time(), 3),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "store": dict(context.store.events),
    }


def git() -> dict[str, str | None]:
    """Commit of the sources, and the digest of what differs from it."""

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    diff = ask("diff", "HEAD")
    return {"commit": ask("rev-parse", "HEAD"), "dirty": digest_text(diff)[:12] if diff else None}
