"""Distributed mixture-of-experts inference over real radios."""
