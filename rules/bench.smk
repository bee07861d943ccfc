rule bench:
    input:
        data=lambda wc: PLAN.inputs("bench", wc.bundle, "data"),
        inits=lambda wc: PLAN.inputs("bench", wc.bundle, "init"),
    output:
        "results/benches/{bundle}.parquet",
    log:
        "results/logs/bench/{bundle}.log",
    benchmark:
        "results/benchmarks/bench/{bundle}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    threads: os.cpu_count() or 1  # nothing else runs on the machine meanwhile
    resources:
        mem_mb=lambda wc, attempt: 4000 * attempt,
        runtime=lambda wc, attempt: PLAN.minutes("bench", wc.bundle) * attempt,
    params:
        job=lambda wc: PLAN.job("bench", wc.bundle),
    shell:
        "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 python -m workflow_scripts.bench"
        " --job {params.job:q} --data {input.data} --inits {input.inits} --output {output} --log {log}"
