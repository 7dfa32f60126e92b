"""Checkpoints: folders that are written beside, sealed by a manifest, and renamed into place."""
