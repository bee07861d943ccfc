rule measure:
    input:
        data=lambda wc: PLAN.inputs("measure", wc.bundle, "data"),
        inits=lambda wc: PLAN.inputs("measure", wc.bundle, "init"),
    output:
        "results/measures/{bundle}.parquet",
    log:
        "results/logs/measure/{bundle}.log",
    benchmark:
        "results/benchmarks/measure/{bundle}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=lambda wc: PLAN.job("measure", wc.bundle),
    shell:
        "python -m workflow_scripts.measure --job {params.job:q} --data {input.data} --inits {input.inits}"
        " --output {output} --log {log}"
