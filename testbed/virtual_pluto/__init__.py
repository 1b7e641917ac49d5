"""A virtual ADALM-PLUTO: the network protocol of a real one in front of the simulated air."""
