#!/usr/bin/env bash
# With an input marked ancient(), Snakemake does not look at the consumer's own changed parameter while the producer is
# stale too: the run ends, and the consumer's file is still that of the old parameter.
set -euo pipefail
snakemake="${SNAKEMAKE:-$PWD/.venv/bin/snakemake}"
cd "$(mktemp -d)"
rules() {
  printf 'rule all:\n    input: "b.txt"\n\n' >Snakefile
  printf 'rule a:\n    output: "a.txt"\n    params: n=%s\n    shell: "echo {params.n} > {output}"\n\n' "$1" >>Snakefile
  printf 'rule b:\n    input: ancient("a.txt")\n    output: "b.txt"\n    params: m="%s"\n' "$2" >>Snakefile
  printf '    shell: "echo m={params.m} > {output}"\n' >>Snakefile
}
rules 1 old
"$snakemake" --cores 1 --quiet all >/dev/null 2>&1
rules 2 new
"$snakemake" --cores 1 >second.log 2>&1
echo "the run ended with status $?; wanted: m=new, found: $(cat b.txt)"
"$snakemake" --cores 1 >third.log 2>&1
echo "after a third call: $(cat b.txt)"
