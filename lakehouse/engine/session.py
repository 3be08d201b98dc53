"""The Spark session: picked up where there is one, made for a laptop where there is none.

Rule: on Databricks and under an active session nothing is created or set. Locally one session with Delta is made, classic
or Spark Connect (``LAKEHOUSE_SPARK=connect``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.control.process import OWNER, this_process, wait_for_orphans
from lakehouse.errors import SetupError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

UTC = frozenset({"UTC", "Etc/UTC", "GMT", "Z", "+00:00"})
SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.memory": "4g",
    "spark.sql.debug.maxToStringFields": "1000",
    "spark.log.level": "ERROR",
}

SMALL = {
    "spark.driver.extraJavaOptions": "-XX:ReservedCodeCacheSize=256m -XX:+UseParallelGC -Ddelta.log.cacheSize=128",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.defaultSizeInBytes": "1048576",
}
"""For a few thousand rows a load is mostly planning and compiling: interpreted plans take half the time."""


def spark_session(*, cores: int | None = None, small: bool = False) -> SparkSession:
    """The active session, or a new local one with Delta; ``small`` tunes a new one for a few thousand rows.

    Raises:
        SetupError: pyspark, Delta or Java is missing, or the session's time zone is not UTC.
    """
    session = _active() or _local(cores or os.cpu_count() or 2, SMALL if small else {})
    zone = session.conf.get("spark.sql.session.timeZone")
    if zone not in UTC:
        raise SetupError(
            f"the Spark session's time zone is {zone}; text without a zone would be read differently elsewhere. "
            'Set it first: spark.conf.set("spark.sql.session.timeZone", "UTC").'
        )
    return session


def _active() -> SparkSession | None:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise SetupError("pyspark is not installed. Outside Databricks: pip install 'lakehouse[spark]'.") from error
    active: SparkSession | None = SparkSession.getActiveSession()
    if active is None and "DATABRICKS_RUNTIME_VERSION" in os.environ:
        active = SparkSession.builder.getOrCreate()
    return active


def _local(cores: int, extra: Mapping[str, str]) -> SparkSession:
    from pyspark.sql import SparkSession

    check_java()
    if orphans := wait_for_orphans():
        raise SetupError(
            f"a Java process of a run that was killed still works: {', '.join(map(str, orphans))}. Wait for it or end it."
        )
    os.environ[OWNER] = this_process()
    package = _delta_package()
    settings = {**SETTINGS, "spark.sql.shuffle.partitions": str(cores), "spark.jars.packages": package, **extra}
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName("lakehouse")
    connect = os.environ.get("LAKEHOUSE_SPARK") == "connect"
    builder = builder.remote(f"local[{cores}]") if connect else builder.master(f"local[{cores}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    with warnings.catch_warnings():
        # under Connect the builder sets static settings a second time, which the server refuses with a warning
        warnings.simplefilter("ignore")
        return builder.getOrCreate()


def _delta_package() -> str:
    """The Maven coordinates of the Delta that fits the installed pyspark and delta-spark."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        delta = version("delta-spark")
    except PackageNotFoundError as error:
        raise SetupError("delta-spark is not installed. Outside Databricks: pip install 'lakehouse[spark]'.") from error
    spark = ".".join(version("pyspark").split(".")[:2])
    return f"io.delta:delta-spark_{spark}_2.13:{delta}"


def check_java() -> str:
    """What ``java -version`` says of itself.

    Raises:
        SetupError: there is no Java, or one that Spark does not run on.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not java or not shutil.which(java):
        raise SetupError(
            "no Java found. Spark needs Java 17 or 21: install one (Debian: apt-get install openjdk-17-jre-headless) or set JAVA_HOME."
        )
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    said = (answer.stderr or answer.stdout).splitlines()
    line = next((line for line in said if ' version "' in line), said[0] if said else "")
    number = line.partition('"')[2].partition('"')[0].split(".")[0]
    if not number.isdigit() or int(number) < 17:
        raise SetupError(
            f"{java} is {line or 'not answering'}. Spark needs Java 17 or 21: install one and set JAVA_HOME."
        )
    return line
