"""A training on disk, such that resumed and uninterrupted runs are equal bit for bit.

One file, replaced atomically, with a digest of all it holds: a kill at any moment costs at most the interval, and a
file that is damaged or belongs to another run counts as none. No pickle: tensors, and plain data as JSON.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparse_ortho.artifacts import canonical, digest_arrays, digest_text, read_tensors, write_tensors
from sparse_ortho.errors import UserError
from sparse_ortho.training.state import Run
from sparse_ortho.training.stopping import Stopping
from sparse_ortho.training.tree import flatten, numpy, unflatten

FORMAT = 1


class Checkpointer:
    """Saves at most every `every_seconds`; 0 saves after every step. The owner calls `clear` after success."""

    def __init__(self, folder: Path | str, every_seconds: float, stopping: Stopping | None = None):
        self.stopping = stopping or Stopping()
        self.folder = Path(folder)
        self.path = self.folder / "checkpoint.safetensors"
        self.every_seconds = every_seconds
        self.last = time.monotonic()
        self.of = ""
        self.resumed_at: int | None = None  # the step at which this process took over, for provenance

    def due(self) -> bool:
        return time.monotonic() - self.last >= self.every_seconds

    def after_step(self, run: Run) -> None:
        """Save if it is time to; save and leave if somebody asked the process to stop."""
        if self.stopping.asked is not None:
            self.save(run)
            self.stopping.leave()
        elif self.due():
            self.save(run)

    def save(self, run: Run) -> None:
        tensors, plain = flatten(state(run))
        facts = {"plain": plain, "of": self.of, "digest": sealed(tensors, plain, self.of)}
        write_tensors(self.path, tensors, facts)
        self.last = time.monotonic()

    def load(self, run: Run) -> bool:
        """Bring `run`, which has just begun, to where the file left it; False without a file of this run."""
        self.of = identity(run)
        self.last = time.monotonic()
        try:
            tensors, facts = read_tensors(self.path)
            plain = facts["plain"]
            whole = facts["of"] == self.of and facts["digest"] == sealed(tensors, plain, self.of)
        except (UserError, OSError, KeyError, TypeError, ValueError):
            return False
        if whole:
            restore(run, unflatten(tensors, plain))
            self.resumed_at = run.clock.steps
        return whole

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def sealed(tensors: dict[str, np.ndarray], plain: Any, of: str) -> str:
    return digest_text(canonical([digest_arrays(tensors), plain, of]))


def identity(run: Run) -> str:
    """What must be equal for a checkpoint to be this run's: start, masks, split, options, seeds, parts."""
    arrays = {f"start/{name}": numpy(value) for name, value in run.model.state_dict().items()}
    arrays |= {f"masks/{name}": numpy(mask) for name, mask in (run.masks or {}).items()}
    arrays |= {f"labels/{name}": numpy(split.y) for name, split in run.splits.items()}
    seeds = [run.streams.seed, dict(run.streams.fixed)]
    parts = [type(part).__qualname__ + part.about for part in run.parts]
    return digest_text(f"{FORMAT} {digest_arrays(arrays)} {run.options} {canonical(seeds)} {parts} {run.device.type}")


def state(run: Run) -> dict[str, Any]:
    """Everything that a step reads and that `begin` does not make again."""
    return {
        "weights": run.model.state_dict(),
        "optimizer": {str(i): slot for i, slot in run.optimizer.state_dict()["state"].items()},
        "precision": run.precision.state_dict(),
        "parts": {str(i): part.state_dict() for i, part in enumerate(run.parts)},
        "rng": rng_state(run.device),
        "losses": torch.stack(run.losses) if run.losses else None,
        "correct": torch.stack(run.correct) if run.correct else None,
        "curves": run.curves,
        "epoch": run.clock.epoch,
        "step": run.clock.step,
        "lr": run.optimizer.param_groups[0]["lr"],
    }


def restore(run: Run, saved: dict[str, Any]) -> None:
    run.model.load_state_dict(saved["weights"])
    slots = {int(i): slot for i, slot in saved["optimizer"].items()}
    run.optimizer.load_state_dict({**run.optimizer.state_dict(), "state": slots})
    for group in run.optimizer.param_groups:
        group["lr"] = saved["lr"]
    run.precision.load_state_dict(saved["precision"])
    for i, part in enumerate(run.parts):
        part.load_state_dict(saved["parts"][str(i)])
    run.clock.epoch, run.clock.step = saved["epoch"], saved["step"]
    run.curves = saved["curves"]
    run.losses, run.correct = (
        [] if saved[key] is None else list(saved[key].to(run.device)) for key in ("losses", "correct")
    )
    set_rng_state(saved["rng"], run.device)


def rng_state(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["device"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["device"] = torch.mps.get_rng_state()
    return states


def set_rng_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["device"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["device"])
