"""Where the isx API is, which one it is, whether it can be loaded and, if not, why. Never imports it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import APP
from native import elf

SYSTEM_PACKAGES = Path("/usr/share/isx/packages.json")
PROBE = Path(__file__).with_name("probe.py")
PROBE_TIMEOUT = 60  # seconds; it takes a twentieth of one
IMPORT_TIMEOUT = 120


@dataclass(frozen=True)
class Api:
    """Which isx this is, as far as files tell."""

    folder: Path | None  # holds the package isx
    library: Path | None
    source: str  # "public" or "idps"
    name: str
    version: str
    sha256: str

    @property
    def facts(self) -> dict[str, str]:
        return {"source": self.source, "name": self.name, "version": self.version, "sha256": self.sha256}

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.version, f"({self.source})")))


@dataclass(frozen=True)
class Probe:
    """How loading the native library went."""

    error: str = ""  # empty if it was loaded
    with_algorithms: bool = False


def find_api() -> Api:
    """The isx that `import isx` would take. Never raises: missing facts are empty."""
    try:
        spec = importlib.util.find_spec("isx")
    except (ImportError, ValueError):
        spec = None
    package = Path(spec.origin).parent if spec and spec.origin else None
    folder = package.parent if package else None
    library = None
    if package and folder:
        # The public wheel keeps the library in isx/lib, IDPS beside the package; isx looks in this order.
        places = (package / "lib" / elf.LIBRARY, package / elf.LIBRARY, folder / elf.LIBRARY)
        library = next((place for place in places if place.exists()), None)
    facts = _baked_facts(folder) or {"source": "public", "name": "isx", "version": distributions().get("isx", "")}
    return Api(folder, library, *(str(facts.get(key) or "") for key in ("source", "name", "version", "sha256")))


def start_probe(api: Api) -> subprocess.Popen[bytes] | None:
    """Begin to load the library in a process of its own; None if there is no library."""
    if api.library is None:
        return None
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROBE), str(api.library)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish_probe(probe: subprocess.Popen[bytes] | None) -> Probe:
    """The answer of the probe."""
    if probe is None:
        return Probe(f"{elf.LIBRARY} does not exist")
    try:
        output, _ = finish(probe, PROBE_TIMEOUT)
    except subprocess.TimeoutExpired:
        return Probe(f"loading did not finish within {PROBE_TIMEOUT} s")
    *noise, answer = output.decode("utf-8", "replace").strip().splitlines() or [""]
    refused = [line.removeprefix("ERROR: ") for line in noise if line.startswith("ERROR: ld.so:")]
    if refused:  # the loader goes on without what it was told to load, and so would all workers
        return Probe(f"a variable such as LD_PRELOAD names a library that cannot be loaded: {refused[0]} Unset it")
    try:
        return Probe(**json.loads(answer))
    except (ValueError, TypeError):
        return Probe(f"loading ended the process: {ending(probe.returncode)}")


def diagnosis(api: Api, error: str = "") -> str:
    """Why isx cannot be loaded, in one message with all that matters."""
    sentences = [f"isx cannot be loaded: {error}" if error else "isx cannot be loaded"]
    if api.folder is None:
        sentences.append("the package isx is in no folder of the Python path: the API is not in this image")
    elif api.library is None:
        sentences.append(f"missing file: {elf.LIBRARY}, neither in {api.folder / 'isx' / 'lib'} nor in {api.folder}")
    elif not os.access(api.library, os.R_OK):
        sentences.append(f"{api.library} cannot be read by uid {os.getuid()}")
    else:
        try:
            closure = elf.closure(api.library)
            sentences += closure.problems
            sentences.append(f"glibc: {closure.glibc_needed or 'any'} needed, {elf.system_glibc() or 'none'} found")
        except (elf.NotElf, OSError) as problem:
            sentences.append(str(problem))
    sentences.append(f"Python {platform.python_version()}, {platform.machine()}")
    if api.folder:
        sentences.append(f"API: {api} in {api.folder}")
    return "; ".join(sentences)


def import_error(tick: Callable[[], None] = lambda: None) -> str:
    """Empty if `import isx` works or is killed, else the error's last line. In another process; costs half a second."""
    try:
        importer = ask((sys.executable, "-c", "import isx"), IMPORT_TIMEOUT, tick)
    except subprocess.TimeoutExpired:
        return f"`import isx` did not finish within {IMPORT_TIMEOUT} s"
    if importer.returncode in (0, -signal.SIGKILL):  # killed from outside, as for want of memory: isx is not to blame
        return ""
    lines = importer.stderr.strip().splitlines()
    return lines[-1] if lines else ending(importer.returncode)


def distributions() -> dict[str, str]:
    """Versions of all installed packages, by normalised name. Read off the metadata folders' names, which is quick."""
    versions: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path):
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - thousands of entries, of which two dozen matter
        except OSError:
            continue
        for name in sorted(names):
            match = re.fullmatch(r"(.+)-([^-]+)\.dist-info", name)
            if match:
                versions.setdefault(normalised(match[1]), match[2])
    return dict(sorted(versions.items()))


def system_packages() -> dict[str, str]:
    """Versions of the distribution's packages that the build added for the product (stages/packages.py)."""
    try:
        return json.loads(SYSTEM_PACKAGES.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def locked() -> list[str]:
    """The normalised names in the lock; empty without a lock."""
    try:
        lock = (APP / "requirements.txt").read_text(encoding="utf-8")
    except OSError:
        return []
    return [normalised(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)]


def dependencies() -> dict[str, str]:
    """Versions of the packages in the lock, or of all installed ones without a lock. Imports none."""
    installed = distributions()
    return {name: installed[name] for name in locked() or installed if name in installed}


def normalised(name: str) -> str:
    """A distribution's name as packaging tools compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def example_scripts(api: Api) -> list[str]:
    """The example scripts that the product ships, relative to the API's folder."""
    if api.folder is None:
        return []
    return sorted(path.relative_to(api.folder).as_posix() for path in api.folder.glob("isx/examples/**/*.py"))


def ask(
    command: Sequence[str], seconds: float, tick: Callable[[], None] = lambda: None, memory: int | None = None
) -> subprocess.CompletedProcess[str]:
    """The answer of a short-lived process, which may take `memory` bytes of address space.

    `tick` is called as by `finish`. Raises TimeoutExpired.
    """
    from protocol import process  # the health check does without

    asked = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process.environment(os.environ),
        cwd=APP,  # Python looks there first: never where the caller happens to be
        preexec_fn=(lambda: process.limit(memory)) if memory else None,  # noqa: PLW1509 - PID 1 has one thread
    )
    said = [text.decode("utf-8", "replace") for text in finish(asked, seconds, tick)]
    return subprocess.CompletedProcess(command, asked.returncode, *said)


def finish(
    asked: subprocess.Popen[bytes], seconds: float, tick: Callable[[], None] = lambda: None
) -> tuple[bytes, bytes]:
    """Standard output and error of a process that may take a while; `tick` is called each second and may raise.

    Raises TimeoutExpired. The process has ended in any case.
    """
    deadline = time.monotonic() + seconds
    try:
        while True:
            try:
                return asked.communicate(timeout=1)
            except subprocess.TimeoutExpired:
                tick()
                if time.monotonic() > deadline:
                    raise
    except BaseException:
        asked.kill()
        asked.wait()
        raise


def ending(returncode: int) -> str:
    """How a process ended, in words."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"signal {signal.Signals(-returncode).name}"
    except ValueError:
        return f"signal {-returncode}"


def _baked_facts(folder: Path | None) -> dict[str, object] | None:
    """isx.json, which the image's build leaves in a folder above the API."""
    for parent in folder.parents if folder else ():
        try:
            facts = json.loads((parent / "isx.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(facts, dict) and "source" in facts:
            return facts
    return None
