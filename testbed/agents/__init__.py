"""The processes of a run: controller, node agents, and the simulated air they share."""
