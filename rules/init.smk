rule init:
    input:
        data=lambda wc: PLAN.inputs("init", wc.bundle, "data"),
        masks=lambda wc: PLAN.inputs("init", wc.bundle, "mask"),
    output:
        "results/inits/{bundle}.safetensors",
    params:
        job=lambda wc: PLAN.job("init", wc.bundle),
    log:
        "results/logs/init/{bundle}.log",
    benchmark:
        "results/benchmarks/init/{bundle}.tsv"
    resources:
        mem_mb=lambda wc, attempt: 2000 * attempt,
    conda:
        "../envs/sparse-ortho.yaml"
    shell:
        "python -m workflow_scripts.init --job {params.job:q} --data {input.data} --masks {input.masks}"
        " --output {output} --log {log}"
