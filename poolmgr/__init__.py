"""
IP address management with Calico's allocation model, for any CNI plugin, stored in etcd.

The package is layered and imports point down only: `cni` -> `ipam`, `batch` -> `store` ->
`core` -> `api` -> `selector`, `cidr` -> `errors`. `core` decides and does nothing else; `store`
remembers and knows keys only; `ipam` holds the one retry loop between them. DESIGN.md draws the
whole picture.
"""

__version__ = "0.1.0"
