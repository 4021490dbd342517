"""
Print, as options of pip-audit, the vulnerabilities that build-support/waivers.toml waives. pip-audit asks the network::

    waived=$(python3.11 build-support/supply/waivers.py)
    pip-audit --disable-pip --require-hashes -r 3rdparty/python/default.lock $waived

A waiver needs an id, a reason and the day on which it ends, at most half a year ahead. Where one has ended nothing is
waived, so that somebody looks again.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import tomllib

FILE = Path(__file__).resolve().parent.parent / "waivers.toml"
LONGEST = timedelta(days=184)
SHORTEST_REASON = 20


def problems_of(waiver: dict[str, Any], today: date) -> list[str]:
    """What is wrong with one."""
    found = [
        f"'{name}' is unknown; there are id, reason and until" for name in waiver.keys() - {"id", "reason", "until"}
    ]
    if not isinstance(waiver.get("id"), str) or not waiver["id"].strip():
        found.append("it has no id, such as PYSEC-2026-1 or GHSA-…")
    reason = waiver.get("reason")
    if not isinstance(reason, str) or len(reason.strip()) < SHORTEST_REASON:
        found.append("its reason does not say why it cannot be used against us, or what is waited for")
    until = waiver.get("until")
    if type(until) is not date:
        found.append("it needs the day on which it ends: until = 2027-01-31")
    elif until < today:
        found.append(f"it ended on {until}: look again, and upgrade or renew it")
    elif until > today + LONGEST:
        found.append(f"it would last until {until}; at most {LONGEST.days} days")
    return found


def main() -> None:
    """Print the options, or every problem and exit code 1."""
    parser = argparse.ArgumentParser(description="Print what is waived as options of pip-audit.")
    parser.add_argument("file", type=Path, nargs="?", default=FILE)
    parser.add_argument("--today", type=date.fromisoformat, default=date.today())
    arguments = parser.parse_args()
    waivers = tomllib.loads(arguments.file.read_text()).get("waiver", [])
    problems = [(one.get("id", "?"), told) for one in waivers for told in problems_of(one, arguments.today)]
    for waived, told in problems:
        print(f"{arguments.file.name}: {waived}: {told}.", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(*(f"--ignore-vuln {one['id']}" for one in waivers))


if __name__ == "__main__":
    main()
