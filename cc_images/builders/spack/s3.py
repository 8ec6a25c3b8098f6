"""A build cache in a bucket of S3, by boto3 (`pip install cc-images[s3]`), which is imported here alone.

An object is whole or not there, so blobs before manifests is all that a reader needs. Credentials come from variables
that sites.yaml names, or from the user's own settings for S3; they are in no message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from cc_images.builders.spack.cache_layout import Blob, Odd
from cc_images.builders.spack.places import copied
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import environment
from cc_images.model.build_cache import BuildCache

CONNECT, ANSWER = 5.0, 60.0
"""Seconds that a service may take to be reached, and to answer."""

TRIES = 3
GONE = ("404", "NoSuchKey", "NotFound")
REFUSED = ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")
PASSES = ("408", "429", "500", "502", "503", "504", "InternalError", "SlowDown", "ServiceUnavailable")


class Bucket:
    """A cache below a prefix of a bucket; see `places.Files`."""

    def __init__(self, cache: BuildCache) -> None:
        self._cache = cache
        self._bucket, _, prefix = cache.url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def read(self, path: str, most: int) -> bytes | None:
        with self._errors():
            answer = self._or_none("get_object", path)
            content: bytes = b"" if answer is None else answer["Body"].read(most + 1)
        if len(content) > most:
            raise Odd(f"{path} is too large")
        return None if answer is None else content

    def size(self, path: str) -> int | None:
        with self._errors():
            answer = self._or_none("head_object", path)
        return None if answer is None else int(answer["ContentLength"])

    def fetch(self, blob: Blob, to: BinaryIO) -> None:
        with self._errors():
            answer = self._or_none("get_object", blob.path)
            if answer is None:
                raise Odd("a blob of it is missing")
            copied(answer["Body"], to, blob.size)

    def put(self, path: str, file: Path) -> None:
        with self._errors():
            self._client.upload_file(str(file), self._bucket, self._prefix + path)

    def finish(self, path: str, content: bytes, folder: Path) -> None:
        self.write(path, content)

    def write(self, path: str, content: bytes) -> None:
        with self._errors():
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=content)

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise UserError(
                f"build cache {self._cache.name}: the library boto3 is missing",
                hint="install it: pip install 'cc-images[s3]'",
                reason=Reason.MISSING_TOOL,
            ) from error
        access, secret = map(self._variable, self._cache.access)
        return boto3.Session().client(  # the default one is not for several threads
            "s3",
            endpoint_url=self._cache.endpoint or None,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=Config(
                connect_timeout=CONNECT,
                read_timeout=ANSWER,
                retries={"total_max_attempts": TRIES, "mode": "standard"},
                s3={"addressing_style": "path"} if self._cache.endpoint else {},
                # other services than Amazon's know no checksums that come after the body; ours are in the manifests
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def _variable(self, name: str) -> str | None:
        if not name:
            return None
        if not (value := environment.variable(name)):
            raise CCImagesError(
                f"build cache {self._cache.name}: the variable {name} is not set",
                hint="set it; sites.yaml names it for the credentials of this cache",
                reason=Reason.CREDENTIALS,
            )
        return value

    def _or_none(self, call: str, path: str) -> dict[str, Any] | None:
        """Call for an object; None when there is none."""
        from botocore.exceptions import ClientError

        try:
            answer: dict[str, Any] = getattr(self._client, call)(Bucket=self._bucket, Key=self._prefix + path)
            return answer
        except ClientError as error:
            if _code(error) in GONE:
                return None
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what boto3 raises into our error."""
        client = self._client  # which says that the library is missing
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        assert client is not None
        try:
            yield
        except (ClientError, BotoCoreError, Boto3Error, OSError) as error:
            cause = error.__cause__ or error.__context__ if isinstance(error, Boto3Error) else error
            code = _code(cause) if isinstance(cause, ClientError) else ""
            reason = Reason.SITE if code else Reason.UNREACHABLE
            if code in REFUSED or isinstance(error, NoCredentialsError):
                reason = Reason.CREDENTIALS
            raise CCImagesError(
                f"{self._cache.url}: {(str(cause).splitlines() or [type(cause).__name__])[0][:300]}",
                hint="check the service, the bucket, and the credentials of the build cache in sites.yaml",
                reason=reason,
                temporary=code in PASSES or reason is Reason.UNREACHABLE,
            ) from error


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
