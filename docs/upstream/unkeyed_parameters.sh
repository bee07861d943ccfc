#!/usr/bin/env bash
# Snakemake compares the values of a rule's parameters as a set, without their names: two that swap go unseen.
set -euo pipefail
snakemake="${SNAKEMAKE:-$PWD/.venv/bin/snakemake}"
cd "$(mktemp -d)"
rule() {
  printf 'rule all:\n    output: "out.txt"\n    params: seed=%s, width=%s\n' "$1" "$2" >Snakefile
  printf '    shell: "echo seed={params.seed} width={params.width} > {output}"\n' >>Snakefile
}
rule 1 2
"$snakemake" --cores 1 --quiet all >/dev/null 2>&1
rule 2 1
"$snakemake" --cores 1 >second.log 2>&1
grep -o "Nothing to be done" second.log || echo "it ran again"
echo "wanted: seed=2 width=1, found: $(cat out.txt)"
