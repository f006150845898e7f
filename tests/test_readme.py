"""What README.md shows does run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.poolctl import put
from tests.support.world import stored_resource

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_there_is_a_program():
    assert PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_prints_the_address_that_it_was_given(program, store, etcd_endpoint):
    put(store, dict([stored_resource("ippools", "IPPool", "pods", {"cidr": "10.244.0.0/26"})]))
    here = program.replace("http://127.0.0.1:2379", f"http://{etcd_endpoint}")

    done = subprocess.run(
        [sys.executable, "-c", here], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ("10.244.0.0 of 10.244.0.0/26 in pods\n", "") == (done.stdout, done.stderr)
