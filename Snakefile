from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


configfile: str(Path(workflow.basedir, "config.yaml"))


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/mask.smk"
include: "rules/init.smk"
include: "rules/ticket.smk"
include: "rules/train.smk"
include: "rules/measure.smk"
include: "rules/bench.smk"
include: "rules/exhibit.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        ask(PLAN.targets),
        PLAN.all_records(),
        "results/report.html",
    localrule: True


for study in ask(PLAN.studies_here):

    rule:
        name:
            study
        input:
            lambda wc, study=study: PLAN.exhibits(study) + PLAN.records(study),
        localrule: True
