"""What a runtime leaves on disk: its cache of attachments."""

import json
from pathlib import Path


def remember(cache_dir: Path, network: str, container: str, interface: str = "eth0", **more):
    """Write an attachment as libcni does, and return its file."""
    results = cache_dir / "results"
    results.mkdir(parents=True, exist_ok=True)
    file = results / f"{network}-{container}-{interface}"
    entry = {
        "kind": "cniCacheV1",
        "containerId": container,
        "ifName": interface,
        "networkName": network,
        **more,
    }
    file.write_text(json.dumps(entry))
    return file
