"""Samples to knowledge: channel state with its quality, from soundings and frames."""
