"""What the functions give, and what they say of files that are no tables."""

import errno
import json
import os
import threading
import time

import fastjson
import pytest
from conftest import records


def test_a_pool_runs():
    assert fastjson.why_no_pool() is None
    assert fastjson.workers() >= 1


def test_the_outcome_is_that_of_the_serial_code(table, json_of_table):
    assert fastjson.dumps_file(table) == json_of_table


def test_the_outcome_is_that_of_the_modules_of_python(table):
    assert json.loads(fastjson.dumps_file(table)) == records(table)


def test_the_parts_are_the_whole(table, json_of_table):
    parts = list(fastjson.parts(table))
    assert len(parts) > 2
    assert b"".join(parts) == json_of_table


def test_parts_need_not_be_taken(table, json_of_table):
    next(fastjson.parts(table))
    assert fastjson.dumps_file(table) == json_of_table


@pytest.mark.parametrize("count", [0, 1, 500])
def test_short_files(tmp_path, count):
    path = tmp_path / "short.txt"
    fastjson.make_file(path, count)
    assert json.loads(fastjson.dumps_file(path)) == records(path)
    assert b"".join(fastjson.parts(path)) == fastjson.dumps_file(path)


def test_a_path_may_be_relative_and_of_any_bytes(table, json_of_table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = b"\xff stop times"
    os.symlink(table, name)
    assert fastjson.dumps_file(os.fsdecode(name)) == json_of_table


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    for function in (fastjson.dumps_file, fastjson.dumps_file_serial, fastjson.parts):
        with pytest.raises(FileNotFoundError) as error:
            function(tmp_path / "missing")
        assert error.value.errno == errno.ENOENT
        assert f"cannot open {tmp_path}/missing" in str(error.value)
    with pytest.raises(ValueError, match="this is no regular file, of which parts could be read"):
        fastjson.dumps_file(tmp_path)


def test_a_broken_record_is_named_by_its_line(table, tmp_path):
    path = tmp_path / "broken.txt"
    lines = table.read_text(encoding="utf-8").splitlines()
    lines[20_000] = "T1,8:00,,S1,1,,0,1"
    path.write_text("\n".join(lines), encoding="utf-8")
    sentence = 'broken.txt: line 20001: "8:00" is no time; write it as 08:30:00'
    for function in (fastjson.dumps_file, fastjson.dumps_file_serial, lambda path: list(fastjson.parts(path))):
        with pytest.raises(ValueError) as error:
            function(path)
        assert sentence in str(error.value)
    # The next file is none the worse for it.
    assert fastjson.dumps_file(table) == fastjson.dumps_file_serial(table)


def test_other_threads_go_on_meanwhile(tmp_path):
    path = tmp_path / "long.txt"
    fastjson.make_file(path, 200_000)
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.001):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        for function in (fastjson.dumps_file, fastjson.dumps_file_serial):
            start = time.monotonic()
            function(path)
            end = time.monotonic()
            # Were the lock of the interpreter held, there would be none but at the start and the end. Many cores may take less than these.
            inside = [at for at in ticks if start + 0.01 < at < end - 0.01]
            assert len(inside) >= 3 or end - start < 0.05, f"{len(inside)} ticks in {end - start:.3f} s"
        assert end - start > 0.05, "the serial code takes long enough to tell"
    finally:
        stop.set()
        thread.join()


def test_threads_may_call_it_together(table, json_of_table):
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(fastjson.dumps_file(table))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [json_of_table] * 6
