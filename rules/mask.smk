rule mask:
    input:
        data=lambda wc: PLAN.inputs("mask", wc.bundle, "data"),
    output:
        "results/masks/{bundle}.safetensors",
    log:
        "results/logs/mask/{bundle}.log",
    benchmark:
        "results/benchmarks/mask/{bundle}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    resources:
        mem_mb=lambda wc, attempt: PLAN.memory("mask", wc.bundle) * attempt,
        runtime=lambda wc, attempt: PLAN.minutes("mask", wc.bundle) * attempt,
    params:
        job=lambda wc: PLAN.job("mask", wc.bundle),
    shell:
        "python -m workflow_scripts.mask --job {params.job:q} --data {input.data} --output {output} --log {log}"
