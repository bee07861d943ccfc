#!/usr/bin/env bash
# The Slurm plugin calls scontrol when it is imported, which Snakemake does on every call, whatever the executor. Where
# the clients are installed and no controller answers, every call waits. Needs .venv-slurm (envs/setup.py --slurm).
set -euo pipefail
python="$PWD/.venv-slurm/bin/python"
place="$(mktemp -d)"
printf '#!/bin/sh\nsleep 9\necho "Unable to contact slurm controller (connect failure)" >&2\nexit 1\n' >"$place/scontrol"
chmod +x "$place/scontrol"
timed() {
  local started=$SECONDS
  "$@" >/dev/null 2>&1
  echo "$((SECONDS - started)) s"
}
echo "snakemake --version: $(timed "$python" -m snakemake --version)"
echo "with a scontrol that takes 9 s: $(PATH="$place:$PATH" timed "$python" -m snakemake --version)"
