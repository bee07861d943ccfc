rule train:
    input:
        data=lambda wc: PLAN.inputs("train", wc.bundle, "data"),
        inits=lambda wc: PLAN.inputs("train", wc.bundle, "init"),
    output:
        records="results/records/{bundle}.parquet",
        curves="results/curves/{bundle}.parquet",
    log:
        "results/logs/train/{bundle}.log",
    benchmark:
        "results/benchmarks/train/{bundle}.tsv"
    priority: lambda wc: PLAN.urgency("train", wc.bundle)
    conda:
        "../envs/sparse-ortho.yaml"
    threads: lambda wc: PLAN.threads(wc.bundle)
    resources:
        mem_mb=lambda wc, attempt: PLAN.memory("train", wc.bundle) * attempt,
        runtime=lambda wc, attempt: PLAN.minutes("train", wc.bundle) * attempt,
        gpu=lambda wc: PLAN.gpus("train", wc.bundle),
    params:
        job=lambda wc: PLAN.job("train", wc.bundle),
    shell:
        "python -m workflow_scripts.train --job {params.job:q} --data {input.data} --inits {input.inits}"
        " --records {output.records} --curves {output.curves} --log {log}"


rule cell:
    input:
        lambda wc: PLAN.holders(wc.cell),
    output:
        "results/cells/{cell}.parquet",
    log:
        "results/logs/cell/{cell}.log",
    benchmark:
        "results/benchmarks/cell/{cell}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=lambda wc: PLAN.cut_job(wc.cell),
    shell:
        "python -m workflow_scripts.cell --job {params.job:q} --records {input} --output {output} --log {log}"


rule weights:
    input:
        data=lambda wc: PLAN.cell_inputs(wc.cell, "data"),
        inits=lambda wc: PLAN.cell_inputs(wc.cell, "init"),
        records=lambda wc: PLAN.holders(wc.cell),
    output:
        "results/weights/{cell}-s{seed}.safetensors",
    log:
        "results/logs/weights/{cell}-s{seed}.log",
    benchmark:
        "results/benchmarks/weights/{cell}-s{seed}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=lambda wc: PLAN.weights_job(wc.cell, int(wc.seed)),
    shell:
        "python -m workflow_scripts.weights --job {params.job:q} --data {input.data} --inits {input.inits}"
        " --output {output} --log {log}"
