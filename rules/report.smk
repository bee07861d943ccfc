rule report:
    input:
        ask(PLAN.targets),
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=lambda wc: PLAN.report_job(),
    shell:
        "python -m workflow_scripts.report --job {params.job:q} --output {output} --log {log}"


# The next four answer questions: they make no artifact, and a benchmark file would make them look done.
rule plan:
    log:
        "results/logs/plan.log",
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=PLAN.config_job(),
    shell:
        "python -m workflow_scripts.plan --config {params.job:q} --log {log}"


rule why:
    log:
        "results/logs/why.log",
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=PLAN.config_job(),
    shell:
        "python -m workflow_scripts.why --config {params.job:q} --log {log}"


rule partial:
    log:
        "results/logs/partial.log",
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=PLAN.config_job(),
    shell:
        "python -m workflow_scripts.partial --config {params.job:q} --log {log}"


rule audit:
    log:
        "results/logs/audit.log",
    localrule: True
    conda:
        "../envs/sparse-ortho.yaml"
    params:
        job=PLAN.config_job(),
    shell:
        "python -m workflow_scripts.audit --config {params.job:q} --log {log}"
