"""Under gunicorn, whose processes are forked from one another."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import DEADLINE, wait_for

pytest.importorskip("gunicorn")
pytestmark = pytest.mark.usefixtures("leaves_nothing")

MODES = {
    "plain": [],
    "preload": ["--preload"],
    "gthread": ["--worker-class", "gthread", "--threads", "4"],
    "gthread, preload": ["--worker-class", "gthread", "--threads", "4", "--preload"],
}


class Server:
    """gunicorn with two processes, on a port that the system chooses."""

    def __init__(self, table, log, options):
        self.log = log
        with open(log, "w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:0", *options, "application:application"],
                cwd=pathlib.Path(__file__).parent,
                env={**os.environ, "FASTJSON_TABLE": str(table)},
                stdout=file,
                stderr=file,
            )
        found = wait_for(f"gunicorn does not listen: {log.read_text()}", lambda: re.search(r"Listening at: (\S+)", log.read_text()))
        self.address = found.group(1)

    def get(self, path):
        with urllib.request.urlopen(self.address + path, timeout=DEADLINE) as answer:
            return answer.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DEADLINE)
        finally:
            self.process.kill()


@pytest.mark.parametrize("mode", MODES)
def test_each_process_answers_by_the_module(table, json_of_table, tmp_path, mode):
    server = Server(table, tmp_path / "log", MODES[mode])
    try:
        with ThreadPoolExecutor(4) as clients:
            whole = list(clients.map(server.get, ["/whole", "/parts"] * 10))
            states = [json.loads(state) for state in clients.map(server.get, ["/state"] * 20)]
        assert [answer == json_of_table for answer in whole] == [True] * 20
        assert {state["why_no_pool"] for state in states} == {None}
        # Both are there; which of them answers is the system's choice.
        assert len({state["pid"] for state in states}) <= 2
        assert server.process.pid not in {state["pid"] for state in states}
    finally:
        status = server.stop()
    assert status == 0, server.log.read_text()
    assert "Traceback" not in server.log.read_text(), server.log.read_text()
