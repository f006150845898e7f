"""The command `poolctl doctor`."""

COMMANDS = ()
