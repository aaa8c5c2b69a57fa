"""Measures what the workers are worth: ``python -m fastjson.bench [--records N] [--rounds N] [--ratio R] [--first MS]``.

It prints the time of `dumps_file` and of `dumps_file_serial`, by turns, best of all rounds, and their ratio; and the time from the first call in a
fresh process to its first part, again best of all rounds. With a limit (`--ratio`, `--first`), missing it where a pool runs ends in exit status 1.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import fastjson

# What a fresh process does: it has imported the module, and calls it for the first time.
FIRST = """
import sys, time, fastjson
start = time.perf_counter()
part = next(fastjson.parts(sys.argv[1]))
print((time.perf_counter() - start) * 1000)
"""


def seconds(function, path):
    start = time.perf_counter()
    json = function(path)
    return time.perf_counter() - start, len(json)


def first_ms(path):
    ran = subprocess.run([sys.executable, "-c", FIRST, path], check=True, stdout=subprocess.PIPE)
    return float(ran.stdout)


def main():
    options = argparse.ArgumentParser(prog="python -m fastjson.bench", description=__doc__.split("\n\n")[0])
    options.add_argument("--records", type=int, default=200_000, help="in the file that is made (200000)")
    options.add_argument("--rounds", type=int, default=5, help="of which the best counts (5)")
    options.add_argument("--ratio", type=float, help="the least ratio that is accepted")
    options.add_argument("--first", type=float, help="the most milliseconds to the first part that are accepted")
    options = options.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "stop_times.txt")
        fastjson.make_file(path, options.records)
        # This round warms the file cache, the memory and the pool, and is not counted.
        assert fastjson.dumps_file(path) == fastjson.dumps_file_serial(path), "the outcomes differ"
        parallel, serial = [], []
        for _ in range(options.rounds):
            parallel.append(seconds(fastjson.dumps_file, path))
            serial.append(seconds(fastjson.dumps_file_serial, path))
        firsts = [first_ms(path) for _ in range(options.rounds)]

    (fast, size), (slow, _), first = min(parallel), min(serial), min(firsts)
    ratio = slow / fast
    print(f"Python {sys.version.split()[0]}, {sys.executable}")
    print(f"workers {fastjson.workers()}" + (f" ({fastjson.why_no_pool()})" if fastjson.workers() == 0 else ""))
    print(f"{options.records} records, {size / 1e6:.1f} MB of JSON, best of {options.rounds}")
    print(f"dumps_file {fast * 1000:.1f} ms")
    print(f"dumps_file_serial {slow * 1000:.1f} ms")
    print(f"ratio {ratio:.2f}")
    print(f"first part after the first call {first:.1f} ms")
    if fastjson.workers() == 0:
        return 0
    missed = (options.ratio is not None and ratio < options.ratio) or (options.first is not None and first > options.first)
    if missed:
        print(f"accepted are a ratio of {options.ratio} and {options.first} ms", file=sys.stderr)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
