"""Runs a program in a process group of its own, and ends the whole group when whoever started this one is gone.

Called as a file: `python keep_group.py COMMAND...`, as the leader of a new session, with a pipe as stdin that stays open as
long as the caller lives. A server starts processes of its own, which the death of their parent alone would leave behind on
the GPU. Exit code: the program's, or 128 plus the signal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    # A handler and not SIG_IGN, which the program would inherit: SIGTERM is sent to the group, and this one waits for the rest.
    signal.signal(signal.SIGTERM, lambda *_: None)
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_until_caller_is_gone, daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _until_caller_is_gone() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
