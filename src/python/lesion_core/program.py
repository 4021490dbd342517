"""How every program of ours ends: a named error is one sentence, a signal a clean end, a full disk is called so."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from lesion_core.disk import full_disk
from lesion_core.errors import LesionError
from lesion_core.workspace import Workspace

FAILED_EXIT_CODE = 2


def run_program(name: str, run: Callable[[], object], *, exit_codes: Mapping[str, int] | None = None) -> None:
    """Run a command line in this process, and end it as its users and schedulers expect.

    | what happened | on standard error | exit code |
    | --- | --- | --- |
    | a ``LesionError``, or whatever the system refused | one sentence | 2, or its own |
    | an error that nobody foresaw | the traceback | 2, since 1 means that a command has found what it looked for |
    | Ctrl-C, SIGTERM | "stopped", and what the program gave ``KeyboardInterrupt`` to say | 130, 143 |
    | whoever reads has read enough, as ``head`` has | nothing | 141 |

    Args:
        name: of the program, before each sentence.
        run: the command line; may take signals itself.
        exit_codes: of errors that have another than 2, by ``LesionError.code``.
    """
    signals: list[int] = []

    def stop(number: int, frame: object) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a letter for ü shows the rest
    try:
        run()
        sys.stdout.flush()  # here, where a reader that has gone is foreseen
    except LesionError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit((exit_codes or {}).get(error.code, FAILED_EXIT_CODE))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        place = Path(str(error.filename or Workspace.default().root))
        named = full_disk(error, place, "What was finished is kept; free some, and repeat the command.")
        print(f"{name}: {named or error}", file=sys.stderr)
        sys.exit(FAILED_EXIT_CODE)
    except KeyboardInterrupt as interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would tear down libraries that are ending
        print(" ".join([f"{name}: stopped.", *map(str, interrupt.args)]), file=sys.stderr)
        sys.exit(128 + next(iter(signals), signal.SIGINT))
    except Exception:
        traceback.print_exc()
        sys.exit(FAILED_EXIT_CODE)
