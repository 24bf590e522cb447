"""Run the experiments of the README that have no result yet, the most telling first.

    python3 -m wi2_paper.reproduce             # after download.py: a day on two CPU cores
    python3 -m wi2_paper.reproduce --list      # what there is, and what has a result
    python3 -m wi2_paper.reproduce --only mars-sr_x4 fewdata    # experiments with all of these words in their names
    python3 -m wi2_paper.reproduce --budget 1  # `paper` with its full number of updates too: for a GPU
    python3 -m wi2_paper.reproduce --scheduler tcp://HOST:8786    # on the machines of a Dask cluster

Stop it at any moment: finished experiments are skipped, and the one that was running goes on from its checkpoint.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import util
from download_module import cluster
from inception2_module.experiments import arguments
from wi2_paper.matrix import matrix, pace

ROOT = Path(__file__).parents[1]
part = util.number(float, lambda value: 0 < value <= 1, "a number above 0, up to 1")


def main(argv=None):
    options = build_parser().parse_args(argv)
    chosen = [e for e in matrix(options.budget) if all(word in e.name for word in options.only)]
    if not chosen:
        raise util.UserError(f"no experiment has {' and '.join(options.only)} in its name: see --list")
    missing = [experiment for experiment in chosen if not has_result(experiment)]
    if options.list:
        for experiment in chosen:
            print(f"{'missing' if experiment in missing else 'done':<8} {experiment.name}")
    print(f"{len(chosen) - len(missing)} of {len(chosen)} experiments have a result", flush=True)
    if options.scheduler and not options.list:
        run_on_cluster(missing, options.scheduler)
    elif not options.list:
        run_all(missing)


def build_parser():
    parser = util.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say what has a result, and run nothing")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD",
                        help="only the experiments with all of these words in their names")
    parser.add_argument("--budget", type=part, metavar="PART",
                        help="part of each recipe's updates, above 0 (default: that of the tables, see matrix.py)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="run them on the workers of the Dask scheduler there")
    return parser


def run_all(experiments):
    """Run experiments one after the other; say before each how long all that are left may take."""
    began, done = time.monotonic(), 0
    work = [work_left(experiment) for experiment in experiments]
    for number, experiment in enumerate(experiments, 1):
        left = sum(work[number - 1 :])
        eta = f", about {_hours((time.monotonic() - began) / done * left)} to go" if done else ""
        print(f"[{number}/{len(experiments)}{eta}] {experiment.name}", flush=True)
        status = run([sys.executable, str(ROOT / "inception2.py"), *arguments(experiment)])
        if status == 130:
            raise KeyboardInterrupt
        if status:
            raise util.UserError(f"{experiment.name} failed, see above: mend it and run the same command again")
        done += work[number - 1]


def run_on_cluster(experiments, scheduler):
    """Run experiments on the workers of a Dask cluster, each in the present folder, which all workers see."""
    jobs = [(experiment.name, Path.cwd(), "inception2.py", *arguments(experiment)) for experiment in experiments]
    n_failed = 0
    for (name, *_), _, error in cluster.outcomes(cluster.run_command, jobs, scheduler):
        n_failed += error is not None
        util.say(util.describe_error(error) if error else f"done: {name}")
    if n_failed:
        raise util.UserError(f"{n_failed} of {len(jobs)} experiments failed, see above: mend them and run the same "
                             "command again")


def work_left(experiment):
    """Return the updates that an experiment still needs, in those of the paper's network."""
    log = Path("runs") / experiment.name / "log.jsonl"  # a line for each interval
    done = len(log.read_text().splitlines()) * experiment.interval if log.exists() else 0
    return max(0, experiment.n_updates - done) / pace(experiment.model)


def has_result(experiment):
    return Path("results", f"{experiment.name}.json").exists()


def run(command):
    """Run a command and return its exit status; Ctrl-C, which it gets too, lets it end in its own time."""
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def _hours(seconds):
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
