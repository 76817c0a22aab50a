"""The cluster behind a kubeconfig, or the one that this pod runs in."""

from __future__ import annotations

from pathlib import Path

from finemem_pipeline.cluster.seam import Cluster


class KubernetesCluster(Cluster):
    """See `Cluster`."""

    @classmethod
    def connect(
        cls,
        context: str | None = None,
        kubeconfig: Path | None = None,
        outcomes: str | None = None,
        patience: float = 900.0,
        short_patience: float = 120.0,
        timeout: float = 3.0,
    ) -> KubernetesCluster:
        """Find the cluster and speak to it once. Raises ClusterError within `timeout` seconds, naming what was tried.

        `outcomes`: a folder or fsspec URL for records of how jobs ended. `patience`: seconds a job may be held up by
        what can pass (no node free, quota used up, registry down); `short_patience`: by what a person must mend.
        """
        raise NotImplementedError
