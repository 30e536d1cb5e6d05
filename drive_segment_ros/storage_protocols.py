"""Packages, options and credentials of URL protocols."""

from __future__ import annotations

from typing import Any

from drive_segment_ros.errors import DependencyError, StorageError

S3 = ('s3', 's3a')
# How to install protocols that are not part of fsspec.
PACKAGES = {
    **dict.fromkeys(S3, "pip install '.[s3]'"),
    **dict.fromkeys(('gs', 'gcs'), 'pip install gcsfs'),
    **dict.fromkeys(('abfs', 'abfss', 'az', 'adl'), 'pip install adlfs'),
}
# Timeout of two minutes for a server that does not answer, instead of half an hour: s3fs
# repeats what it repeats itself and what its client does, eight requests in all.
_S3_PATIENCE = {'connect_timeout': 5, 'read_timeout': 15, 'retries': {'max_attempts': 1}}
S3_TRIES = 2


def check_protocol(protocol: str, text: str) -> None:
    """Check that the package for a URL is installed.

    Raises:
        DependencyError: if it is not installed.
        StorageError: if there is no such protocol.
    """
    from fsspec.registry import get_filesystem_class, known_implementations

    try:
        get_filesystem_class(protocol)
    except ImportError as err:
        package = known_implementations.get(protocol, {}).get('err', '').rstrip('.')
        remedy = (
            PACKAGES.get(protocol) or package or 'install the package that fsspec needs for it'
        )
        raise DependencyError(f'{text} needs a package that is not installed; {remedy}') from err
    except ValueError as err:
        raise StorageError(
            f'{text}: there is no protocol {protocol}://; give a local path, or a URL such as '
            's3://BUCKET/FOLDER'
        ) from err


def options(protocol: str) -> dict[str, Any]:
    """Return options of a filesystem, in addition to the user's configuration."""
    if protocol not in PACKAGES:
        return {}
    # Others may write meanwhile, so listings must not be cached.
    found: dict[str, Any] = {'use_listings_cache': False}
    if protocol in S3:
        from fsspec.config import conf

        given = conf.get(protocol, {}).get('config_kwargs', {})
        found['config_kwargs'] = {**_S3_PATIENCE, **given}
    return found


def credentials(protocol: str) -> str:
    """Return the names of a protocol's credentials."""
    if protocol in S3:
        return 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and their permissions'
    if protocol in ('gs', 'gcs'):
        return 'GOOGLE_APPLICATION_CREDENTIALS, and their permissions'
    return f'the credentials for {protocol}://'


def server(protocol: str) -> str:
    """Return the setting of a protocol's server address."""
    return 'AWS_ENDPOINT_URL' if protocol in S3 else f'the configuration of {protocol}://'
