"""`python3 -m anneal_job <command>`: JSON lines on stdout, exit code 2 and one `error` line when the caller is at fault."""

from __future__ import annotations

import argparse
import os
import platform
import sys

from anneal_job import lease
from anneal_job.protocol import PROTOCOL, CallerError, check_job_id, parse_start, say


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise CallerError("BadInput", message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="anneal_job")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "prove", "hello"):
        commands.add_parser(name)
    for name in ("follow", "status", "stop", "supervise"):
        command = commands.add_parser(name)
        command.add_argument("--job", required=True)
        if name == "follow":
            command.add_argument("--from", dest="offset", type=int, default=0)
            command.add_argument("--log-from", dest="log_offset", type=int)
            command.add_argument("--follower", required=True)
            command.add_argument("--generation", type=int, default=0)
        if name == "stop":
            command.add_argument("--grace-seconds", type=float, default=60.0)
        if name == "supervise":
            command.add_argument("--lock-fd", type=int, required=True)
    return parser


def run(arguments: list[str]) -> int:
    """Runs one command and returns the exit code."""
    # Imports are per command so that `follow` and `hello` start quickly.
    options = _parser().parse_args(arguments)
    command: str = options.command
    # `supervise` is started by `start`, not by somebody outside.
    if command != "supervise":
        lease.renew()
    if command == "hello":
        say({"type": "hello", "protocol": PROTOCOL, "python": platform.python_version()})
    elif command == "prove":
        from anneal_job.prove import prove

        say(prove())
    elif command == "start":
        from anneal_job.start import start

        say(start(parse_start(sys.stdin.read())))
    else:
        from anneal_job.paths import job_paths

        paths = job_paths(check_job_id(options.job))
        if command == "follow":
            from anneal_job.follow import Follower, follow

            follow(paths, options.offset, Follower(options.follower, options.generation), options.log_offset)
        elif command == "status":
            from anneal_job.stop import status

            say(status(paths))
        elif command == "stop":
            from anneal_job.stop import stop

            say(stop(paths, options.grace_seconds))
        else:
            from anneal_job.supervisor import supervise

            return supervise(options.job, options.lock_fd)
    return 0


def main() -> int:
    try:
        return run(sys.argv[1:])
    except CallerError as error:
        say({"type": "error", "code": error.code, "message": str(error)})
        return 2
    except BrokenPipeError:
        # The reader is gone. Point stdout elsewhere so that the interpreter's last flush stays silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


if __name__ == "__main__":
    sys.exit(main())
