"""HEALTHCHECK: healthy where the image is sound, unhealthy with the reason where it is not."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from harness import CODE, IMAGE, PROJECT, container, docker, environment, inspect, last_event, mounts, sentinel

API = "/opt/inscopix/Inscopix Data Processing.linux/Contents/API/Python"
CHECK = ("python", "/app/healthcheck.py")

# name: what is done to the image as root, and the reason given
DAMAGES = {
    "library removed": (f"rm '{API}/isx/lib/libisxpublicapi.so'", "missing file: libisxpublicapi.so"),
    "dependency removed": (f"rm '{API}/isx/lib/libQt5Core.so.5'", "shared library libQt5Core.so.5 not found"),
    "system library removed": (
        "rm /usr/lib/x86_64-linux-gnu/libglib-2.0.so.0*",
        "shared library libglib-2.0.so.0 not found",
    ),
    "library unreadable": (f"chmod 000 '{API}/isx/lib/libisxpublicapi.so'", "cannot be read by uid 1000"),
    "package removed": (f"rm -r '{API}/isx'", "the package isx is in no folder of the Python path"),
}


def derived(name: str, command: str) -> str:
    """An image made from the public one by a command that runs as root."""
    tag = f"{IMAGE}-damaged:{name.replace(' ', '-')}"
    dockerfile = f"FROM {IMAGE}:public\nUSER root\nRUN {command}\nUSER 1000:1000\n"
    words = ["docker", "build", "--tag", tag, "-"]
    done = subprocess.run(words, check=False, env=environment(), input=dockerfile, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return tag


@pytest.fixture(params=DAMAGES.items(), ids=DAMAGES, scope="module")
def damaged(request, public) -> Iterator[tuple[str, str]]:
    name, (command, reason) = request.param
    yield derived(name, command), reason


def test_a_damaged_image_is_unhealthy_and_says_why(damaged):
    image, reason = damaged
    done = container(*CHECK, image=image)
    assert done.returncode == 1, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["healthy"] is False
    assert any(reason in problem for problem in answer["problems"]), answer


def test_a_run_of_a_damaged_image_ends_with_69_and_says_why(damaged, movie, output):
    image, reason = damaged
    (output / "done.marker").write_text(sentinel())
    done = container(image=image, options=mounts(movie, output))
    assert done.returncode == 69, done.stderr
    assert reason in last_event(done)["message"]
    assert not (output / "done.marker").exists()


@pytest.mark.parametrize(
    "confinement", [[], ["--read-only", "--user", "12345", "--network", "none", "--cap-drop", "ALL"]]
)
def test_a_sound_image_is_healthy(confinement, public):
    done = container(*CHECK, options=confinement)
    assert done.returncode == 0, done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert json.loads(done.stdout)["healthy"] is True


def test_the_deep_check_is_healthy(public, idps):
    for image in (public, idps):
        done = container(*CHECK, "--deep", image=image)
        assert done.returncode == 0, done.stdout


def test_docker_itself_sees_a_healthy_container(public):
    assert inspect(public)["Config"]["Healthcheck"]["Test"] == ["CMD", "/opt/venv/bin/python", "-EsB", *CHECK[1:]]
    options = ["--detach", "--rm", "--health-interval=1s", "--health-start-period=0s"]
    name = docker("run", *options, public, *CODE, "import time; time.sleep(60)").stdout.strip()
    try:
        deadline = time.monotonic() + 60
        state = "starting"
        while state == "starting" and time.monotonic() < deadline:
            time.sleep(0.3)
            state = docker("inspect", "--format", "{{.State.Health.Status}}", name).stdout.strip()
        assert state == "healthy"
    finally:
        docker("rm", "--force", name)


def test_healthcheck_is_in_the_image_as_in_the_project(public):
    shown = container(*CODE, "print(open('/app/healthcheck.py').read(), end='')").stdout
    assert shown == (PROJECT / "healthcheck.py").read_text()
