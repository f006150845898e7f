"""
IP address management with Calico's allocation model, for any CNI plugin, stored in etcd.

The package is layered and imports point down only: `cni` -> `ipam`, `batch` -> `store` ->
`core` -> `api` -> `selector`, `cidr` -> `errors`. `core` takes decisions, `store` keeps
values under keys, and between them `ipam` has the one loop that retries. DESIGN.md draws the
whole picture.
"""

__version__ = "0.1.0"
