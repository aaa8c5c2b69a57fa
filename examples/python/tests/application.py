"""A web application that answers by the module, for gunicorn."""

import json
import os

import fastjson

TABLE = os.environ["FASTJSON_TABLE"]

# With `--preload` this runs in the process from which all others are forked.
fastjson.dumps_file(TABLE)


def application(request, start_response):
    path = request["PATH_INFO"]
    if path == "/whole":
        answer = [fastjson.dumps_file(TABLE)]
    elif path == "/parts":
        answer = fastjson.parts(TABLE)
    else:
        answer = [json.dumps({"pid": os.getpid(), "why_no_pool": fastjson.why_no_pool()}).encode()]
    start_response("200 OK", [("Content-Type", "application/json")])
    return answer
