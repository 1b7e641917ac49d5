"""Messages between controller, agents and shared services: what is said, when, and how it crosses."""
