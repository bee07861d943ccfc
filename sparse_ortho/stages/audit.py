"""Everything under results/ and the store, looked at once more: digests, budgets, masks, records, tables, provenance.

Nothing is trained and nothing is changed. Every violation is one sentence; a summary line ends it either way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sparse_ortho.errors import UserError
from sparse_ortho.plan import paths
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages.auditing.bundles import check_tensors, check_weights
from sparse_ortho.stages.auditing.entries import check_store
from sparse_ortho.stages.auditing.exhibits import check_planned, check_unplanned, plans
from sparse_ortho.stages.auditing.findings import Findings
from sparse_ortho.stages.auditing.records import check_lines, check_records
from sparse_ortho.stages.planning import planned_jobs
from sparse_ortho.store import Store


def main(plan: Plan, store: Store, say: Callable[[str], None]) -> None:
    findings = audited(plan, store)
    for sentence in findings.wrong:
        say(f"audit: {sentence}")
    if findings.wrong:
        count = len(findings.wrong)
        raise UserError("audit", f"{count} {'violation' if count == 1 else 'violations'} among {findings.summary()}")
    say(f"audit: all is well: {findings.summary()}")


def audited(plan: Plan, store: Store) -> Findings:
    """What is found, from the store upwards: what is written from something is looked at after it."""
    findings, results = Findings(), Path(paths.RESULTS)
    known = check_store(store, findings)
    digests = check_tensors(results, findings)
    check_weights(results, findings)
    check_records(results, known, digests, findings)
    check_lines(results, known, digests, findings)
    made: set[str] = set()
    for number, each in enumerate(plans(plan)):
        check_planned(each, number == 0, findings)
        made |= {path for _, _, _, outputs in planned_jobs(each) for path in outputs}
    check_unplanned(results, made, findings)
    return findings
