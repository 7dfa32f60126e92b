"""Public data sets by name, through Hugging Face ``datasets``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from lmkit.errors import CorpusError
from lmkit.text.sources.source import WHOLE, Document, Source

__all__ = ["open_dataset"]

SPLITS = {"train": ("train",), "valid": ("validation", "valid", "val", "dev"), "test": ("test",)}
BATCH = 1000
PROBE_SECONDS = 5


def open_dataset(identifier: str, *, name: str | None = None) -> Source:
    """The data set owner/name or owner/name:config. Each split is one document: its rows, each ended by a line end.

    The text is the column ``text`` or the only column of strings. Without a validation and a test split the training
    split is cut as a file would be. Raises CorpusError where the set cannot be had, and says what to do instead.
    """
    splits = _load(identifier)
    found = {ours: splits[its] for ours, names in SPLITS.items() for its in names if its in splits}
    if "train" not in found:
        raise CorpusError(f"The data set {identifier} has no split called train: it has {', '.join(splits) or 'none'}.")
    documents = {ours: [_document(identifier, ours, rows)] for ours, rows in found.items()}
    parts = documents if len(documents) > 1 else {WHOLE: documents["train"]}
    info = {"dataset": identifier, "fingerprints": {ours: rows._fingerprint for ours, rows in found.items()}}
    short = name or identifier.partition(":")[0].rpartition("/")[2]
    version = f"{identifier} {info['fingerprints']}"
    return Source(short, f"data set {identifier}", parts, version=version, info=info)


def _load(identifier: str) -> dict[str, Any]:
    path, _, config = identifier.partition(":")
    try:
        import datasets

        datasets.disable_progress_bars()
        with _offline_where_unreachable():
            return dict(datasets.load_dataset(path, config or None))
    except KeyboardInterrupt:
        raise
    except Exception as error:  # every layer below has its own errors
        raise CorpusError(_explain(identifier, error)) from error


@contextlib.contextmanager
def _offline_where_unreachable() -> Iterator[None]:
    """Ask the hub for one answer, and work from what is stored here if none comes.

    Without this the libraries ask again and again, for about 25 seconds, even for what they have stored. Their switches
    are variables of the environment that are read at import, so the values that came of them are set.
    """
    import datasets
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or datasets.config.HF_HUB_OFFLINE or _is_reachable(constants.ENDPOINT):
        yield
        return
    switches: tuple[Any, ...] = (constants, datasets.config)
    try:
        for module in switches:
            module.HF_HUB_OFFLINE = True
        yield
    finally:
        for module in switches:
            module.HF_HUB_OFFLINE = False


def _is_reachable(endpoint: str) -> bool:
    """Whether a server answers, whatever it says; asked through the hub library's own client, proxies and certificates
    as there.
    """
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # public in every version

    try:
        get_session().head(endpoint, timeout=PROBE_SECONDS)
    except Exception:  # those of requests or httpx, whichever the library has
        return False
    return True


def _explain(identifier: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if isinstance(error, ConnectionError) or "Offline" in type(error).__name__ or "offline" in reason.lower():
        return (
            f"The data set {identifier} cannot be fetched, there is no network: connect once so that it is cached, or "
            "give a file or a built-in corpus such as pydoc."
        )
    if isinstance(error, ImportError):
        return f"The data set {identifier} needs the package datasets: pip install datasets, or give a file."
    return f"The data set {identifier} cannot be loaded ({reason[:300]}): check its name and config, or give a file."


def _document(identifier: str, split: str, rows: Any) -> Document:
    return Document(f"{identifier}/{split}", partial(_chunks, rows, _text_column(identifier, rows)))


def _text_column(identifier: str, rows: Any) -> str:
    features = rows.features.items()
    columns = [name for name, feature in features if getattr(feature, "dtype", "") in ("string", "large_string")]
    named = [name for name in columns if name.lower() == "text"]
    chosen = named or columns
    if len(chosen) != 1:
        raise CorpusError(f"The data set {identifier} has no column called text: it has {', '.join(rows.features)}.")
    return str(chosen[0])


def _chunks(rows: Any, column: str) -> Iterator[str]:
    for batch in rows.with_format("arrow").iter(batch_size=BATCH):
        texts = (text or "" for text in batch.column(column).to_pylist())
        yield "".join(text if text.endswith("\n") else text + "\n" for text in texts)
