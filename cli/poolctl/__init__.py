"""
The command line `poolctl`: pools, nodes and addresses in etcd.

The modules with commands import little, so that `--help` is quick; what does the work is
imported when a command runs.
"""
