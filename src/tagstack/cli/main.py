"""The program `tagstack`: one verb a file, imported only when it is used."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group, UnusedCliTokensError

from tagstack import __version__
from tagstack.cli.failures import BROKEN_PIPE, INTERRUPTED, USAGE, complain, report

HELP = """Image streams whose history survives: every push, promotion, rollback and hold is an event that says who, when and why.

A REF is [NAMESPACE/]STREAM:TAG. Exit codes: 0 done, 1 refused or not found, 2 usage or unreadable input, 3 service unreachable.
"""  # noqa: E501

RUN = Group("Run", sort_key=1)
WRITE = Group("Write", sort_key=2)
READ = Group("Read", sort_key=3)
OPERATE = Group("Operate", sort_key=4)

# verb, where it lives below tagstack.cli, its group, what it does
VERBS: tuple[tuple[str, str, Group, str], ...] = (
    ("up", "processes:up", RUN, "Run everything on this machine: NATS server, workers, health and metrics."),
    ("worker", "processes:worker", RUN, "Run one worker process: commands, projector or sql."),
    ("apply", "apply:apply", WRITE, "Send the commands in a file, YAML or JSON."),
    ("tag", "tag:tag", WRITE, "Point tags at an image, at another tag, or delete them."),
    ("promote", "moves:promote", WRITE, "Copy a tag's image to another tag and keep where it came from."),
    ("rollback", "moves:rollback", WRITE, "Point a tag at an earlier image again, and hold it there."),
    ("hold", "moves:hold", WRITE, "Let nothing but a rollback or a release move a tag."),
    ("release", "moves:release", WRITE, "End a hold."),
    ("delete", "delete:delete", WRITE, "Remove image streams or tags from the current view; history stays."),
    ("get", "get:get", READ, "Show image streams, tags and images."),
    ("describe", "describe:describe", READ, "Tell everything about one image stream, tag or image."),
    ("history", "history:history", READ, "Every image a tag ever pointed at, newest first."),
    ("log", "history:log", READ, "The events, oldest first."),
    ("diff", "diff:diff", READ, "What changed between two times or two images."),
    ("as-of", "history:as_of", READ, "The tags as they were at a time."),
    ("watch", "watch:watch", READ, "Changes of tags as they happen, one line each."),
    ("sql", "sql:sql", READ, "Ask the read models in SQL; interactive without a query."),
    ("status", "status:status", OPERATE, "Positions, lag, streams and dead letters."),
    ("rebuild", "status:rebuild", OPERATE, "Build the read models from the log again, with no downtime."),
    ("bench", "bench:bench", OPERATE, "Measure the speed on this machine."),
    ("dead", "dead:app", OPERATE, "Queued commands that were refused: list, show, retry or drop them."),
    ("backup", "backup:backup", OPERATE, "Copy the log to a folder, while the service runs; again to add what is new."),
    ("restore", "backup:restore", OPERATE, "Write a backup back, each event at the position it had."),
    ("verify", "verify:verify", OPERATE, "Check the log by its own rules, and what is derived from it."),
    ("export", "export:export", OPERATE, "Write the read models as Parquet, events by day."),
    ("completion", "completion:completion", OPERATE, "Print the completion script of a shell."),
)

# options that may stand before the verb, and whether a value follows
LEADING = {
    "--server": True,
    "--home": True,
    "--actor": True,
    "--namespace": True,
    "-n": True,
    "--output": True,
    "-o": True,
    "--reason": True,
    "--dry-run": False,
}


def build() -> App:
    """Return the program; no verb is imported."""
    app = App(name="tagstack", help=HELP, version=__version__, help_format="plaintext")
    for name, place, group, told in VERBS:
        app.command(f"tagstack.cli.{place}", name=name, group=group, help=told)
    return app


def verb_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the options that stand before the verb put behind it."""
    rest, moved = list(arguments), []
    while rest and rest[0].partition("=")[0] in LEADING:
        takes = 2 if LEADING[rest[0].partition("=")[0]] and "=" not in rest[0] else 1
        moved += rest[:takes]
        rest = rest[takes:]
    if not rest or not moved:
        return list(arguments)
    end = rest.index("--") if "--" in rest else len(rest)
    return rest[:end] + moved + rest[end:]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code; no error of a user leaves a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = build()(verb_first(arguments), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        if isinstance(error, UnusedCliTokensError):
            complain(f"nothing takes {' '.join(map(repr, error.unused_tokens or ()))}; --help tells what there is")
        else:
            complain(" ".join(str(error).split()))
        return USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except BrokenPipeError:
        # nobody reads any more; what is still buffered must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # the edge of the program: the one table from errors to exit codes
        told = report(error)
        if told is None:
            raise
        return told
    return code if isinstance(code, int) else 0
