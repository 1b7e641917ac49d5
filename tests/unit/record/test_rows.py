from __future__ import annotations

import zlib
from dataclasses import fields, replace

import numpy as np
import pytest

from testbed.errors import RecordError
from testbed.outcome import Energy, Measured, RoundRecord, Traffic
from testbed.record.rows import check_rows, checksum, checksums, predictions_of, record_of, rows_of
from testbed.record.schema import RAGGED, VARIABLES, table
from tests.unit.record import factory
from tests.unit.record.same import assert_same


def one(seed, per_node=16, K=4):
    return factory.round_record(np.random.default_rng(seed), factory.shape(K), per_node=per_node)


@pytest.mark.parametrize("per_node", [0, 1, 16])
def test_a_record_survives_its_rows(seed, per_node):
    record = one(seed, per_node)
    found = record_of(rows_of(record, 1.5), record.seconds)
    assert_same(found, record)
    assert isinstance(found.number, int)
    assert isinstance(found.spent.overhead, float)


def test_words_survive_their_rows(seed):
    record = replace(one(seed), status="gap 3 % · ended", events=("nœud 2\nperdu", "", '"quoted"'))
    found = record_of(rows_of(record, 0.0), {})
    assert (found.status, found.events) == (record.status, record.events)


def test_predictions_survive_their_rows(seed, rng):
    made = factory.predictions(rng, factory.shape())
    assert_same(predictions_of(rows_of(one(seed), 0.0, made)), made)
    assert predictions_of(rows_of(one(seed), 0.0)) is None


def test_the_schema_covers_every_field_of_a_record():
    parts = {"measured": Measured, "predicted": Energy, "spent": Energy, "forward": Traffic, "back": Traffic}
    expected = set()
    for f in fields(RoundRecord):
        expected |= {f"{f.name}.{g.name}" for g in fields(parts[f.name])} if f.name in parts else {f.name}
    apart = {"status", "events", "constellation_link", "seconds"}
    assert {v.field for v in VARIABLES if v.field} == expected - apart


def test_names_are_unique_and_ragged_dimensions_counted():
    names = [v.name for v in VARIABLES]
    assert len(set(names)) == len(names)
    assert set(RAGGED.values()) <= set(names)
    assert table().count("\n") == len(VARIABLES) + 2


def test_a_wrong_shape_is_refused_by_name(seed):
    record = one(seed, K=3)
    with pytest.raises(RecordError, match=r"h: shape \(3, 3, 200\), expected \(4, 4, 200\)"):
        check_rows(rows_of(record, 0.0), factory.shape(4).sizes())
    uneven = replace(one(seed), relaxed=np.zeros(3, bool))
    with pytest.raises(RecordError, match="tokens/"):
        check_rows(rows_of(uneven, 0.0), factory.shape().sizes())


def test_a_wrong_type_is_refused_by_name(seed):
    record = one(seed)
    with pytest.raises(RecordError, match="tokens/source: float64"):
        rows_of(replace(record, source=record.source + 0.5), 0.0)


def test_checksum_is_crc32_of_name_row_shape_and_bytes():
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    assert checksum(3, "snr", values) == zlib.crc32(b"3:snr:(2, 3)" + values.tobytes())
    assert checksum(3, "snr", values) == checksum(3, "snr", np.asfortranarray(values))


def test_one_flipped_bit_changes_exactly_one_checksum(seed, rng):
    rows = rows_of(one(seed), 0.25, factory.predictions(rng, factory.shape()))
    sound = checksums(0, rows)
    for at, v in enumerate(VARIABLES):
        raw = bytearray(rows[v.name].tobytes())
        bit = int(rng.integers(8 * len(raw)))
        raw[bit // 8] ^= 1 << (bit % 8)
        bent = np.frombuffer(raw, v.stored_dtype).reshape(rows[v.name].shape)
        assert (checksums(0, rows | {v.name: bent}) != sound).nonzero()[0].tolist() == [at]
