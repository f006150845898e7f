"""
ClusterInformation: the cluster's identity, which Calico's main plugin wants to find.

There is one, named "default".

Source: Calico api/pkg/apis/projectcalico/v3/clusterinfo.go.
"""

from typing import ClassVar

from pydantic import Field

from poolmgr.api.meta import Model, ObjectMeta, Resource, Text, new_uid

DEFAULT = "default"


class ClusterInformationSpec(Model):
    """
    What is known about the cluster.

    Attributes:
        cluster_guid: 32 hex digits.
        calico_version: Left empty by us: calicoctl refuses to run beside another version.
        datastore_ready: False = Calico's main plugin refuses work; None = not said.
    """

    cluster_guid: Text = ""
    cluster_type: Text = ""
    calico_version: Text = ""
    datastore_ready: bool | None = None
    variant: Text = ""


class ClusterInformation(Resource):
    """The cluster's identity."""

    kind: ClassVar[str] = "ClusterInformation"
    plural: ClassVar[str] = "clusterinformations"
    aliases: ClassVar[tuple[str, ...]] = ("clusterinfo", "clusterinfos")

    spec: ClusterInformationSpec = Field(default_factory=ClusterInformationSpec)


def new_cluster(now: str) -> ClusterInformation:
    """Make the resource a cluster starts with, created at `now` (RFC 3339)."""
    return ClusterInformation(
        metadata=ObjectMeta(name=DEFAULT, uid=new_uid(), creation_timestamp=now),
        spec=ClusterInformationSpec(
            cluster_guid=new_uid().replace("-", ""), datastore_ready=True
        ),
    )
