"""The command `anylatent`. It parses, calls and prints; every command imports its heavy parts itself."""

import gc
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

GLOBAL = {"--plugin": True, "--debug": False, "--version": False}
"""Options of the whole command, and whether a value follows: they may stand anywhere in the line."""


class Interrupted(Exception):  # a person's wish, not an error
    """A person stopped the command: what was kept, and how to go on."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. The only place that turns errors into messages: exit code 1, 2 for wrong usage, 130 when stopped."""
    from typer.main import get_command

    from anylatent.cli.app import app

    # Before torch: threads that wait for others then sleep, instead of keeping the processor from them (measured in docs/experiments.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gc.set_threshold(20_000)  # imports make many objects that stay: looking through them again and again takes a tenth of the start
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a sign is no reason to fail
    arguments = hoisted(sys.argv[1:] if arguments is None else list(arguments))
    try:
        get_command(app).main(arguments, prog_name="anylatent")
    except Interrupted as stop:
        _end(str(stop), 130)
    except (ValueError, OSError, RuntimeError) as error:
        if "--debug" in arguments:
            raise
        _end(f"error: {_message(error)}", 1)


def hoisted(arguments: list[str]) -> list[str]:
    """The same arguments with the global options first; what follows `--` is left alone."""
    front: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            return [*front, *rest, argument, *left]
        named, sign, _ = argument.partition("=")
        value = next(left, None) if GLOBAL.get(named) and not sign else None
        (front if named in GLOBAL else rest).extend([argument] if value is None else [argument, value])
    return front + rest


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    text = str(error) or type(error).__name__
    return f"{text}\n(--debug shows where)" if isinstance(error, RuntimeError) else text


def _end(text: str, code: int) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr)
    raise SystemExit(code)
