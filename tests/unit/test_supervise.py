"""Workers that misbehave in every way, and what is said of each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.launch import ROOT, environment

SAY = "os.write(job['events_fd'], (json.dumps({}) + '\\n').encode());"


def say(**event: object) -> str:
    return SAY.format(event)


RESULT = say(event="result", summary="fine", thumbnail=None, products=["x.json"])


@pytest.fixture(scope="module", params=["new", "fork"])
def supervised(request) -> Callable[..., dict]:
    """Runs jobs in new processes, and in forks of one."""

    def jobs_done(folder: Path, *jobs: dict[str, object]) -> dict:
        return answer("-m", "tests.supervise_driver", str(folder), json.dumps(jobs), request.param)

    return jobs_done


def answer(*arguments: str) -> Any:
    """What a Python process of its own prints, as JSON."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CASES = {
    "result": (RESULT, True, ""),
    "result in pieces": (
        f"line = {json.dumps({'event': 'result', 'summary': 'fine', 'products': []})!r} + chr(10)\n"
        "for c in line: os.write(job['events_fd'], c.encode())",
        True,
        "",
    ),
    "result without newline": ("os.write(job['events_fd'], b'{\"event\": \"result\"}')", False, "without a result"),
    "error": (
        say(event="error", reason="too dark: take off the cap") + "sys.exit(1)",
        False,
        "too dark: take off the cap",
    ),
    "silence": ("print('last words'); sys.exit(0)", False, "ended without a result; its last output: last words"),
    "exit code": ("sys.exit(3)", False, "ended with exit code 3"),
    "segmentation fault": (
        "import ctypes; print('hello', flush=True); ctypes.string_at(0)",
        False,
        "ended with signal SIGSEGV (most likely the file is damaged); its last output: hello",
    ),
    "abort after the result": (RESULT + "os.abort()", False, "ended with signal SIGABRT"),
    "killed": ("os.kill(os.getpid(), 9)", False, "ended with signal SIGKILL (most likely out of memory: "),
    "out of memory in the library": (
        "print(\"terminate called after throwing an instance of 'std::bad_alloc'\", flush=True); os.abort()",
        False,
        "ended with signal SIGABRT (most likely out of memory: ",
    ),
    "says so": (say(event="error", reason="too large", out_of_memory=True) + "sys.exit(1)", False, "too large"),
    "nonsense": ("os.write(job['events_fd'], b'nonsense' + bytes([10]))", False, "sent an event that cannot be read"),
    "nonsense in an event": (say(event="progress", done="x") + RESULT, False, "sent an event that cannot be read"),
    "endless event": (
        "\nwhile True: os.write(job['events_fd'], b'x' * (1 << 20))",
        False,
        "sent an event that does not end",
    ),
    "unknown event": (say(event="joke") + RESULT, True, ""),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory, supervised) -> dict[str, dict]:
    jobs = [{"code": code} for code, _, _ in CASES.values()]
    of_jobs = supervised(tmp_path_factory.mktemp("cases"), *jobs)["verdicts"]
    return dict(zip(CASES, of_jobs))


@pytest.mark.parametrize("case", CASES)
def test_verdict(verdicts, case):
    _, ok, reason = CASES[case]
    assert verdicts[case]["ok"] is ok
    assert reason in verdicts[case]["reason"]
    assert verdicts[case]["out_of_memory"] is (case in ("killed", "out of memory in the library", "says so"))
    assert verdicts[case]["summary"] == ("fine" if ok and case != "result without newline" else "")


def test_time_limit_ends_the_whole_process_group(tmp_path, supervised):
    code = "import subprocess; child = subprocess.Popen(['sleep', '1000']); print(child.pid, flush=True); child.wait()"
    (verdict,) = supervised(tmp_path, {"code": code, "time_limit": 1})["verdicts"]
    assert verdict["reason"] == "not finished after 1 s and stopped: raise WORKER_TIMEOUT if it only needs longer"
    child = int((tmp_path / "logs/0.log").read_text())
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_worker_that_waits_for_ever_is_stopped_and_said_to_hang(tmp_path, supervised):
    code = "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()"
    (verdict,) = supervised(tmp_path, {"code": code, "idle_limit": 2})["verdicts"]
    assert verdict["reason"] == (
        "its worker hung and was stopped: it did not compute, read or write anything for 2 s; "
        "raise WORKER_IDLE if it waits for something"
    )
    assert verdict["seconds"] < 20


WORKING = {  # silently, for longer than it may be idle
    "in native code": (
        "import zlib, time; end = time.time() + 5; data = bytes(1 << 24)\nwhile time.time() < end: zlib.crc32(data)"
    ),
    "in a child": "import subprocess; subprocess.run(['timeout', '5', 'sh', '-c', 'while :; do :; done'])",
    "by writing": (
        "import time\nfile = open('x', 'wb')\n"
        "for _ in range(25): file.write(bytes(1 << 16)); file.flush(); os.fsync(file.fileno()); time.sleep(0.2)"
    ),
    "by saying so": f"import time\nfor _ in range(25): {say(event='progress', done=0.5)} time.sleep(0.2)",
}


@pytest.mark.parametrize("code", WORKING.values(), ids=WORKING)
def test_a_worker_that_gets_on_in_any_way_does_not_hang(tmp_path, supervised, code):
    (verdict,) = supervised(tmp_path, {"code": f"{code}\n{RESULT}", "idle_limit": 2})["verdicts"]
    assert verdict["ok"], verdict


def test_what_a_worker_leaves_running_does_not_hold_the_run_up(tmp_path, supervised):
    """A grandchild inherits the events' pipe: the worker's end counts, not the pipe's."""
    code = "import subprocess; subprocess.Popen(['sleep', '1000'], pass_fds=[job['events_fd']]);" + RESULT
    (verdict,) = supervised(tmp_path, {"code": code})["verdicts"]
    assert verdict["ok"]
    assert verdict["seconds"] < 50


LEAVE = """
import subprocess, time
def left(*wrapped):
    child = subprocess.Popen([*wrapped, "sh", "-c", "echo $$ >> " + {file!r} + "; sleep 1000 & wait"], {how})
    while child.poll() is None and not os.path.exists({file!r}): time.sleep(0.01)
left({wrapped})
"""
WAYS = {  # out of a worker's process group
    "a session of its own": ("", "start_new_session=True"),
    "a daemon, which its parent left": ("'sh', '-c', '\"$@\" & sleep 0.3', '-', 'setsid'", ""),
    "a daemon without the worker's files and environment": (
        "'env', '-i', '/usr/bin/setsid'",
        "cwd='/', close_fds=True",
    ),
    "a daemon with a lower limit on locks": ("'bash', '-c', 'ulimit -x 1; \"$@\"', '-', 'setsid'", ""),
    "in the group": ("", ""),
}


@pytest.mark.parametrize("end", ["result", "failure", "time limit"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_worker_leaves_running_ends_with_it(tmp_path, supervised, way, end):
    """And the processes of a worker that is still at work go on."""
    wrapped, how = WAYS[way]
    said, limit = {"result": (RESULT, None), "failure": ("sys.exit(3)", None), "time limit": ("time.sleep(60)", 1)}[end]
    leaving = LEAVE.format(file=str(tmp_path / "left"), wrapped=wrapped, how=how) + said
    at_work = (
        "import subprocess, time\nchild = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        f"time.sleep({1 + (limit or 0)})\n"
        f"assert child.poll() is None\nchild.kill()\n{RESULT}"
    )
    first, second = supervised(tmp_path, {"code": leaving, "time_limit": limit}, {"code": at_work})["verdicts"]
    assert (first["ok"], second["ok"]) == (end == "result", True), (first, second)
    assert [pid for pid in (tmp_path / "left").read_text().split() if is_running(int(pid))] == []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_that_no_worker_started_go_on(tmp_path):
    """Such as those of `docker exec`, whose orphans become children of PID 1, too."""
    code = (
        "import json, os, runpy, subprocess, sys\n"
        "foreign = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "sys.argv = ['', *sys.argv[1:]]\n"
        "runpy.run_module('tests.supervise_driver', run_name='__main__')\n"
        "assert foreign.poll() is None\nforeign.kill()"
    )
    assert answer("-c", code, str(tmp_path), json.dumps([{"code": RESULT}]), "new")["verdicts"][0]["ok"]


def test_address_space_is_limited(tmp_path, supervised):
    code = "import mmap\ntry: mmap.mmap(-1, 4 << 30)\nexcept (MemoryError, OSError): sys.exit(5)"
    limited, free = supervised(tmp_path, {"code": code, "address_space": 1 << 30}, {"code": code})["verdicts"]
    assert "exit code 5" in limited["reason"]
    assert "without a result" in free["reason"]


def test_a_large_job_and_a_large_result_pass(tmp_path, supervised):
    code = "pad = 'x' * 3_000_000;" + RESULT + "#" + "y" * 100_000  # more than a pipe holds
    big = "\nline = json.dumps({'event': 'result', 'thumbnail': 'A' * 3_000_000, 'products': []}).encode() + b'\\n'"
    big += "\nwhile line: line = line[os.write(job['events_fd'], line):]"
    small, large = supervised(tmp_path, {"code": code}, {"code": big})["verdicts"]
    assert small["ok"]
    assert len(large["thumbnail"]) == 3_000_000


def test_all_cores_are_used_whatever_remains(tmp_path, supervised):
    """Two slots, four cores: two threads each while two run, all four for one that is alone."""
    code = "print(job['threads'], flush=True);" + RESULT
    supervised(tmp_path, {"code": code})
    assert (tmp_path / "logs/0.log").read_text() == "4\n"
    (tmp_path / "more").mkdir()
    supervised(tmp_path / "more", *[{"code": code}] * 3)
    assert (tmp_path / "more/logs/0.log").read_text() == "2\n"


def test_warnings_and_progress_arrive(tmp_path, supervised):
    code = say(event="warning", message="blank frames") + say(event="progress", done=0.5) + RESULT
    reported = supervised(tmp_path, {"code": code})
    assert reported["verdicts"][0]["warnings"] == ["blank frames"]
    assert reported["beats"][-1][0] == 1


def test_a_job_that_may_not_be_forked_is_not(tmp_path, supervised):
    code = "print(os.environ.get('OPENBLAS_NUM_THREADS'), flush=True);" + RESULT
    reported = supervised(tmp_path, {"code": code, "may_fork": False}, {"code": code})
    assert all(verdict["ok"] for verdict in reported["verdicts"])
    assert (tmp_path / "logs/0.log").read_text() == "None\n"


FORK_AND_DIE = """
import os, signal, sys
from pipeline import fork_server

def work(events):
    return 0

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

{}
fork_server.serve(int(sys.argv[1]), work)
"""


@pytest.mark.parametrize(
    "when, started",
    [
        ("fork_server._worker = die", True),  # once PID 1 knows of it
        ("fork_server._run_and_exit = die", True),  # before
        ("fork_server.os.setpgid = die", False),  # the process in between
        ("fork_server.os.fork = die", False),  # the fork server
    ],
)
def test_a_death_at_any_moment_of_a_fork_is_seen_at_once(tmp_path, when, started):
    """Not after ANSWER_SECONDS, of which there are 100: the test would be ended for its own time limit."""
    pid, status = answer("-c", START_ONE, FORK_AND_DIE.format(when), str(tmp_path / "scratch"))
    assert bool(pid) is started
    assert status == (signal.SIGKILL if started else 0)


START_ONE = """
import json, os, sys
from pathlib import Path
from runner.workers.processes import ForkServer

server = ForkServer((sys.executable, "-c", sys.argv[1]), Path(sys.argv[2]))
null = os.open(os.devnull, os.O_RDWR)
pid = server.start(null, 2, null, sys.argv[2], None)
print(json.dumps([pid, os.waitpid(pid, 0)[1] if pid else 0]))
server.stop()
"""


def test_what_the_fork_server_prints_is_not_among_the_events(tmp_path):
    """Libraries warn on standard error, which is where the run's JSON lines go."""
    code = "import sys\nprint('out')\nprint('a warning', file=sys.stderr)\nraise SystemExit('no memory left')\n"
    done = subprocess.run(
        [sys.executable, "-c", LOSE_ONE, code, str(tmp_path / "scratch")], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("no memory left\n", "")


LOSE_ONE = """
import os, sys
from pathlib import Path
from runner.workers.processes import ForkServer

server = ForkServer((sys.executable, "-c", sys.argv[1]), Path(sys.argv[2]))
null = os.open(os.devnull, os.O_RDWR)
assert server.start(null, 2, null, sys.argv[2], None) == 0
print(server.lost)
"""
