"""Write what the paper is made of, wi2_paper/generated/, from results/, weights/ and the code; `make paper` builds it.

    python3 -m wi2_paper.paper                  # make paper-figures: all tables, numbers and figures, half a minute
    python3 -m wi2_paper.paper curve network    # only these figures; the tables and numbers are always written

The figures of test tiles need datasets/mars (download.py --dataset mars); that of the branches takes the trainings in
runs/ (reproduce.py), or the tiles that they gave, which it keeps in generated/branches/. A figure that cannot be drawn
stays as it is, and a line says what it lacks.
"""

import argparse
import sys
from pathlib import Path

import util
from wi2_paper import figures, latex, tables

FOLDER = Path("wi2_paper")
GENERATED = FOLDER / "generated"


def main(argv=None):
    parser = util.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", choices=[[], *figures.FIGURES],
                        help=f"of {', '.join(figures.FIGURES)} (default: all)")
    chosen = parser.parse_args(argv).figures or figures.FIGURES
    results = tables.read_results("results")
    for name, text in latex.fragments(results, (FOLDER / "paper.tex").read_text(encoding="utf-8")).items():
        with util.replacing(GENERATED / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"written: {GENERATED}/*.tex")
    for name in chosen:
        path = GENERATED / f"{name}.pdf"
        try:
            figure, content = figures.FIGURES[name](results)
        except util.UserError as error:
            util.say(f"{path} stays as it is: {error}")
            continue
        figures.save(figure, path, content)
        print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
