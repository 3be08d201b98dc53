"""A job cluster as the Jobs API takes it."""

from __future__ import annotations

from typing import Any

from lakehouse.generate.text import filled
from lakehouse.metadata.bundle import JobCluster

SINGLE_NODE = {"spark.databricks.cluster.profile": "singleNode", "spark.master": "local[*, 4]"}


def new_cluster(compute: JobCluster) -> dict[str, Any]:
    """The cluster that a job makes for itself."""
    return filled(
        spark_version=compute.spark_version,
        node_type_id=compute.node_type,
        driver_node_type_id=compute.driver_node_type,
        instance_pool_id=compute.instance_pool,
        driver_instance_pool_id=compute.driver_instance_pool,
        **_size(compute),
        policy_id=compute.policy,
        runtime_engine="PHOTON" if compute.photon else None,
        data_security_mode=compute.data_security_mode,
        spark_conf=_spark_conf(compute),
        spark_env_vars=dict(compute.environment_variables),
        init_scripts=[_init_script(path) for path in compute.init_scripts],
        aws_attributes=filled(instance_profile_arn=compute.instance_profile),
        custom_tags=_tags(compute),
    )


def _size(compute: JobCluster) -> dict[str, Any]:
    workers = compute.workers
    if workers.min == workers.max:
        return {"num_workers": workers.max}
    return {"autoscale": {"min_workers": workers.min, "max_workers": workers.max}}


def _single(compute: JobCluster) -> bool:
    return compute.workers.max == 0


def _spark_conf(compute: JobCluster) -> dict[str, str]:
    given = {key: _word(value) for key, value in compute.spark_conf.items()}
    return {**SINGLE_NODE, **given} if _single(compute) else given


def _word(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tags(compute: JobCluster) -> dict[str, str]:
    return {**({"ResourceClass": "SingleNode"} if _single(compute) else {}), **compute.tags}


def _init_script(path: str) -> dict[str, Any]:
    place = "volumes" if path.startswith("/Volumes/") else "workspace"
    return {place: {"destination": path}}
