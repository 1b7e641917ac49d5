"""What is recorded: one line a variable, with its type, dimensions, unit and meaning.

The table below is the format. The store creates from it, rows are made from it, the reader checks against it
and `docs/recordings.md` is generated from it. A change of the table is a new `FORMAT_VERSION`.

Dimensions: `time` grows by one a round; `token`, `symbol`, `prediction` and `character` are ragged: they grow
by as many entries a round as the round's `…_count` says (CF conventions 9.3.3, contiguous ragged arrays).
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = "dmoe-testbed-record"
FORMAT_VERSION = 1

LINK = ("time", "link_from", "link_to")
RAGGED = {
    "token": "token_count",
    "symbol": "symbol_count",
    "prediction": "prediction_count",
    "character": "character_count",
}


@dataclass(frozen=True)
class Variable:
    """One recorded array.

    Attributes:
        name: path in the file; the part before the slash is an HDF5 group.
        field: where it lives in a `RoundRecord`; empty for what the writer adds.
        dtype: numpy type; `bool` is stored as int8 with the attribute `dtype = "bool"`.
        dims: names of dimensions; the first one grows with the rounds.
        units: unit, "1" for plain numbers.
        meaning: one line for people.
    """

    name: str
    field: str
    dtype: str
    dims: tuple[str, ...]
    units: str
    meaning: str

    @property
    def stored_dtype(self) -> str:
        """Type in the file."""
        return "i1" if self.dtype == "bool" else self.dtype

    @property
    def ragged(self) -> bool:
        """Several entries a round, counted by the `…_count` of its first dimension."""
        return self.dims[0] in RAGGED


_ROUND = (
    Variable("time", "", "f8", ("time",), "s", "when the round began, by the clock named in `clock`"),
    Variable("round", "number", "i8", ("time",), "1", "round number in the run"),
    Variable("layer", "layer", "i8", ("time",), "1", "model layer, from 0"),
)
_MEASURED = (
    Variable("h", "measured.h", "c8", (*LINK, "subcarrier"), "1",
             "estimated channel frequency response; |h|² in units of `amplitude_reference`, 0 = not measured"),
    Variable("noise", "measured.noise", "f4", (*LINK, "subcarrier"), "1",
             "noise variance per subcarrier, same units as |h|²"),
    Variable("snr", "measured.snr", "f4", (*LINK, "subcarrier"), "1",
             "linear SNR per subcarrier, 0 = not measured"),
    Variable("valid", "measured.valid", "bool", LINK, "1", "the link was measured in this round"),
    Variable("cfo_hz", "measured.cfo_hz", "f8", LINK, "Hz", "carrier offset between the two units"),
    Variable("timing_samples", "measured.timing_samples", "f8", LINK, "1",
             "sample of the capture at which the sounding frame began"),
    Variable("clipped", "measured.clipped", "bool", LINK, "1", "the capture touched full scale"),
)  # fmt: skip
_DECISION = (
    Variable("decision/alive", "alive", "bool", ("time", "node"), "1", "nodes that finished the round"),
    Variable("decision/qos", "qos", "f8", ("time",), "1", "least sum of gate scores per token, z·γ(l)"),
    Variable("decision/bound_j", "bound_j", "f8", ("time",), "J", "valid lower bound on the joint optimum"),
    Variable("tokens/source", "source", "i8", ("token",), "1", "node of the token"),
    Variable("tokens/score", "score", "f8", ("token", "node"), "1", "gate score of each expert"),
    Variable("tokens/selected", "selected", "bool", ("token", "node"), "1", "experts chosen"),
    Variable("tokens/relaxed", "relaxed", "bool", ("token",), "1",
             "no allowed set of reachable experts meets the QoS"),
    Variable("tokens/lost", "lost", "bool", ("token",), "1", "missed at least one chosen expert"),
    Variable("tokens/fallback", "fallback", "bool", ("token",), "1", "missed every chosen expert"),
)  # fmt: skip


def _energy(kind: str, words: str) -> tuple[Variable, ...]:
    return (
        Variable(f"energy/{kind}_computation", f"{kind}.computation", "f8", ("time", "node"), "J",
                 f"computation at each expert, {words}"),
        Variable(f"energy/{kind}_forward", f"{kind}.forward", "f8", LINK, "J",
                 f"hidden states from source to expert, {words}"),
        Variable(f"energy/{kind}_back", f"{kind}.back", "f8", LINK, "J",
                 f"results from expert to source, {words}"),
        Variable(f"energy/{kind}_overhead", f"{kind}.overhead", "f8", ("time",), "J",
                 f"preambles, headers and training that no link owns, {words}"),
    )  # fmt: skip


def _traffic(phase: str) -> tuple[Variable, ...]:
    return (
        Variable(f"traffic/{phase}_sent", f"{phase}.sent", "i8", LINK, "1",
                 "blocks put on the air, retransmissions included"),
        Variable(f"traffic/{phase}_failed", f"{phase}.failed", "i8", LINK, "1",
                 "blocks that failed their checksum, retransmissions included"),
        Variable(f"traffic/{phase}_given_up", f"{phase}.given_up", "i8", LINK, "1",
                 "blocks that failed at the last attempt"),
        Variable(f"traffic/{phase}_mcs", f"{phase}.mcs", "i8", LINK, "1",
                 "modulation and coding scheme, -1 where idle"),
        Variable(f"traffic/{phase}_subcarrier_link", f"{phase}.subcarrier_link", "i8",
                 ("time", "data_subcarrier"), "1", "link served, from·K + to; -1 = none"),
        Variable(f"traffic/{phase}_air_time_s", f"{phase}.air_time_s", "f8", ("time",), "s",
                 "time with a carrier on the air"),
    )  # fmt: skip


_REST = (
    Variable("constellation/symbols", "constellation", "c8", ("symbol",), "1",
             "equalised symbols of one link"),
    Variable("constellation/link_from", "", "i8", ("time",), "1", "transmitter of these symbols"),
    Variable("constellation/link_to", "", "i8", ("time",), "1", "receiver of these symbols"),
    Variable("predictions/node", "", "i8", ("prediction",), "1", "node of the token"),
    Variable("predictions/predicted", "", "u1", ("prediction",), "1", "next byte predicted by the run"),
    Variable("predictions/central", "", "u1", ("prediction",), "1",
             "next byte predicted by the same model in one place"),
    Variable("predictions/target", "", "u1", ("prediction",), "1", "byte that really follows"),
    Variable("text/utf8", "", "u1", ("character",), "1",
             'JSON object in UTF-8: "status" of the decision and "events" of the round'),
)  # fmt: skip
_COUNTS = tuple(
    Variable(count, "", "i8", ("time",), "1", f"entries of dimension `{dim}` that belong to the round")
    for dim, count in RAGGED.items()
)

VARIABLES: tuple[Variable, ...] = (
    *_ROUND,
    *_MEASURED,
    *_DECISION,
    *_energy("predicted", "predicted by the model"),
    *_energy("spent", "spent: air time × power, retransmissions counted"),
    *_traffic("forward"),
    *_traffic("back"),
    *_REST,
    *_COUNTS,
)


def table() -> str:
    """The schema as a Markdown table, for `docs/recordings.md`."""
    head = "| variable | type | dimensions | unit | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| `{v.name}` | {v.dtype} | {', '.join(v.dims)} | {v.units} | {v.meaning.replace('|', chr(92) + '|')} |\n"
        for v in VARIABLES
    )
