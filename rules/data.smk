rule data:
    output:
        "results/data/{cell}.safetensors",
    params:
        job=lambda wc: PLAN.job("data", wc.cell),
    log:
        "results/logs/data/{cell}.log",
    benchmark:
        "results/benchmarks/data/{cell}.tsv"
    conda:
        "../envs/sparse-ortho.yaml"
    shell:
        "python -m workflow_scripts.data --job {params.job:q} --output {output} --log {log}"
