"""JSON of a file's records, made by worker processes where a pool can run, and in this process where none can.

The file is a table of stop times as GTFS has it: UTF-8, a line a record, the names of the columns in the first line.

    >>> import fastjson, json
    >>> fastjson.make_file("stop_times.txt", 1000)
    >>> len(json.loads(fastjson.dumps_file("stop_times.txt")))
    1000

There is nothing to set up, and nothing to guard by ``if __name__ == "__main__"``: the workers run no Python.
"""

from ._native import Parts, dumps_file, dumps_file_serial, make_file, parts, why_no_pool, workers

__all__ = ["Parts", "dumps_file", "dumps_file_serial", "make_file", "parts", "why_no_pool", "workers"]
