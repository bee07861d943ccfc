rule mask:
    input:
        data=lambda wc: PLAN.inputs("mask", wc.bundle, "data"),
    output:
        "results/masks/{bundle}.safetensors",
    params:
        job=lambda wc: PLAN.job("mask", wc.bundle),
    log:
        "results/logs/mask/{bundle}.log",
    benchmark:
        "results/benchmarks/mask/{bundle}.tsv"
    resources:
        mem_mb=lambda wc, attempt: 2000 * attempt,
    conda:
        "../envs/sparse-ortho.yaml"
    shell:
        "python -m workflow_scripts.mask --job {params.job:q} --data {input.data} --output {output} --log {log}"
