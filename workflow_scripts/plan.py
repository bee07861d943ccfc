"""Say what the configuration amounts to: cells, seeds, jobs, nominal cost. Trains nothing."""

from sparse_ortho.plan.forecast import forecast, lines
from sparse_ortho.plan.summary import summary
from sparse_ortho.stages.planning import add_config, plan_of
from sparse_ortho.stages.program import guarded, parser_of, say


def main() -> int:
    parser = parser_of(__doc__)
    add_config(parser)
    parser.add_argument("--job", metavar="STAGE/BUNDLE", help="print the job of one bundle instead")

    parser.add_argument("--forecast", type=int, metavar="N", help="times, files and bytes on N workers like this one")
    parser.add_argument("--cells", type=int, help="forecast: as if so many cells were trained")

    def body(arguments):
        plan = plan_of(arguments)
        if arguments.forecast is not None:
            return say("\n".join(lines(forecast(plan, arguments.forecast, arguments.cells))))
        if arguments.job:
            return print(plan.job(*arguments.job.split("/", 1)))
        say("\n".join(summary(plan)))

    return guarded(parser, body)


if __name__ == "__main__":
    raise SystemExit(main())
