"""
IPAMConfiguration: settings of address management, as a resource.

There is one, named "default". With etcd as Calico's datastore nobody reads it: the settings
that count are under another key, which `poolctl ipam configure` changes.

Source: Calico api/pkg/apis/projectcalico/v3/ipamconfig.go; verdicts and stored form as recorded
from calicoctl.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from poolmgr.api.clusterinformation import DEFAULT
from poolmgr.api.meta import Model, Resource, Text
from poolmgr.api.violations import Violation, one_of, shown

MAX_BLOCKS_PER_HOST = 1_000_000
MAX_COOLDOWN_S = 1200
PERSISTENCE = ("Enabled", "Disabled")

Switch = Annotated[
    bool | None, BeforeValidator(lambda value: False if value is None else value)
]
"""True or false, false when not said; unlike other fields it is written when false."""


class IPAMConfigurationSpec(Model):
    """
    The settings.

    Attributes:
        strict_affinity: Nodes use no address of another node's block.
        max_blocks_per_host: 0 = not said.
        auto_allocate_blocks: Nodes claim blocks when they need addresses.
        kube_virt_persistence: Whether virtual machines keep addresses: Enabled or Disabled;
            "" = not said.
        ip_cooldown_seconds: How long a released address stays unused.
    """

    strict_affinity: Switch = Field(default=None, validate_default=True)
    max_blocks_per_host: int = 0
    auto_allocate_blocks: Switch = Field(default=None, validate_default=True)
    kube_virt_persistence: Text = Field(default="", alias="kubeVirtVMAddressPersistence")
    ip_cooldown_seconds: int = 0


class IPAMConfiguration(Resource):
    """Settings of address management, without effect while etcd is Calico's datastore."""

    kind: ClassVar[str] = "IPAMConfiguration"
    plural: ClassVar[str] = "ipamconfigurations"
    aliases: ClassVar[tuple[str, ...]] = ("ipamconfig", "ipamconfigs")

    spec: IPAMConfigurationSpec = Field(default_factory=IPAMConfigurationSpec)

    def violations(self) -> Iterator[Violation]:
        """Check the name and the bounds."""
        spec = self.spec
        yield from one_of("metadata.name", self.metadata.name, (DEFAULT,))
        for path, value, most in (
            ("spec.maxBlocksPerHost", spec.max_blocks_per_host, MAX_BLOCKS_PER_HOST),
            ("spec.ipCooldownSeconds", spec.ip_cooldown_seconds, MAX_COOLDOWN_S),
        ):
            if not 0 <= value <= most:
                yield path, f"{shown(value)} is not allowed: 0 to {most:,}"
        if persistence := spec.kube_virt_persistence:
            yield from one_of("spec.kubeVirtVMAddressPersistence", persistence, PERSISTENCE)
