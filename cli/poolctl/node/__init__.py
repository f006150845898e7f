"""The commands under `poolctl node`."""
