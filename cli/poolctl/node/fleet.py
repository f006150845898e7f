"""The commands under `poolctl node` that look at all nodes, not at this host."""

COMMANDS = ()
