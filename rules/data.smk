rule data:
    output:
        "results/data/{cell}.safetensors",
    log:
        "results/logs/data/{cell}.log",
    benchmark:
        "results/benchmarks/data/{cell}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    resources:
        mem_mb=lambda wc, attempt: 4000 * attempt,
        runtime=lambda wc, attempt: 60 * attempt,
    params:
        job=lambda wc: PLAN.job("data", wc.cell),
    shell:
        "python -m workflow_scripts.data --job {params.job:q} --output {output} --log {log}"
