"""Runs snippets one after another in one interpreter: importing a client costs more than most tests.

The first argument is the code that imports it. Each line of stdin is `{"code", "args"}`; a snippet sets `result`. Each line of stdout
is `{"result"}` or `{"error": {"type", "status", "message"}}`. What else is printed goes to stderr.
"""

import json
import os
import sys

out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
scope = {}
exec(sys.argv[1], scope)
for line in sys.stdin:
    try:
        request = json.loads(line)
        local = dict(scope, args=request["args"])
        exec(request["code"], local)
        reply = json.dumps({"result": local.get("result")})
    except BaseException as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        reply = json.dumps({"error": {"type": type(error).__name__, "status": status, "message": str(error)}})
    out.write(reply + "\n")
    out.flush()
