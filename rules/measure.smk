rule measure:
    input:
        data=lambda wc: PLAN.inputs("measure", wc.bundle, "data"),
        inits=lambda wc: PLAN.inputs("measure", wc.bundle, "init"),
        records=lambda wc: PLAN.inputs("measure", wc.bundle, "train"),
    output:
        "results/measures/{bundle}.parquet",
    log:
        "results/logs/measure/{bundle}.log",
    benchmark:
        "results/benchmarks/measure/{bundle}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    resources:
        mem_mb=lambda wc, attempt: PLAN.memory("measure", wc.bundle) * attempt,
        runtime=lambda wc, attempt: PLAN.minutes("measure", wc.bundle) * attempt,
    params:
        job=lambda wc: PLAN.job("measure", wc.bundle),
    shell:
        "python -m workflow_scripts.measure --job {params.job:q} --data {input.data} --inits {input.inits}"
        " --output {output} --log {log}"
