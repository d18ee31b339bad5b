"""Reads ranges of objects in S3-compatible stores, one request each and without retries (see `dataset.storage.remote`).

boto3 instead of s3fs: half the CPU time per shard, streaming bodies (so that a broken transfer resumes at its last byte), socket
time-outs, and no event loop in a thread, which would not survive a fork.
"""

import importlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

from motionshards.dataset.storage.unreadable import Pieces, Transient, Unreadable, refusal
from motionshards.schemas.errors import ConfigError

_PIECE_BYTES = 1 << 16
_CONNECTIONS = 32
_SESSION = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "profile_name", "region_name")


class S3Store:
    """The objects whose keys begin with that of a root URL, s3://bucket/prefix."""

    def __init__(self, root: str, stall_s: float, options: dict[str, Any]) -> None:
        boto3, self._errors = importlib.import_module("boto3"), importlib.import_module("botocore.exceptions")
        parts = urlsplit(root)
        self._bucket, self._prefix = parts.netloc.rpartition("@")[2], parts.path.strip("/")
        self._stall_s = stall_s
        rest = {name: value for name, value in options.items() if name not in _SESSION}
        config = _config(stall_s, anonymous=bool(rest.pop("anon", False)))
        try:
            # a separate session: boto3's default session is shared and not thread-safe
            session = boto3.session.Session(**{name: options[name] for name in _SESSION if name in options})
            given = rest.pop("config", None)
            self._client = session.client("s3", config=given.merge(config) if given else config, **rest)
        except (self._errors.BotoCoreError, TypeError, ValueError) as error:
            raise ConfigError(f"s3 cannot be used with these options ({type(error).__name__})") from None

    def pieces(self, path: str, start: int, stop: int | None) -> Pieces:
        """See `dataset.storage.remote.Store`."""
        requested = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop else {}
        key = f"{self._prefix}/{path}".lstrip("/")
        with self._failures():
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **requested)
            with closing(answer["Body"]) as body:
                if requested and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
                    raise Transient("damaged", f"the response is not the requested range from byte {start}")
                yield from body.iter_chunks(_PIECE_BYTES)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Translate exceptions of botocore, whose messages may quote credentials."""
        try:
            yield
        except self._errors.ClientError as error:
            raise _refused(error.response) from None
        except (self._errors.NoCredentialsError, self._errors.PartialCredentialsError):
            raise ConfigError("s3 credentials are missing or incomplete; for a public bucket, pass anon=True") from None
        except (self._errors.ReadTimeoutError, self._errors.ConnectTimeoutError):
            raise Transient("unreachable", f"no data for {self._stall_s:g} s") from None
        except self._errors.IncompleteReadError:
            raise Transient("truncated", "the body ended early") from None
        except self._errors.FlexibleChecksumError:
            raise Transient("damaged", "the checksum does not match the store's") from None
        except self._errors.BotoCoreError as error:
            raise Transient("unreachable", f"the connection broke ({type(error).__name__})") from None


def _config(stall_s: float, anonymous: bool) -> Any:
    """One call is one request, and a stalled socket is an error."""
    config, unsigned = importlib.import_module("botocore.config").Config, importlib.import_module("botocore").UNSIGNED
    more = {"signature_version": unsigned} if anonymous else {}
    once = {"total_max_attempts": 1, "mode": "standard"}
    return config(connect_timeout=stall_s, read_timeout=stall_s, retries=once, max_pool_connections=_CONNECTIONS, **more)


def _refused(answer: dict[str, Any]) -> Unreadable:
    about = answer.get("ResponseMetadata", {})
    code, status = str(answer.get("Error", {}).get("Code", "")), int(about.get("HTTPStatusCode", 500))
    if status == 416:
        return Unreadable("truncated", "fewer bytes than expected")
    retry_after = str(about.get("HTTPHeaders", {}).get("retry-after", ""))
    refused = refusal(status, float(retry_after) if retry_after.isdigit() else None)
    if code and not code.isdigit():
        refused.detail += f" ({code})"
    return refused
