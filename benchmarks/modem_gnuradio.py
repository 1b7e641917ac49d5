"""GNU Radio's OFDM chain, for benchmarks/modem.py: samples a second of digital.ofdm_tx and ofdm_rx, as JSON.

    python3 benchmarks/modem_gnuradio.py [--packets 400] [--passes 3]

Run by an interpreter that can import gnuradio (Debian installs it for the system's own). 64 subcarriers, prefix 16,
QPSK payload, packets of 240 bytes, no noise; GNU Radio has no forward error correction in this chain and gives
neither soft bits nor channel state. Seconds of processor time of the whole process, since each block is a thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

BYTES = 240


def processor_seconds(flowgraph: Any) -> float:
    """Processor seconds that one run of a flowgraph takes."""
    start = time.process_time()
    flowgraph.run()
    return time.process_time() - start


def transmit(gnuradio: Any, packets: int) -> tuple[float, list[complex]]:
    """Seconds, and samples, of `packets` packets."""
    blocks, digital, gr = gnuradio.blocks, gnuradio.digital, gnuradio.gr
    top = gr.top_block()
    source = blocks.vector_source_b([n % 251 for n in range(BYTES * packets)], repeat=False)
    tagger = blocks.stream_to_tagged_stream(gr.sizeof_char, 1, BYTES, "packet_len")
    maker = digital.ofdm_tx(fft_len=64, cp_len=16, packet_length_tag_key="packet_len", bps_payload=2)
    sink = blocks.vector_sink_c()
    top.connect(source, tagger, maker, sink)
    return processor_seconds(top), list(sink.data())


def receive(gnuradio: Any, wave: list[complex]) -> tuple[float, int]:
    """Seconds, and packets delivered."""
    blocks, digital, gr = gnuradio.blocks, gnuradio.digital, gnuradio.gr
    top = gr.top_block()
    source = blocks.vector_source_c([0j] * 1000 + wave + [0j] * 5000, repeat=False)
    reader = digital.ofdm_rx(fft_len=64, cp_len=16, packet_length_tag_key="packet_len", bps_payload=2)
    sink = blocks.vector_sink_b()
    top.connect(source, reader, sink)
    return processor_seconds(top), len(sink.data()) // BYTES


def main() -> None:
    """Measure and print; exit status 3 where GNU Radio is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=400)
    parser.add_argument("--passes", type=int, default=3)
    arguments = parser.parse_args()
    try:
        import gnuradio
        from gnuradio import blocks, digital, gr  # noqa: F401
    except ImportError:
        sys.exit(3)
    sent = [transmit(gnuradio, arguments.packets) for _ in range(arguments.passes)]
    heard = [receive(gnuradio, sent[0][1]) for _ in range(arguments.passes)]
    count = len(sent[0][1])
    result = {
        "version": gr.version(),
        "transmit": count / statistics.median(seconds for seconds, _ in sent) / 1e6,
        "receive": count / statistics.median(seconds for seconds, _ in heard) / 1e6,
        "delivered": statistics.median(packets for _, packets in heard) / arguments.packets,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
