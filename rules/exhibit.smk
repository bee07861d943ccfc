rule table:
    input:
        lambda wc: PLAN.exhibit_inputs(wc.study, wc.exhibit),
    output:
        multiext("results/tables/{study}/{scale}/{exhibit}", ".md", ".tex", ".html", ".csv"),
    log:
        "results/logs/table/{study}/{scale}/{exhibit}.log",
    benchmark:
        "results/benchmarks/table/{study}/{scale}/{exhibit}.tsv"
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=lambda wc: PLAN.exhibit_job(wc.study, wc.exhibit),
    shell:
        "python -m workflow_scripts.exhibit --job {params.job:q} --inputs {input} --outputs {output} --log {log}"


rule figure:
    input:
        lambda wc: PLAN.exhibit_inputs(wc.study, wc.exhibit),
    output:
        multiext("results/figures/{study}/{scale}/{exhibit}", ".svg", ".png", ".csv"),
    log:
        "results/logs/figure/{study}/{scale}/{exhibit}.log",
    benchmark:
        "results/benchmarks/figure/{study}/{scale}/{exhibit}.tsv"
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=lambda wc: PLAN.exhibit_job(wc.study, wc.exhibit),
    shell:
        "python -m workflow_scripts.exhibit --job {params.job:q} --inputs {input} --outputs {output} --log {log}"
