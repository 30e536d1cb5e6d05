"""What each protocol of a URL needs: packages, options, credentials."""

from __future__ import annotations

from typing import Any

from drive_segment_ros.errors import DependencyError, StorageError

S3 = ('s3', 's3a')
# What brings a protocol that fsspec knows and does not carry itself.
PACKAGES = {
    **dict.fromkeys(S3, "pip install '.[s3]'"),
    **dict.fromkeys(('gs', 'gcs'), 'pip install gcsfs'),
    **dict.fromkeys(('abfs', 'abfss', 'az', 'adl'), 'pip install adlfs'),
}
# A server that does not answer is waited for two minutes, where it would be half an hour: s3fs
# repeats what it repeats itself and what its client does, eight requests in all.
_S3_PATIENCE = {'connect_timeout': 5, 'read_timeout': 15, 'retries': {'max_attempts': 1}}
S3_TRIES = 2


def check_protocol(protocol: str, text: str) -> None:
    """Make sure that what a URL, the text, needs is installed.

    Raises:
        DependencyError: if it is not.
        StorageError: if there is no such protocol.
    """
    from fsspec.registry import get_filesystem_class, known_implementations

    try:
        get_filesystem_class(protocol)
    except ImportError as err:
        package = known_implementations.get(protocol, {}).get('err', '').rstrip('.')
        remedy = PACKAGES.get(protocol) or package or 'install what fsspec needs for it'
        raise DependencyError(f'{text} needs a package that is not installed; {remedy}') from err
    except ValueError as err:
        raise StorageError(
            f'{text}: there is no protocol {protocol}://; give a local path, or a URL such as '
            's3://BUCKET/FOLDER'
        ) from err


def options(protocol: str) -> dict[str, Any]:
    """Return what a filesystem is made with, beside what its user configured."""
    if protocol not in PACKAGES:
        return {}
    # Others may write what is read: a listing that was remembered would be wrong.
    found: dict[str, Any] = {'use_listings_cache': False}
    if protocol in S3:
        from fsspec.config import conf

        given = conf.get(protocol, {}).get('config_kwargs', {})
        found['config_kwargs'] = {**_S3_PATIENCE, **given}
    return found


def credentials(protocol: str) -> str:
    """Say what a protocol's credentials are."""
    if protocol in S3:
        return 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and what they may do'
    if protocol in ('gs', 'gcs'):
        return 'GOOGLE_APPLICATION_CREDENTIALS, and what they may do'
    return f'the credentials for {protocol}://'


def server(protocol: str) -> str:
    """Say what tells where a protocol's server is."""
    return 'AWS_ENDPOINT_URL' if protocol in S3 else f'the configuration of {protocol}://'
