"""What made a target stale: the job that a bundle was made by beside the job that it would be made by now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sparse_ortho.plan import job as jobs
from sparse_ortho.plan.digest import stage_modules


def differences(before: Mapping[str, Any], text: str) -> Iterator[str]:
    """Sentences that say what changed between a provenance record and the job as planned now."""
    if before["job"] == text:
        return
    old, new = jobs.load(before["job"]), jobs.load(text)
    for name in sorted(old.env.keys() | new.env.keys()):
        if old.env.get(name) != new.env.get(name):
            yield f"{name}: {old.env.get(name, 'absent')} before, {new.env.get(name, 'absent')} now"
    was, now = ({task.id: task for task in job.cells} for job in (old, new))
    for kind, names in (("new", now.keys() - was.keys()), ("gone", was.keys() - now.keys())):
        if names:
            yield f"{kind}: {', '.join(sorted(names))}"
    recoded = [name for name in was.keys() & now.keys() if was[name].code != now[name].code]
    if recoded:
        yield f"code: {', '.join(changed_modules(before, new, recoded)) or 'its methods'} ({len(recoded)} cells)"
    for name in sorted(was.keys() & now.keys()):
        if list(was[name].seeds) != list(now[name].seeds):
            yield f"{name}: seeds {list(was[name].seeds)} before, {list(now[name].seeds)} now"
    for key in sorted(old.more.keys() | new.more.keys()):
        if old.more.get(key) != new.more.get(key):
            yield f"{key}: changed ({', '.join(changed_fields(old.more.get(key), new.more.get(key))) or 'content'})"


def changed_modules(before: Mapping[str, Any], new: jobs.Job, cells: list[str]) -> list[str]:
    """The modules whose digest differs, and those that came or went."""
    now: dict[str, str] = {}
    for task in new.cells:
        if task.id in cells:
            now |= stage_modules(new.stage, frozenset(task.methods))
    was = before["modules"]
    return sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name) and name in now)


def changed_fields(old: Any, new: Any) -> list[str]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return []
    return sorted(key for key in old.keys() | new.keys() if json.dumps(old.get(key)) != json.dumps(new.get(key)))
