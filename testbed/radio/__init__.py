"""The door to the air: real, simulated and recorded radios behind the same few verbs."""
