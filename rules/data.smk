rule data:
    output:
        "results/data/{cell}.safetensors",
    log:
        "results/logs/data/{cell}.log",
    benchmark:
        "results/benchmarks/data/{cell}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=lambda wc: PLAN.job("data", wc.cell),
    shell:
        "python -m workflow_scripts.data --job {params.job:q} --output {output} --log {log}"
