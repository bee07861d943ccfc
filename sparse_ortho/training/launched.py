"""Which rank this process is, if it was started as one of several by torchrun, or by srun with the same variables.

    torchrun --nproc-per-node 4 -m workflow_scripts.train --job @job.json ...
    srun bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID python -m workflow_scripts.train --job @job.json ...'

the second with WORLD_SIZE, MASTER_ADDR and MASTER_PORT set for all. It holds for jobs with a cell whose `train.ranks`
is WORLD_SIZE; for the others the variables mean nothing, and a training starts the ranks that it wants itself.
`--log` would be one file for all of them; so leave it out. No torch here: the stage asks before it imports it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from sparse_ortho.errors import UserError


def launched(environ: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """(rank, ranks in all), or None for a process on its own."""
    rank, size = environ.get("RANK", ""), environ.get("WORLD_SIZE", "")
    if not rank or not size:
        return None
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise UserError("RANK", "must be a whole number below WORLD_SIZE", found=f"{rank} of {size}")
    return (int(rank), int(size)) if int(size) > 1 else None
