"""The commands under `poolctl ipam` that calicoctl does not have."""

COMMANDS = ()
