"""
Become Pants; without its daemon where another command of this tree uses that.

Pants' daemon serves one command at a time, and our programs stay up for hours: a command that starts meanwhile runs
Pants without the daemon (``PANTS_CONCURRENT``) instead of waiting. ``./pants`` ends with this::

    python -I -S start.py LOCK COMMAND...

The lock is a POSIX record lock, which belongs to the process: it stays when the process becomes another program, no
child inherits it, the daemon included, and it is free when the process is gone, however it ended.
"""

import fcntl
import os
import sys
from pathlib import Path


def take(lock: Path) -> bool:
    """Lock the file until this process ends; False if another process has it, or it cannot be locked here."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(lock, os.O_RDWR | os.O_CREAT)
        os.set_inheritable(held, True)  # closing it would give the lock up
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    if not take(Path(sys.argv[1])):
        os.environ.setdefault("PANTS_CONCURRENT", "true")
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  (the command is what ./pants chose)
