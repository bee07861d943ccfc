# One level of every ladder: what the level below has trained is pruned and goes back. A level reads that of the one
# below; its training is the same as that of rule `train`, and shares its place in the store.
rule ticket:
    input:
        data=lambda wc: PLAN.inputs("ticket", wc.bundle, "data"),
        inits=lambda wc: PLAN.inputs("ticket", wc.bundle, "init"),
        tickets=lambda wc: PLAN.inputs("ticket", wc.bundle, "ticket", "signs"),
    output:
        "results/tickets/{bundle}.safetensors",
    log:
        "results/logs/ticket/{bundle}.log",
    benchmark:
        "results/benchmarks/ticket/{bundle}.tsv"
    priority: lambda wc: PLAN.urgency("ticket", wc.bundle)
    conda:
        "../envs/sparse-ortho.yaml"
    threads: lambda wc: PLAN.threads(wc.bundle, "ticket")
    resources:
        mem_mb=lambda wc, attempt: PLAN.memory("ticket", wc.bundle) * attempt,
        runtime=lambda wc, attempt: PLAN.minutes("ticket", wc.bundle) * attempt,
        gpu=lambda wc: PLAN.gpus("ticket", wc.bundle),
    params:
        job=lambda wc: PLAN.job("ticket", wc.bundle),
    shell:
        "python -m workflow_scripts.ticket --job {params.job:q} --data {input.data} --inits {input.inits}"
        " --tickets {input.tickets} --output {output} --log {log}"
