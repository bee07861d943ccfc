"""Train one cell without a study, through the same plan, store and errors as a study's.

    python -m workflow_scripts.run --set data=mnist model=mlp mask=erk init=eoi density=0.05 "seeds=[13]"

The papers' one-word spellings are understood too: mask=snip_direct_EI, mask=erk_AI.
"""

from sparse_ortho.plan.config import read_yaml
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages import single
from sparse_ortho.stages.planning import parse_setting
from sparse_ortho.stages.program import add_store, context_of, guarded, parser_of


def main() -> int:
    parser = parser_of(__doc__)
    parser.epilog = single.help_text()
    add_store(parser)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of the cell, listed below")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")

    def body(arguments):
        plan = Plan(read_yaml(ROOT / "config.yaml") | {"device": arguments.device})
        cell, seeds = single.cell_of([parse_setting(text) for text in arguments.set])
        single.main(cell, seeds, plan, context_of(arguments))

    return guarded(parser, body)


if __name__ == "__main__":
    raise SystemExit(main())
