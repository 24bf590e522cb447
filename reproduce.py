"""Run the experiments of the README that have no result yet.

    python3 reproduce.py            # five to twenty minutes an experiment on two CPU cores, after download.py

Stop it at any moment: finished experiments are skipped, and the one that was running goes on.
"""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import util
from experiments import MATRIX

ROOT = Path(__file__).parent


def main():
    for number, experiment in enumerate(MATRIX, 1):
        done = Path("results", f"{experiment.name}.json").exists()
        print(f"[{number}/{len(MATRIX)}] {experiment.name}{': has a result' if done else ''}", flush=True)
        if done:
            continue
        status = run([sys.executable, str(ROOT / "inception2.py"), *arguments(experiment)])
        if status == 130:
            raise KeyboardInterrupt
        if status:
            raise util.UserError(f"{experiment.name} failed, see above: mend it and run the same command again")


def run(command):
    """Run a command and return its exit status; Ctrl-C, which it gets too, lets it end in its own time."""
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def arguments(experiment):
    """Return the command line of inception2.py that stands for an experiment."""
    named = ((field.name.replace("_", "-"), getattr(experiment, field.name)) for field in fields(experiment))
    return [part for name, value in named for part in (f"--{name}", str(value))]


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
