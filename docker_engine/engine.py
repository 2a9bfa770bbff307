#!/usr/bin/env python3
"""A private Docker engine for machines that have none (Debian, root, x86-64).

    engine.py env     print the shell exports that make `docker` use the private engine; start that engine if none
                      answers. If the user's own Docker answers, print nothing.
    engine.py up      the same, without printing
    engine.py base RELEASE
                      print the image of this Debian release (bookworm, trixie) to build on; make it if the private
                      engine has none
    engine.py down    stop the private engine; nothing of it keeps running
    engine.py remove  stop it, and delete it with all its images, containers and caches

The engine is Debian's own docker, unpacked into a folder of this project, not installed. It has its own data, socket
and client configuration; it never touches a Docker on the host. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from debian import Apt, Unavailable, empty, host_release, host_sources, mirror, quiet, refuse_elsewhere, run, say

HOME = Path(os.environ.get("ISX_ENGINE_HOME", "/var/lib/isx-engine"))
RUN = Path(os.environ.get("ISX_ENGINE_RUN", "/run/isx-engine"))
ROOT = HOME / "root"
PLUGINS = "usr/libexec/docker/cli-plugins"
CONFIG = HOME / "config"
DATA = HOME / "data"
SOCKET = RUN / "docker.sock"
PIDFILE = RUN / "docker.pid"
LOG = HOME / "dockerd.log"
RELEASES = {"bookworm": "debian:bookworm-slim", "trixie": "debian:trixie-slim"}  # bases, as Docker Hub calls them
BASE_IMAGES = {name: f"isx-base:{name}-2" for name in RELEASES}  # another number for another base of the same name
BASE_IMAGE = BASE_IMAGES["bookworm"]
BASE_DIGEST = HOME / "base.sha256"
BASE_EPOCH = "1735689600"  # 2025-01-01: later time stamps in the base become this, so each build gives the same base

# Newest first. If the programs of one do not run on this host (its C library may be too old), the next is tried.
DOCKER_SUITES = ("testing", "stable")
BUILDX = (0, 20)  # the first version that knows and lists descriptions of variables
DOCKER_PACKAGES = ("docker.io", "docker-cli", "containerd")
PLUGIN_SUITE = "testing"  # stable's buildx is older than BUILDX
PLUGIN_PACKAGES = ("docker-buildx", "docker-compose")
# From the host's own release, since these link against its libraries.
HOST_PACKAGES = (
    *("runc", "iptables", "mmdebstrap"),
    *(
        "libip4tc2",
        "libip6tc2",
        "libxtables12",
        "libnftnl11",
        "libmnl0",
        "libnetfilter-conntrack3",
        "libnfnetlink0",
    ),
)
CACHE = "10GB"  # a larger build cache drops the entries that were unused for longest
START_SECONDS = 60
STOP_SECONDS = 30


# --- which engine -----------------------------------------------------------------------------------------------


def own_docker_answers() -> bool:
    """Whether the user's own client reaches an engine. Raises Unavailable if it does but cannot build."""
    docker = shutil.which("docker")
    if not docker or not quiet(docker, "version"):
        return False
    try:
        said = run(docker, "buildx", "version").stdout
    except Unavailable:
        raise Unavailable(
            "Docker answers, but its buildx plugin is missing: install docker-buildx-plugin (or docker-buildx)."
        ) from None
    version = re.search(r"buildx v?(\d+)\.(\d+)", said)
    if version and (int(version[1]), int(version[2])) < BUILDX:
        raise Unavailable(
            f"Docker answers, but its buildx plugin is too old: {version[1]}.{version[2]}, and docker-bake.hcl needs "
            f"{BUILDX[0]}.{BUILDX[1]}. Install docker-buildx-plugin from Docker's own packages "
            "(https://docs.docker.com/engine/install/), or a release of github.com/docker/buildx."
        )
    return True


def exports() -> dict[str, str]:
    """The variables that make plain `docker`, buildx and compose use the private engine and its base image."""
    base = {"BASE_IMAGE": BASE_IMAGE, "BASE_DIGEST": BASE_DIGEST.read_text() if BASE_DIGEST.exists() else ""}
    return {
        "DOCKER_HOST": f"unix://{SOCKET}",
        "DOCKER_CONFIG": str(CONFIG),
        **(base if os.environ.get("BASE_IMAGE", BASE_IMAGE) == BASE_IMAGE else {}),
        # bake would ask before it reads a CA bundle or an installer from outside the project.
        "BUILDX_BAKE_ENTITLEMENTS_FS": "0",
    }


def refuse_where_it_cannot_run() -> None:
    refuse_elsewhere(
        "No Docker engine answers, and a private one cannot be started",
        "Install Docker (https://docs.docker.com/engine/install/), or start it, and check with 'docker info'.",
    )


# --- install ----------------------------------------------------------------------------------------------------


def install() -> None:
    """Unpack the engine once. The folder gets its final name only when its programs run."""
    if ROOT.exists():
        return
    problems = []
    for suite in DOCKER_SUITES:
        target = empty(ROOT)
        try:
            Apt(suite, HOME).unpack(DOCKER_PACKAGES, target)
            Apt(PLUGIN_SUITE, HOME).unpack(PLUGIN_PACKAGES, target)
            Apt(host_release(), HOME).unpack(HOST_PACKAGES, target)
            (target / "usr/sbin/iptables").symlink_to(iptables_that_works(target))
            for program in ("usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/docker", "usr/sbin/runc"):
                run(target / program, "--version", env=engine_environment(target))
            for plugin in sorted((target / PLUGINS).iterdir()):
                run(plugin, "version")
        except Unavailable as error:
            problems.append(f"Debian {suite}: {error}")
            continue
        target.rename(ROOT)
        shutil.rmtree(HOME / "apt", ignore_errors=True)
        return
    raise Unavailable("The packages of the private engine cannot be used:\n" + "\n".join(problems))


def iptables_that_works(root: Path) -> str:
    """The nft or the legacy variant, whichever this kernel has."""
    environment = engine_environment(root)
    for variant in ("xtables-nft-multi", "xtables-legacy-multi"):
        with contextlib.suppress(Unavailable):
            run(root / "usr/sbin" / variant, "iptables", "-t", "nat", "-L", "-n", env=environment)
            return variant
    raise Unavailable("this kernel has neither nftables nor iptables NAT, which containers need for their network")


def engine_environment(root: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{root}/usr/sbin:{root}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LD_LIBRARY_PATH": f"{root}/usr/lib/x86_64-linux-gnu",
        "XTABLES_LIBDIR": f"{root}/usr/lib/x86_64-linux-gnu/xtables",
    }


def configure_client() -> None:
    plugins = CONFIG / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    for plugin in (ROOT / PLUGINS).iterdir():
        link = plugins / plugin.name
        if not link.is_symlink():
            link.symlink_to(plugin)


# --- start and stop ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def only_one_at_a_time():
    RUN.mkdir(parents=True, exist_ok=True)
    with (RUN / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def running_pid(pidfile: Path | None = None) -> int | None:
    """The pid of the private dockerd, or of another program of the engine. None if there is no pid file, or if another
    process has that number by now."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((pidfile or PIDFILE).read_text())
        if str(RUN) in command_line(pid):
            return pid
    return None


def command_line(pid: int) -> str:
    """Empty if the process is gone, or only waits to be reaped."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return ""


def docker(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return run(ROOT / "usr/bin/docker", *arguments, env={**os.environ, **exports()}, **options)


def start() -> None:
    if running_pid() is None:
        PIDFILE.unlink(missing_ok=True)
        HOME.mkdir(parents=True, exist_ok=True)
        settings = HOME / "daemon.json"
        settings.write_text(json.dumps({"builder": {"gc": {"enabled": True, "defaultKeepStorage": CACHE}}}))
        command = (
            *(ROOT / "usr/sbin/dockerd", "--config-file", settings),
            *("--host", f"unix://{SOCKET}", "--pidfile", PIDFILE),
            *("--data-root", DATA, "--exec-root", RUN / "exec", "--storage-driver", "overlay2"),
        )
        wait_until_it_answers(spawn(command, LOG))


def spawn(command: Sequence[str | Path], log_file: Path) -> subprocess.Popen[bytes]:
    """Start a daemon from the engine's programs, in a session of its own. Its output is appended to the log."""
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=engine_environment(ROOT),
        )


def wait_until_it_answers(daemon: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and daemon.poll() is None:
        with contextlib.suppress(Unavailable):
            docker("version")
            return
        time.sleep(0.2)
    daemon.terminate()
    tail = "\n".join(LOG.read_text(errors="replace").splitlines()[-15:])
    raise Unavailable(f"The private engine did not start within {START_SECONDS} s; the end of {LOG}:\n{tail}")


def has_base_image(image: str = BASE_IMAGE) -> bool:
    """Whether the base image exists. If the engine's data is damaged, delete all of it and start again.

    An interrupted deletion or a full disk can leave records of layers that do not exist. Every build would then fail
    until someone found the cause. Everything in the engine can be made again.
    """
    try:
        docker("image", "inspect", image)
    except Unavailable as error:
        if "No such image" not in str(error):
            say(f"The private engine's data in {DATA} is damaged; it starts anew. What it said: {error}")
            stop_all()
            discard(DATA)
            start()
        return False
    return True


def discard(folder: Path) -> None:
    """Delete a large folder. It is renamed first: if the deletion is interrupted, nobody uses the remaining half."""
    refuse = folder.with_name(f"{folder.name}.removed")
    shutil.rmtree(refuse, ignore_errors=True)
    if folder.exists():
        folder.rename(refuse)
        shutil.rmtree(refuse)


def import_base_image(release: str = "bookworm") -> str:
    """Make a slim Debian from the host's own mirror, as users pull it from Docker Hub; return its digest."""
    say(f"Making the base image {BASE_IMAGES[release]} from Debian's packages.")
    archive = HOME / "base.tar"
    environment = {**engine_environment(ROOT), "SOURCE_DATE_EPOCH": BASE_EPOCH}
    run("sh", Path(__file__).with_name("base.sh"), release, archive, *base_sources(release), env=environment)
    digest = "sha256:" + sha256(archive)
    docker("import", archive, BASE_IMAGES[release])
    archive.unlink()
    return digest


def sha256(file: Path) -> str:
    return run("sha256sum", file).stdout.split()[0]


def base_sources(release: str = "bookworm") -> list[str]:
    """apt lines for the base: its release, updates and security fixes."""
    known = {suite: host_sources().get(suite) or mirror() for suite in (release, f"{release}-updates")}
    known[f"{release}-security"] = security_archive(release)
    return [f"deb {uri} {suite} main" for suite, uri in known.items() if uri]


def security_archive(release: str) -> str:
    """Where security fixes are to be had: beside the host's mirror, or Debian's own; "" with a warning if nowhere."""
    suite = f"{release}-security"
    named = host_sources().get(suite)
    beside = re.sub(r"/debian/?$", "/debian-security/", mirror())
    for uri in dict.fromkeys(filter(None, (named, beside, "http://security.debian.org/debian-security/"))):
        with contextlib.suppress(Unavailable):
            Apt(suite, HOME, uri).update()
            return uri
    say(f"WARNING: no archive of {suite} answers: the base image, and what is built on it, has no security fixes.")
    return ""


def up() -> dict[str, str]:
    """Make sure that an engine answers; return the exports that make a client use it (none for the user's own)."""
    if own_docker_answers():
        return {}
    refuse_where_it_cannot_run()
    with only_one_at_a_time():
        if running_pid() is None:
            say(f"No Docker engine answers: starting a private one in {HOME} ('make engine-down' stops it).")
        install()
        configure_client()
        start()
        if not has_base_image():
            BASE_DIGEST.write_text(import_base_image())
    return exports()


def base(release: str) -> str:
    """The image of a Debian release to build on: Docker Hub's for the user's own engine, one made here for ours."""
    is_ours = os.environ.get("DOCKER_HOST") == f"unix://{SOCKET}"  # as Make calls it
    if not is_ours and not up():
        return RELEASES[release]
    with only_one_at_a_time():
        if not has_base_image(BASE_IMAGES[release]):
            import_base_image(release)
    return BASE_IMAGES[release]


def down() -> None:
    """Stop dockerd with every container and containerd; idempotent."""
    with only_one_at_a_time():
        stop_all()


def stop_all() -> None:
    pids = [running_pid(), running_pid(RUN / "exec/containerd/containerd.pid")]
    for pid in filter(None, pids):
        stop(pid)
    PIDFILE.unlink(missing_ok=True)


def remove() -> None:
    """Stop the engine and give back its disk space."""
    with only_one_at_a_time():
        stop_all()
        discard(HOME)


def stop(pid: int) -> None:
    for sign, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not command_line(pid):
                return
            time.sleep(0.1)


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["env"]:
            environment = up()
            for name, value in environment.items():
                print(f"export {name}={shlex.quote(value)}")
            if environment:
                print(f'export PATH={shlex.quote(str(ROOT / "usr/bin"))}:"$PATH"')
        elif len(arguments) == 2 and arguments[0] == "base" and arguments[1] in RELEASES:
            print(base(arguments[1]))
        elif arguments == ["up"]:
            up()
        elif arguments == ["down"]:
            down()
        elif arguments == ["remove"]:
            remove()
        else:
            say(__doc__ or "")
            return 64
    except Unavailable as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
