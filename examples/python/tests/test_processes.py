"""In processes of all kinds: with threads, forked, of multiprocessing, and with a module that was replaced."""

import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import fastjson
import pytest
from conftest import DEADLINE, processes_with, run, wait_for

pytestmark = pytest.mark.usefixtures("leaves_nothing")

# A process that has had threads for long, and imports the module in one of them.
WITH_THREADS = """
import sys, threading
stop = threading.Event()
waiting = [threading.Thread(target=stop.wait) for _ in range(8)]
for thread in waiting:
    thread.start()
def work():
    import fastjson
    print(fastjson.why_no_pool())
    print(len(fastjson.dumps_file(sys.argv[1])))
worker = threading.Thread(target=work)
worker.start()
worker.join()
stop.set()
"""


def test_a_process_that_has_threads(table, json_of_table):
    assert run(WITH_THREADS, table).split("\n") == ["None", str(len(json_of_table)), ""]


def length(path):
    return len(fastjson.dumps_file(path)), fastjson.why_no_pool(), os.getpid()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing(table, json_of_table, method):
    # With `fork`, the children inherit a pool that is not theirs.
    assert fastjson.dumps_file(table) == json_of_table
    with multiprocessing.get_context(method).Pool(2) as pool:
        outcomes = pool.map(length, [str(table)] * 6, chunksize=1)
    assert {outcome[:2] for outcome in outcomes} == {(len(json_of_table), None)}
    assert os.getpid() not in {outcome[2] for outcome in outcomes}
    assert fastjson.dumps_file(table) == json_of_table


FORK = """
import os, sys, fastjson
if sys.argv[2] == "before":
    fastjson.dumps_file(sys.argv[1])
child = os.fork()
length, why = len(fastjson.dumps_file(sys.argv[1])), fastjson.why_no_pool()
if child == 0:
    print("child", length, why, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("parent", length, why)
"""


@pytest.mark.parametrize("first", ["before", "after"])
def test_a_process_that_forks_itself(table, json_of_table, first):
    outcome = run(FORK, table, first).splitlines()
    assert outcome == [f"child {len(json_of_table)} None", f"parent {len(json_of_table)} None"]


FORK_MEANWHILE = """
import os, sys, threading, fastjson
table, expected = sys.argv[1], int(sys.argv[2])
stop = threading.Event()
def work():
    while not stop.is_set():
        assert len(fastjson.dumps_file(table)) == expected
thread = threading.Thread(target=work)
thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        right = len(fastjson.dumps_file(table)) == expected and fastjson.why_no_pool() is None
        os._exit(0 if right else 1)
    print(os.waitpid(child, 0)[1])
stop.set()
thread.join()
"""


def test_a_process_may_fork_at_any_time(table, json_of_table):
    assert run(FORK_MEANWHILE, table, len(json_of_table)).split() == ["0"] * 20


COUNTED = """
import sys
with open(sys.argv[2], "a") as file:
    file.write("run\\n")
import fastjson
print(len(fastjson.dumps_file(sys.argv[1])))
"""


def test_the_program_itself_runs_once(table, json_of_table, tmp_path):
    """The workers are made of the interpreter's executable, and must not run its script."""
    script, runs = tmp_path / "script.py", tmp_path / "runs"
    script.write_text(COUNTED)
    outcome = subprocess.run(
        [sys.executable, script, table, runs], stdout=subprocess.PIPE, text=True, timeout=DEADLINE, check=True
    )
    assert outcome.stdout == f"{len(json_of_table)}\n"
    assert runs.read_text() == "run\n"


PRELOAD = """
import os, subprocess, sys, fastjson
fastjson.dumps_file(sys.argv[1])
print(os.environ.get("LD_PRELOAD"))
print(subprocess.run([sys.executable, "-c", "import os; print(os.environ.get('LD_PRELOAD'))"], stdout=subprocess.PIPE, text=True).stdout)
"""


def test_programs_that_are_started_later_preload_nothing(table):
    assert run(PRELOAD, table).split() == ["None", "None"]


KILLED = """
import sys, time, fastjson
fastjson.dumps_file(sys.argv[1])
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_process_that_is_killed(table, tmp_path, signal_number):
    package = copy_of_package(tmp_path)
    module = package / native_name()
    program = subprocess.Popen(
        [sys.executable, "-c", KILLED, table], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=with_path(tmp_path)
    )
    assert program.stdout.readline() == b"ready\n"
    assert len(processes_with(module)) >= 3, "the program, its fork server and a worker"
    program.send_signal(signal_number)
    program.wait(DEADLINE)
    program.stdout.close()
    wait_for("processes are left", lambda: not processes_with(module))


REPLACED = """
import os, sys, fastjson
from fastjson import _native
table, other, when = sys.argv[1:]
if when == "after":
    assert fastjson.dumps_file(table) == fastjson.dumps_file_serial(table)
if other == "-":
    os.remove(_native.__file__)
else:
    os.replace(other, _native.__file__)
assert fastjson.dumps_file(table) == fastjson.dumps_file_serial(table)
print(fastjson.why_no_pool())
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_module_that_is_replaced_while_it_runs(table, tmp_path, how, when):
    """As by `pip install --upgrade`. A pool that runs goes on; one that would begin is refused, and the work is done here."""
    package = copy_of_package(tmp_path)
    other = "-"
    if how == "replaced":
        other = tmp_path / "other.so"
        shutil.copy(package / native_name(), other)
    why = run(REPLACED, table, other, when, environment=with_path(tmp_path)).strip()
    if when == "after":
        assert why == "None"
    else:
        assert native_name() in why, why


def native_name():
    from fastjson import _native

    return pathlib.Path(_native.__file__).name


def copy_of_package(folder):
    """The package once more, in a folder whose name has a blank."""
    package = folder / "site packages" / "fastjson"
    shutil.copytree(pathlib.Path(fastjson.__file__).parent, package)
    return package


def with_path(folder):
    return {**os.environ, "PYTHONPATH": str(folder / "site packages")}
