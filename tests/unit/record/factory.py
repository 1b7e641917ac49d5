"""Seeded rounds that look like those of a run: multipath channels, a gate, a greedy choice, real counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from testbed.outcome import Energy, Measured, RoundRecord, Summary, Traffic
from testbed.record.folder import RunFolder, create_run
from testbed.record.rows import Predictions, RecordShape
from testbed.record.writer import RunWriter

NOW = datetime(2025, 3, 17, 12, 0, 0, tzinfo=UTC)
CAMPAIGN = 'name = "demo"\n[radio]\nnodes = 4\n'
SPACING_HZ = 15e3


def shape(K: int = 4, L: int = 4, U: int = 200, pilots: int = 8) -> RecordShape:
    tones = np.r_[-(U // 2) : 0, 1 : U - U // 2 + 1]
    data = np.delete(tones, np.linspace(0, U - 1, pilots).astype(int))
    return RecordShape(
        nodes=K,
        layers=L,
        frequency_hz=tones * SPACING_HZ,
        data_frequency_hz=data * SPACING_HZ,
        center_hz=2.412e9,
        spacing_hz=SPACING_HZ,
        attributes={"hardware": "sim:", "gain_db": 30.0, "phase_calibrated": 0},
    )


def measured(rng: np.random.Generator, of: RecordShape, seed: int) -> Measured:
    """A tapped delay line a link, fixed by `seed`, seen through estimation noise."""
    K, f = of.nodes, of.frequency_hz
    fixed = np.random.default_rng(seed)
    taps = fixed.standard_normal((K, K, 6, 2)) @ (1, 1j) * np.exp(-np.arange(6) / 2)
    loss = 10 ** (fixed.uniform(-45, -20, (K, K, 1)) / 20)
    delay = fixed.uniform(0, 1.2e-6, 6)
    h = loss * (taps @ np.exp(-2j * np.pi * delay[:, None] * f))
    noise = np.full(h.shape, 3e-6)
    h = h + np.sqrt(noise / 2) * (rng.standard_normal((*h.shape, 2)) @ (1, 1j))
    valid = ~np.eye(K, dtype=bool)
    h = h * valid[..., None]
    return Measured(
        h=h.astype(np.complex64),
        noise=noise.astype(np.float32),
        snr=(np.abs(h) ** 2 / noise).astype(np.float32),
        valid=valid,
        cfo_hz=rng.normal(0, 200, (K, K)) * valid,
        timing_samples=rng.uniform(100, 110, (K, K)) * valid,
        clipped=np.zeros((K, K), bool),
    )


def tokens(rng: np.random.Generator, K: int, per_node: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, gate scores that prefer the own expert, and the two best experts."""
    source = np.repeat(np.arange(K), per_node)
    logits = 1.5 * rng.standard_normal((source.size, K))
    logits[np.arange(source.size), source] += 1.5
    score = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    selected = np.argsort(np.argsort(-score, 1), 1) < min(2, K)
    return source, score, selected


def traffic(rng: np.random.Generator, of: RecordShape, blocks: np.ndarray) -> Traffic:
    K, M = of.nodes, len(of.data_frequency_hz)
    busy = np.flatnonzero(blocks)
    owner = np.full(M, -1)
    if busy.size:
        owner[rng.permutation(M)[: M // 2]] = rng.choice(busy, M // 2)
    failed = rng.binomial(blocks, 0.06)
    return Traffic(
        sent=blocks + failed,
        failed=failed,
        given_up=np.zeros_like(blocks),
        mcs=np.where(blocks > 0, rng.integers(0, 6, (K, K)), -1),
        subcarrier_link=owner,
        air_time_s=float(blocks.sum() * 1.3e-3),
    )


def round_record(
    rng: np.random.Generator,
    of: RecordShape,
    number: int = 0,
    layer: int = 0,
    per_node: int = 16,
    seed: int = 0,
) -> RoundRecord:
    K = of.nodes
    source, score, selected = tokens(rng, K, per_node)
    blocks = np.zeros((K, K), np.int64)
    np.add.at(blocks, (source[:, None] * np.ones(K, int), np.arange(K)[None] + 0 * source[:, None]), selected)
    np.fill_diagonal(blocks, 0)
    forward, back = traffic(rng, of, blocks), traffic(rng, of, blocks.T)
    computation = 2e-3 * selected.sum(0)
    predicted = Energy(computation, 1.1e-4 * blocks, 1.1e-4 * blocks.T, 0.0)
    spent = Energy(computation, 1.3e-4 * forward.sent, 1.3e-4 * back.sent, 4.2e-3)
    link = np.unravel_index(int(blocks.argmax()), (K, K))
    qpsk = (rng.integers(0, 2, (400, 2)) * 2 - 1) @ (1, 1j) / np.sqrt(2)
    symbols = qpsk + 0.08 * (rng.standard_normal((400, 2)) @ (1, 1j))
    lost = rng.random(source.size) < 0.02
    return RoundRecord(
        number=number,
        layer=layer,
        alive=np.ones(K, bool),
        measured=measured(rng, of, seed),
        source=source,
        score=score,
        selected=selected,
        relaxed=rng.random(source.size) < 0.05,
        lost=lost,
        fallback=lost & (rng.random(source.size) < 0.2),
        qos=0.7**layer,
        predicted=predicted,
        spent=spent,
        bound_j=0.93 * predicted.total_j(),
        status="converged",
        forward=forward,
        back=back,
        constellation=symbols.astype(np.complex64),
        constellation_link=(int(link[0]), int(link[1])),
        seconds={
            "sound": 0.11,
            "gate": 0.02,
            "schedule": 0.003,
            "forward": 0.4,
            "expert": 0.01,
            "return": 0.4,
        },
        events=("node 2 dropped: no answer within 750 ms",) if number == 2 else (),
    )


def predictions(rng: np.random.Generator, of: RecordShape, per_node: int = 16) -> Predictions:
    target = rng.integers(32, 127, of.nodes * per_node).astype(np.uint8)
    guess = lambda share: np.where(rng.random(target.size) < share, target, 32).astype(np.uint8)  # noqa: E731
    return Predictions(np.repeat(np.arange(of.nodes), per_node), guess(0.55), guess(0.58), target)


def rounds(seed: int, of: RecordShape, passes: int = 1) -> list[tuple[RoundRecord, Predictions | None]]:
    """`passes` times through the layers; the token count differs from round to round."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(passes * of.layers):
        layer = number % of.layers
        record = round_record(rng, of, number, layer, per_node=16 - layer, seed=seed)
        found.append((record, predictions(rng, of) if layer == of.layers - 1 else None))
    return found


def summary(records: list[RoundRecord]) -> Summary:
    sent = sum(int(r.forward.sent.sum() + r.back.sent.sum()) for r in records)
    failed = sum(int(r.forward.failed.sum() + r.back.failed.sum()) for r in records)
    return Summary(
        run_dir="",
        rounds=len(records),
        tokens=sum(r.source.size for r in records),
        tokens_relaxed=sum(int(r.relaxed.sum()) for r in records),
        tokens_lost=sum(int(r.lost.sum()) for r in records),
        block_error_rate=failed / sent,
        retransmissions=failed,
        energy_predicted_j=sum(r.predicted.total_j() for r in records),
        energy_spent_j=sum(r.spent.total_j() for r in records),
        bound_j=sum(r.bound_j for r in records),
        accuracy=0.55,
        accuracy_central=0.58,
        seconds=7.5,
    )


def record_run(out: Path, seed: int, passes: int = 1, of: RecordShape | None = None) -> RunFolder:
    """A finished run on disk, through the real writer."""
    of = shape() if of is None else of
    made = rounds(seed, of, passes)
    folder = create_run(out, "demo", seed, CAMPAIGN, ["testbed", "run"], NOW)
    with RunWriter(folder, of) as writer:
        for record, ended in made:
            writer.append(record, ended)
        writer.finish(replace(summary([r for r, _ in made]), run_dir=str(folder.path)))
    return folder


def killed_run(out: Path, name: str, of: RecordShape, made: list[RoundRecord]) -> RunFolder:
    """A run as two kills leave it, of its controller and of the writer process behind it."""
    folder = create_run(out, name, 7, CAMPAIGN, [], NOW)
    writer = RunWriter(folder, of)
    writer.__enter__()
    for record in made:
        writer.append(record)
    writer._release()
    return folder
