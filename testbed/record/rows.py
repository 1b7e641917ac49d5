"""A round's record ↔ the rows that are stored for it: one array a variable of the schema."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.outcome import Energy, Measured, RoundRecord, Traffic
from testbed.record.frame import octets
from testbed.record.schema import RAGGED, VARIABLES, Variable

Rows = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class RecordShape:
    """What does not change in a run, and how large its arrays are.

    Attributes:
        nodes: K.
        layers: L.
        frequency_hz: (U,) used subcarriers, offset from the carrier.
        data_frequency_hz: (M,) data subcarriers, offset from the carrier.
        center_hz: carrier frequency; NaN where there is none, as on simulated radios without one.
        spacing_hz: subcarrier spacing.
        clock: what the `time` coordinate counts.
        attributes: written to the file as they are: gains, hardware, calibration, source, licence …
    """

    nodes: int
    layers: int
    frequency_hz: NDArray[np.float64]
    data_frequency_hz: NDArray[np.float64]
    center_hz: float
    spacing_hz: float
    clock: str = "time with a carrier on the air since the start of the run, sounding excluded"
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)

    def described(self) -> dict[str, str | int | float]:
        """Attributes, with the defaults of those that every recording has."""
        return {"amplitude_reference": "full scale of the receiver", "phase_calibrated": 0, **self.attributes}

    def sizes(self) -> dict[str, int]:
        """Length of each fixed dimension."""
        return {
            "node": self.nodes,
            "link_from": self.nodes,
            "link_to": self.nodes,
            "subcarrier": len(self.frequency_hz),
            "data_subcarrier": len(self.data_frequency_hz),
        }

    def round_bytes(self, tokens: int, symbols: int = 0) -> int:
        """What a round with so many tokens takes: its arrays, in journal and record file."""
        lengths = {**self.sizes(), "time": 1, "token": tokens, "prediction": tokens, "symbol": symbols, "character": 64}
        sizes = (np.dtype(v.stored_dtype).itemsize * math.prod(lengths[d] for d in v.dims) for v in VARIABLES)
        return 2 * sum(sizes)


@dataclass(frozen=True, eq=False)
class Predictions:
    """How the tokens of one pass through the model ended, P of them.

    Attributes:
        node: (P,) node of each token.
        predicted: (P,) next byte predicted by the run.
        central: (P,) next byte predicted by the same model in one place.
        target: (P,) byte that really follows.
    """

    node: NDArray[np.int64]
    predicted: NDArray[np.uint8]
    central: NDArray[np.uint8]
    target: NDArray[np.uint8]


class Words(msgspec.Struct, frozen=True):
    """The text of a round."""

    status: str
    events: tuple[str, ...]


def rows_of(record: RoundRecord, time_s: float, predictions: Predictions | None = None) -> Rows:
    """Variable name → array to store for this round: (1-less row shape) or (entries, …) where ragged.

    Raises:
        RecordError: a value cannot be stored as the type the schema gives it.
    """
    rows = {v.name: _stored(v, attrgetter(v.field)(record)) for v in VARIABLES if v.field}
    words = msgspec.json.encode(Words(record.status, tuple(record.events)))
    added = {
        "time": time_s,
        "constellation/link_from": record.constellation_link[0],
        "constellation/link_to": record.constellation_link[1],
        "text/utf8": np.frombuffer(words, np.uint8),
        **{
            f"predictions/{f.name}": () if predictions is None else getattr(predictions, f.name)
            for f in fields(Predictions)
        },
    }
    rows |= {v.name: _stored(v, added[v.name]) for v in VARIABLES if v.name in added}
    lengths = {v.dims[0]: len(rows[v.name]) for v in VARIABLES if v.ragged}
    return rows | {count: np.asarray(lengths[dim], "i8") for dim, count in RAGGED.items()}


def _stored(variable: Variable, value: Any) -> NDArray[Any]:  # noqa: ANN401  any field of a record
    array = np.asarray(value)
    if array.size == 0:
        array = array.astype(variable.dtype)
    if not np.can_cast(array.dtype, variable.dtype, "same_kind"):
        raise RecordError(f"{variable.name}: {array.dtype} values cannot be recorded as {variable.dtype}")
    return np.ascontiguousarray(array, dtype=variable.stored_dtype).reshape(array.shape)


def check_rows(rows: Rows, sizes: Mapping[str, int]) -> None:
    """Shapes against the dimensions of the run.

    Raises:
        RecordError: an array does not fit; names the variable, its shape and the shape it should have.
    """
    lengths = dict(sizes) | {dim: int(rows[count]) for dim, count in RAGGED.items()}
    for v in VARIABLES:
        expected = tuple(lengths[d] for d in v.dims if d != "time")
        if rows[v.name].shape != expected:
            names = ", ".join(d for d in v.dims if d != "time")
            raise RecordError(f"{v.name}: shape {rows[v.name].shape}, expected {expected} ({names})")


def record_of(rows: Rows, seconds: Mapping[str, float]) -> RoundRecord:
    """The rows of one round → its record; inverse of `rows_of`."""
    values = {v.field: _loaded(v, rows[v.name]) for v in VARIABLES if v.field}
    words = msgspec.json.decode(rows["text/utf8"].tobytes(), type=Words)
    link = int(rows["constellation/link_from"]), int(rows["constellation/link_to"])
    plain = {name: value for name, value in values.items() if "." not in name}
    return RoundRecord(
        **plain,
        measured=Measured(**_under("measured", values)),
        predicted=Energy(**_under("predicted", values)),
        spent=Energy(**_under("spent", values)),
        forward=Traffic(**_under("forward", values)),
        back=Traffic(**_under("back", values)),
        status=words.status,
        events=words.events,
        constellation_link=link,
        seconds=dict(seconds),
    )


def predictions_of(rows: Rows) -> Predictions | None:
    """Predictions stored with a round; None where there are none."""
    if not rows["prediction_count"]:
        return None
    return Predictions(**{f.name: rows[f"predictions/{f.name}"] for f in fields(Predictions)})


def _loaded(variable: Variable, row: NDArray[Any]) -> Any:  # noqa: ANN401  a number or an array
    return row.item() if variable.dims == ("time",) else row.astype(variable.dtype, copy=False)


def _under(parent: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.split(".")[1]: value for name, value in values.items() if name.startswith(f"{parent}.")}


def checksums(row: int, rows: Rows) -> NDArray[np.uint32]:
    """(variables,) CRC-32 of each variable's stored bytes, seeded with its name, row number and shape."""
    return np.array([checksum(row, v.name, rows[v.name]) for v in VARIABLES], np.uint32)


def checksum(row: int, name: str, values: NDArray[Any]) -> int:
    """CRC-32 (zlib) over name, row number, shape and the little-endian bytes in C order."""
    seed = zlib.crc32(f"{row}:{name}:{values.shape}".encode())
    return zlib.crc32(octets(values), seed)
