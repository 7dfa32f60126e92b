"""The version of lmkit that writes a run."""

from __future__ import annotations

from importlib import metadata

__all__ = ["lmkit_version"]


def lmkit_version() -> str:
    """The installed version, or "unknown" where lmkit is used without being installed."""
    try:
        return metadata.version("lmkit")
    except metadata.PackageNotFoundError:
        return "unknown"
