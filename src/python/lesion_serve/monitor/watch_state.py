"""What watching remembers from one round to the next, in ``OUT/state.json``: readings, and alerts on their way.

An alert is noted here before anybody is told, once for each place that it has to get to – the record first – and struck
off there when it has arrived. So a crash in between loses none; what it can do is repeat the one that was under way,
whose name and time are the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

import attrs
import cattrs
import structlog

from lesion_core.durable import FOR_OWNER, write_whole
from lesion_serve.monitor.notify import Channels
from lesion_serve.store import AlertRecord, PredictionStore, Window

MOST_UNSENT = 100
RECORD = "record"  # the store's log, among the channels

log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class Unsent:
    """An alert that has not got to one place yet: ``RECORD``, or a channel by its name."""

    channel: str
    name: str
    state: str
    severity: str
    value: float | None
    message: str
    at: str

    @classmethod
    def of(cls, channel: str, alert: AlertRecord) -> Unsent:
        """One that is due."""
        return cls(channel=channel, **{**attrs.asdict(alert), "at": alert.at.isoformat()})

    @property
    def alert(self) -> AlertRecord:
        """What is to arrive."""
        fields = attrs.asdict(self, filter=attrs.filters.exclude("channel"))
        return AlertRecord(**{**fields, "at": datetime.fromisoformat(self.at)})


@attrs.frozen(kw_only=True)
class State:
    """What the file holds.

    Attributes:
        by_version: readings, oldest first, by version that answered and by rule.
        unsent: alerts on their way, oldest first.
    """

    by_version: dict[str, dict[str, list[float]]] = attrs.field(factory=dict)
    unsent: list[Unsent] = attrs.field(factory=list)

    @property
    def rules(self) -> set[str]:
        """Every rule that was read."""
        return {name for readings in self.by_version.values() for name in readings}

    def readings_of(self, rules: Collection[str]) -> dict[str, dict[str, list[float]]]:
        """``by_version``, of those rules only."""
        return {
            version: {name: known for name, known in readings.items() if name in rules}
            for version, readings in self.by_version.items()
        }


class Delivery:
    """Alerts on their way; ``state`` is what the file holds at any time."""

    def __init__(self, path: Path, store: PredictionStore, channels: Channels) -> None:
        self._path, self._store, self._channels = path, store, channels
        self.state = _read(path)

    def deliver(self, unsent: Sequence[Unsent] | None = None) -> None:
        """Bring alerts on their way, all of them unless told, and strike off those that arrive.

        Raises:
            StoreError: one could not be written down; those behind it are not sent yet.
        """
        for one in self.state.unsent if unsent is None else unsent:
            if self._arrives(one):
                self._keep(attrs.evolve(self.state, unsent=[other for other in self.state.unsent if other != one]))

    def begin(self, alerts: Sequence[AlertRecord], by_version: dict[str, dict[str, list[float]]]) -> None:
        """Note alerts and readings, in one, then deliver the alerts.

        Raises:
            StoreError: as ``deliver``.
        """
        due = [Unsent.of(channel, alert) for alert in alerts for channel in (RECORD, *self._channels.names)]
        self._keep(State(by_version=by_version, unsent=[*self.state.unsent, *due][-MOST_UNSENT:]))
        self.deliver(due)

    def _arrives(self, one: Unsent) -> bool:
        alert = one.alert
        if one.channel != RECORD:
            gone = one.channel not in self._channels.names  # it was removed from the rules
            return gone or not self._channels.only(one.channel).send(alert)
        if alert not in self._store.alerts(Window(since=alert.at)):  # a crash may have come after it was written down
            self._store.append_alert(alert)
            log.warning("alert", name=alert.name, state=alert.state, value=alert.value)
        return True

    def _keep(self, state: State) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self._path, json.dumps(attrs.asdict(state), ensure_ascii=False), mode=FOR_OWNER)
        self.state = state


def _read(path: Path) -> State:
    try:
        return cattrs.structure(json.loads(path.read_text(encoding="utf-8")), State)
    except FileNotFoundError:
        return State()
    except (ValueError, cattrs.BaseValidationError):
        log.warning("state_unreadable", path=str(path))
        return State()
