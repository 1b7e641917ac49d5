"""Bytes to samples and back: grid, coding, preamble, synchronisation, frame."""
