"""The mixture-of-experts model: attention, gate, expert FFN, payload, aggregation, held-out text."""
