"""The commands under `poolctl ipam`."""
