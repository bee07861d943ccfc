rule report:
    input:
        ask(PLAN.targets),
    output:
        "results/report.html",
    params:
        job=lambda wc: PLAN.report_job(),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    shell:
        "python -m workflow_scripts.report --job {params.job:q} --output {output} --log {log}"


rule plan:
    params:
        job=PLAN.config_job(),
    log:
        "results/logs/plan.log",
    benchmark:
        "results/benchmarks/plan.tsv"
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    shell:
        "python -m workflow_scripts.plan --config {params.job:q} --log {log}"


rule why:
    params:
        job=PLAN.config_job(),
    log:
        "results/logs/why.log",
    benchmark:
        "results/benchmarks/why.tsv"
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    shell:
        "python -m workflow_scripts.why --config {params.job:q} --log {log}"


rule partial:
    params:
        job=PLAN.config_job(),
    log:
        "results/logs/partial.log",
    benchmark:
        "results/benchmarks/partial.tsv"
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    shell:
        "python -m workflow_scripts.partial --config {params.job:q} --log {log}"
