"""Where tensors live. `resolve` names the device without torch, for the plan; `prepare` sets torch up on it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sparse_ortho.errors import UserError

if TYPE_CHECKING:
    import torch

NAMES = ("auto", "cpu", "cuda", "mps")


def resolve(name: str) -> str:
    """`auto` becomes the best device that this machine shows; another known name is taken at its word."""
    if name not in NAMES:
        raise UserError("device", "unknown device", found=name, allowed=NAMES)
    if name != "auto":
        return name
    if cuda_visible(os.environ) and not torch_is_cpu_only():
        return "cuda"
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    return "cpu"


def cuda_visible(environ: Mapping[str, str], devices: str = "/dev") -> bool:
    """Whether an NVIDIA device is there and not hidden: CUDA reads its list up to the first empty or negative entry."""
    first = environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    return first != "" and not first.startswith("-") and any(Path(devices).glob("nvidia[0-9]*"))


def torch_is_cpu_only() -> bool:
    """A build for the CPU says so in its version, as in 2.11.0+cpu."""
    try:
        return metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False


def prepare(device: str, threads: int) -> torch.device:
    """Threads, deterministic algorithms and full float32 for this process. The one place that sets torch globally."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this, set early
    import torch

    name = resolve(device)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device", "cuda was asked for, but torch finds no CUDA device; set device: cpu or auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("device", "mps was asked for, but torch finds no such device; set device: cpu or auto")
    if threads < 1:
        raise UserError("threads", "must be at least 1", found=threads)
    torch.set_num_threads(threads)
    # torch.use_deterministic_algorithms does this too, and imports the compiler to tell it: 2.6 s a process wasted.
    torch._C._set_deterministic_algorithms(True, warn_only=False)  # pyright: ignore[reportAttributeAccessIssue]
    # A debugging aid that writes every new tensor twice; nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)
