"""Who may import whom, and that importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [path for folder in ("", "download_module", "benchmarks") for path in sorted((ROOT / folder).glob("*.py"))]
OURS = {path.stem for path in ROOT.glob("*.py")} | {"download_module", "benchmarks"}
SCRIPTS = {"download", "inception2", "reproduce", "figures", "publish", "before_after", "ablation", "pictures"}
KERAS_FREE = {
    "util", "experiments", "tileset", "batches", "restoring", "imagefile", "applying", "classical", "evaluation",
    "samples", "provenance", "figures", "reproduce", "download", "publish", "figure_texts",
}


def imports(path, top_level_only=False):
    """Names of the modules that a file imports, dotted ones by their first part."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name.split(".")[0] for name in names} | names


@pytest.mark.parametrize("path", [ROOT / "util.py", ROOT / "experiments.py", ROOT / "download_module" / "degrade.py"],
                         ids=lambda path: path.name)
def test_the_ground_imports_nothing_of_ours(path):
    assert not imports(path) & OURS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_nobody_imports_a_script_or_tensorflow(path):
    backends = set() if path.name == "exporting.py" else {"tensorflow", "jax", "torch"}
    assert not imports(path) & (SCRIPTS | backends)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.relative_to(ROOT).as_posix().removesuffix(".py") in KERAS_FREE
             or p.parent.name == "download_module"], ids=lambda path: path.name)
def test_these_need_no_keras(path):
    assert not imports(path) & {"keras", "training", "networks"}


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_help_comes_without_loading_keras(script):
    code = f"import sys, {script}; assert not {{'keras', 'tensorflow'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
