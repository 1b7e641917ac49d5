"""Two Plutos as GNU Radio uses them: gr-iio sends a tone with one and hears it with the other.

    python3 gnuradio_pluto.py SENDER_URI HEARER_URI

runs under the Python that has `gnuradio` and prints one line: power of the tone over all else in dB, its frequency
in Hz, without and with the sender.
"""

import os
import sys
import time

import numpy as np
from gnuradio import analog, blocks, gr, iio

RATE_HZ, CENTRE_HZ, TONE_HZ, COUNT = 2_400_000, 2_450_000_000, 300_000.0, 200_000
KEPT = []
"""Graphs that must not be destroyed: in gr-iio 3.10.5 a source that ran for less than a second never ends."""


def source(uri):
    block = iio.fmcomms2_source_fc32(uri, [True, True], 32768)
    block.set_frequency(CENTRE_HZ)
    block.set_samplerate(RATE_HZ)
    block.set_gain_mode(0, "manual")
    block.set_gain(0, 30.0)
    block.set_quadrature(True)
    block.set_rfdc(True)
    block.set_bbdc(True)
    block.set_filter_params("Auto", "", 0, 0)
    return block


def sink(uri):
    block = iio.fmcomms2_sink_fc32(uri, [True, True], 32768, False)
    block.set_frequency(CENTRE_HZ)
    block.set_samplerate(RATE_HZ)
    block.set_attenuation(0, 10.0)
    block.set_filter_params("Auto", "", 0, 0)
    return block


def hear(uri, sender=None):
    """(COUNT,) samples, of a time when `sender` is on the air."""
    graph, kept = gr.top_block(), blocks.vector_sink_c()
    graph.connect(source(uri), blocks.head(gr.sizeof_gr_complex, 4 * COUNT), kept)
    if sender is not None:
        graph.connect(analog.sig_source_c(RATE_HZ, analog.GR_COS_WAVE, TONE_HZ, 0.5, 0), sink(sender))
    KEPT.append(graph)
    graph.start()
    deadline = time.monotonic() + 30
    while len(kept.data()) < 4 * COUNT and time.monotonic() < deadline:
        time.sleep(0.05)
    graph.stop()
    graph.wait()
    return np.array(kept.data())[-COUNT:]


def tone(samples):
    """Power of the strongest line over all else in dB, and its frequency in Hz."""
    power = np.abs(np.fft.fft(samples * np.hanning(samples.size))) ** 2
    at = int(power.argmax())
    line = power[np.arange(at - 3, at + 4) % power.size].sum()
    return 10 * np.log10(line / (power.sum() - line)), np.fft.fftfreq(samples.size, 1 / RATE_HZ)[at]


if __name__ == "__main__":
    before, during = tone(hear(sys.argv[2])), tone(hear(sys.argv[2], sys.argv[1]))
    sys.stdout.write(" ".join(str(number) for number in (*before, *during)) + "\n")
    sys.stdout.flush()
    os._exit(0)
