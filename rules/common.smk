# What all rules share: the plan, the environment of the jobs, the run lock and the last words.
from sparse_ortho.errors import UserError
from sparse_ortho.plan import budget, surroundings
from sparse_ortho.plan.console import tidy
from sparse_ortho.plan.workflow import Plan


def ask(question, *words):
    """An answer of the plan; a user's error ends here, in one sentence and nothing else."""
    try:
        return question(*words)
    except UserError as error:
        sys.exit(f"error: {error}")


tidy()
PLAN = ask(Plan, config)
ask(surroundings.set_environment, PLAN)


wildcard_constraints:
    bundle=r"[a-z][a-z0-9_]*-[a-z][a-z0-9_]*-[a-z0-9_@]+-[a-z0-9_@]+-[a-z0-9]+(-s\d+)?",
    cell=r"[a-z0-9_@.\-]+-[0-9a-f]{12}",
    seed=r"\d+",
    study=r"[a-z][a-z0-9_]*",
    exhibit=r"[a-z][a-z0-9_]*",


onstart:
    needed = [(job.rule.name, job.wildcards_dict) for job in workflow.dag.needrun_jobs()]
    surroundings.take_lock({rule for rule, _ in needed})
    budget.begin(PLAN, needed, surroundings.workers(PLAN, workflow.global_resources))


onsuccess:
    surroundings.tell_results()


onerror:
    budget.tell(PLAN)
