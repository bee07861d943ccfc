rule init:
    input:
        data=lambda wc: PLAN.inputs("init", wc.bundle, "data"),
        masks=lambda wc: PLAN.inputs("init", wc.bundle, "mask"),
    output:
        "results/inits/{bundle}.safetensors",
    log:
        "results/logs/init/{bundle}.log",
    benchmark:
        "results/benchmarks/init/{bundle}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    resources:
        mem_mb=lambda wc, attempt: PLAN.memory("init", wc.bundle) * attempt,
        runtime=lambda wc, attempt: PLAN.minutes("init", wc.bundle) * attempt,
    params:
        job=lambda wc: PLAN.job("init", wc.bundle),
    shell:
        "python -m workflow_scripts.init --job {params.job:q} --data {input.data} --masks {input.masks}"
        " --output {output} --log {log}"
