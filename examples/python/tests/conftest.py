"""What the tests share: a table, its records as Python reads them, and programs of their own."""

import csv
import os
import pathlib
import subprocess
import sys
import time

import fastjson
import pytest

# No test waits longer for anything; all of it takes seconds.
DEADLINE = 60


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A table long enough for all workers."""
    path = tmp_path_factory.mktemp("table") / "stop_times.txt"
    fastjson.make_file(path, 30_000)
    return path


@pytest.fixture(scope="session")
def json_of_table(table):
    """The JSON of that table, by this process alone."""
    return fastjson.dumps_file_serial(table)


def seconds(time):
    if not time:
        return None
    hours, minutes, seconds = map(int, time.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def records(path):
    """The records of a table, as Python's own modules read them."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {
                "trip_id": row["trip_id"],
                "arrival_time": seconds(row["arrival_time"]),
                "departure_time": seconds(row["departure_time"]),
                "stop_id": row["stop_id"],
                "stop_sequence": int(row["stop_sequence"]),
                "stop_headsign": row["stop_headsign"] or None,
                "shape_dist_traveled": float(row["shape_dist_traveled"]),
            }
            for row in csv.DictReader(file)
        ]


def run(code, *arguments, environment=None):
    """What a program of its own prints."""
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, **(environment or {})},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def processes_with(module):
    """The processes that have a file mapped, workers and fork servers among them."""
    found = set()
    for maps in pathlib.Path("/proc").glob("[0-9]*/maps"):
        try:
            if str(module) in maps.read_text():
                found.add(int(maps.parent.name))
        except OSError:
            pass  # It has ended.
    return found


def wait_for(what, fact):
    """Waits until `fact` gives something true, and returns that."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        found = fact()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"after {DEADLINE} s: {what}")


@pytest.fixture
def leaves_nothing(table):
    """Whatever processes a test starts, none of them may live on."""
    from fastjson import _native

    # Those of this process, which has its own pool: they stay.
    fastjson.dumps_file(table)
    own = fastjson.workers() + 2
    before = wait_for("workers are missing", lambda: exactly(own, processes_with(_native.__file__)))
    yield
    wait_for("processes are left", lambda: processes_with(_native.__file__) <= before)


def exactly(count, found):
    """What was found, if it is complete."""
    return found if len(found) == count else None
