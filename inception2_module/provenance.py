"""Where a number comes from: program versions, machine, commit. No Keras in here, and no host name or path."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow", "scikit-image")


def describe(backend, devices):
    """Describe the present process: the fields device, backend, versions and git_commit of a result.

    Parameters
    ----------
    backend : str, Keras's
    devices : list of str, what `keras.distribution.list_devices` says
    """
    device = gpu() if any("gpu" in name for name in devices) else None
    return {"device": device or cpu(), "backend": backend, "versions": versions(), "git_commit": git_commit()}


def versions(packages=PACKAGES):
    """Return {name: version} of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def cpu():
    """Describe the processor: model and the number of cores that this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model or platform.processor() or platform.machine()}, {n_cores} core{'s' * (n_cores > 1)}"


def gpu():
    """Name the NVIDIA GPUs, as the driver does; None where there is no driver."""
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return ", ".join(names.strip().splitlines())


def git_commit():
    """Return the commit of this program's files, "+changes" added when tracked code differs; None without git."""
    try:
        commit = _git("rev-parse", "HEAD").strip()
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(*arguments):
    command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
