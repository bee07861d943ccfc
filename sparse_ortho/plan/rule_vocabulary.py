"""What the released programs call rules, their options and criteria, in our words.

Sparse Momentum says death or prune where a weight leaves (v0.1 and later), the programs of Nowak et al. and Gadhikar et
al. have both and more. A word means the same wherever it is written, but counts only where the rule has the option that
it stands for; otherwise it is as unknown as any other. An alias has the identity of what it means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sparse_ortho.errors import UserError, nearest
from sparse_ortho.plan.options import defaults
from sparse_ortho.registry import resolve, table

Said = tuple[str, Any]  # an option of ours and its value
KINDS = {"drop": "drops", "growth": "growths", "redistribution": "shares"}  # options that name a criterion
CRITERIA = {"taylorfo": "taylor_f0", "nonzero": "nonzeros", "globalmomentumgrowth": "global_momentum"}
CHOICES: dict[str, dict[Any, Any]] = {  # values of options of one name that are called otherwise
    "momentum_reset": {"none": False, "zero": True},
    "normalize": {"channel": "output", "depth": "input"},
    "regrown_value": {"seed": "keep"},
    "restore_norm": {"dim0": "output", "dim1": "input", "total_norm": "layer"},
}


def _same(option: str) -> Callable[[Any], Said]:
    return lambda value: (option, value)


def _switch(option: str, on: Any, off: Any) -> Callable[[Any], Said]:
    return lambda value: (option, on if value is True else off if value is False else value)


def _every(value: Any) -> Said:
    """Whole numbers are steps, and 0 of them is the default of that program: an epoch."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return "every", {"epoch": "1ep", 0: "1ep"}.get(value, f"{value}it" if whole else value)


def _epochs(option: str) -> Callable[[Any], Said]:
    return lambda value: (option, f"{value}ep" if isinstance(value, int | float) else value)


WORDS: dict[str, tuple[Callable[[Any], Said], ...]] = {  # the first whose option the rule has
    **dict.fromkeys(("death", "death_mode", "prune", "prune_mode"), (_same("drop"),)),
    **dict.fromkeys(("death_rate", "prune_rate"), (_same("fraction"),)),
    "growth_mode": (_same("growth"),),
    "redistribution_mode": (_same("redistribution"),),
    "decay_schedule": (_same("decay"),),
    **dict.fromkeys(("prune_every_k_steps", "update_every", "update_frequency"), (_every,)),
    "init_prune_epoch": (_epochs("start"),),
    "final_prune_epoch": (_epochs("density_stop"), _epochs("stop")),
    "global_pruning": (_switch("drop_scope", "global", "layer"),),
    "adjust": (_same("restore_norm"),),
    "T": (_same("temperature"),),
    "jaccard": (_same("overlap"),),
    "manual_stop": (_same("once"),),
    "flow_preservation": (_switch("flow", "start", "none"),),
}
OFF = {"dense": True, "fix": True, "sparse": False}  # with this value masks do not change; with the other they do


def plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def in_our_words(value: Any, where: str) -> Any:
    """A rule without words of released programs; None for one that they switch off. What is unknown stays unknown."""
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        return value
    rule, also = _rule(given["name"], given.get("controller"))
    if rule not in table("rules"):
        return value
    known, found = defaults(resolve("rules", rule)), {"name": rule} | also
    for key, item in given.items():
        if key in OFF and key not in known and isinstance(item, bool):
            if item is OFF[key]:
                return None
        elif key not in ("name", "controller"):
            option, said = _option(key, item, known, where)
            for name, meant in (_criterion(option, said, known) if option in KINDS else {option: said}).items():
                if found.setdefault(name, meant) != meant:
                    raise UserError(f"{where}.{key}", f"says {name}={meant}, and {name} is said otherwise", found=item)
    return found


def _rule(word: str, controller: Any) -> tuple[str, dict[str, Any]]:
    """A registered name in any case and with - for _; `_uniform` thins each layer by itself."""
    if word in table("rules"):
        name, also = word, {}
    else:
        stem = plain(word).removesuffix("uniform")
        name = next((known for known in table("rules") if plain(known) == stem), word)
        also = {"scope": "even"} if stem != plain(word) and name != word else {}
    released = f"{name}@as_released"
    return released if controller == "seed" and released in table("rules") else name, also


def _option(key: str, value: Any, known: Mapping[str, Any], where: str) -> Said:
    if key not in known:
        for meaning in WORDS.get(key, ()):
            option, said = meaning(value)
            if option in known:
                return option, _choice(option, said)
        refuse(key, known, where)
    return key, _choice(key, value)


def refuse(key: str, known: Mapping[str, Any], where: str) -> None:
    """An unknown key that is close to a word of the released programs and to none of ours."""
    words = {word: option for word, meanings in WORDS.items() for option in _first(meanings, known)}
    if (near := nearest(key, [*known, *words])) in words and near is not None:
        problem = f"unknown key; released programs say {near}, which is {words[near]} here"
        raise UserError(f"{where}.{key}", problem, found=key, allowed=known)
    raise UserError(f"{where}.{key}", "unknown key", found=key, allowed=known or ["nothing here"])


def _first(meanings: tuple[Callable[[Any], Said], ...], known: Mapping[str, Any]) -> list[str]:
    return [option for option in (meaning(0)[0] for meaning in meanings) if option in known][:1]


def _choice(option: str, value: Any) -> Any:
    return CHOICES.get(option, {}).get(value, value) if isinstance(value, str) else value


def _criterion(option: str, word: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """A criterion as registered: in any case, without `Fixed`; `global_` before one lets layers compete."""
    names = table(KINDS[option])
    if not isinstance(word, str) or word in names or ":" in word:
        return {option: word}
    stem = plain(word).removesuffix("fixed")
    found = next((name for name in names if plain(name) == CRITERIA.get(stem, stem).replace("_", "")), None)
    if found:
        return {option: found}
    local = next((name for name in names if plain(name) == stem.removeprefix("global")), None)
    if local and stem.startswith("global") and "drop_scope" in known and option == "drop":
        return {option: local, "drop_scope": "global"}
    return {option: word}
