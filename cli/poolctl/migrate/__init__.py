"""The commands under `poolctl migrate`."""
