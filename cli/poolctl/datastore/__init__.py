"""The commands under `poolctl datastore`."""
