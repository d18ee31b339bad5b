"""An S3-compatible store on this machine."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Store:
    """Its bucket is `data`."""

    endpoint: str
    client: Any
    scheme: str = "s3"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which boto3 finds the store."""
        return self.through(self.endpoint)

    def through(self, proxy: str) -> dict[str, str]:
        """Environment variables with which boto3 finds a proxy in front of the store."""
        return {**KEYS, "AWS_ENDPOINT_URL": proxy}

    def names(self) -> dict[str, int]:
        """Sizes of all objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="data")
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}

    def read(self, name: str) -> bytes:
        content: bytes = self.client.get_object(Bucket="data", Key=name)["Body"].read()
        return content

    def put(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket="data", Key=name, Body=content)

    def empty(self) -> None:
        for name in self.names():
            self.client.delete_object(Bucket="data", Key=name)


@contextmanager
def s3_here() -> Iterator[Store]:
    """A new store."""
    server = importlib.import_module("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = importlib.import_module("boto3").client(
        "s3", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
    )
    with urlopen(f"{url}/moto-api/reset", b""):  # all servers of a process share their contents
        pass
    client.create_bucket(Bucket="data")
    try:
        yield Store(url, client)
    finally:
        server.stop()
