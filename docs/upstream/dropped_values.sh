#!/usr/bin/env bash
# Snakemake leaves parameters that are no builtin type (a Path, a dataclass, an array) out of its record: a change of
# one goes unseen.
set -euo pipefail
snakemake="${SNAKEMAKE:-$PWD/.venv/bin/snakemake}"
cd "$(mktemp -d)"
rule() {
  printf 'from pathlib import Path\n\nrule all:\n    output: "out.txt"\n    params: place=Path("%s")\n' "$1" >Snakefile
  printf '    shell: "echo {params.place} > {output}"\n' >>Snakefile
}
rule first
"$snakemake" --cores 1 --quiet all >/dev/null 2>&1
rule second
"$snakemake" --cores 1 >second.log 2>&1
grep -o "Nothing to be done" second.log || echo "it ran again"
echo "wanted: second, found: $(cat out.txt)"
