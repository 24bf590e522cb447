"""The stair: a folder imports only what lies below it; importing does nothing, and a command's help needs no Keras."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up.
STAIR = ("util", "download_module", "inception2_module", "restore_module", "wi2_paper")
COMMANDS = ("download", "inception2", "app")
BACKENDS = {"tensorflow", "jax", "torch"}
MODULES = [ROOT / "util.py", *(p for folder in STAIR[1:] for p in sorted((ROOT / folder).rglob("*.py")))]
SCRIPTS = sorted(".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "wi2_paper").rglob("*.py")
                 if "__main__" in p.read_text())


def imports(path):
    """First parts of the names of the modules that a file imports, anywhere in it."""
    nodes = ast.walk(ast.parse(path.read_text()))
    names = (n.module if isinstance(n, ast.ImportFrom) else alias.name
             for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for alias in n.names)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_folder_imports_only_what_lies_below_it(path):
    step = STAIR.index(path.relative_to(ROOT).parts[0].removesuffix(".py"))
    assert not imports(path) & {*STAIR[step + 1 :], *COMMANDS}
    # Other formats are TensorFlow's; what several hosts say to each other Keras has no word for.
    assert path.name in ("exporting.py", "hosts.py") or not imports(path) & BACKENDS


@pytest.mark.parametrize("script", [*COMMANDS, *SCRIPTS])
def test_help_comes_without_loading_keras(script):
    code = f"""
import contextlib, runpy, sys
sys.argv = ["command", "--help"]
with contextlib.suppress(SystemExit):
    runpy.run_module("{script}", run_name="__main__")
assert not {{"keras", "tensorflow"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("usage: ")
