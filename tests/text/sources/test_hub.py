"""Public data sets through `datasets`, without network."""

import socket
import sys
import time

import pytest

from lmkit.errors import CorpusError
from lmkit.text.sources import hub
from lmkit.text.sources.opening import open_source
from lmkit.text.sources.source import WHOLE


def read(name):
    with open_source(name) as source:
        return {part: "".join(docs[0].chunks()) for part, docs in source.parts.items()}, source.stamp()


@pytest.fixture
def served(monkeypatch):
    """A stand-in for load_dataset that serves what a test gives it."""
    datasets = pytest.importorskip("datasets")

    def serve(content):
        def load(path, config=None):
            if isinstance(content, Exception):
                raise content
            return {name: datasets.Dataset.from_dict(columns) for name, columns in content.items()}

        monkeypatch.setattr(datasets, "load_dataset", load)

    return serve


def test_splits_are_mapped_and_rows_end_in_a_line_end(served):
    rows = {"train": ["a\n", "", "b"], "validation": ["c"], "test": ["d\n"], "other": ["x"]}
    served({name: {"text": texts, "number": [0] * len(texts)} for name, texts in rows.items()})
    parts, stamp = read("owner/name:config")
    assert parts == {"train": "a\n\nb\n", "valid": "c\n", "test": "d\n"}
    assert stamp[0][0].startswith("owner/name:config")


def test_a_set_with_only_a_training_split_is_cut_like_a_file(served):
    served({"train": {"Sentence": ["a", "b"]}})
    assert read("owner/name")[0] == {WHOLE: "a\nb\n"}


def test_a_registered_name_stands_for_its_set(served):
    served({"train": {"text": ["a"]}, "test": {"text": ["b"]}})
    assert read("wikitext-2")[0] == {"train": "a\n", "test": "b\n"}


def test_a_set_without_text_or_training_split_says_what_it_has(served):
    served({"train": {"question": ["a"], "answer": ["b"]}})
    with pytest.raises(CorpusError, match="no column called text: it has question, answer"):
        read("owner/name")
    served({"test": {"text": ["a"]}})
    with pytest.raises(CorpusError, match="no split called train: it has test"):
        read("owner/name")


def test_without_network_the_error_says_what_to_do(served):
    served(ConnectionError("Couldn't reach 'owner/name' on the Hub"))
    with pytest.raises(CorpusError, match=r"there is no network: .*pydoc"):
        read("owner/name")


def allow_network(monkeypatch, endpoint):
    """As if no variable of the environment said that there is no network."""
    datasets = pytest.importorskip("datasets")
    from huggingface_hub import constants

    for module in (datasets.config, constants):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
    return datasets.config, constants


@pytest.fixture
def closed_port():
    """An address of this machine where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_without_network_nothing_is_tried_again_and_nothing_waits(closed_port, monkeypatch):
    switches = allow_network(monkeypatch, closed_port)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(CorpusError, match="there is no network"):
        read("owner/no-such-set")
    assert waits == []
    assert [module.HF_HUB_OFFLINE for module in switches] == [False, False]


def test_without_network_a_set_that_is_stored_is_read(served, closed_port, monkeypatch):
    allow_network(monkeypatch, closed_port)
    served({"train": {"text": ["a"]}})
    assert read("owner/name")[0] == {WHOLE: "a\n"}


def test_a_server_that_answers_leaves_the_library_online(served, monkeypatch):
    _, constants = allow_network(monkeypatch, "http://127.0.0.1:1")
    monkeypatch.setattr(hub, "_is_reachable", lambda endpoint: True)
    online = []
    datasets = pytest.importorskip("datasets")

    def load(path, config):
        online.append(not constants.HF_HUB_OFFLINE)
        return {"train": datasets.Dataset.from_dict({"text": ["a"]})}

    monkeypatch.setattr(datasets, "load_dataset", load)
    read("owner/name")
    assert online == [True]


def test_the_library_itself_offline_gives_that_error():
    pytest.importorskip("datasets")
    with pytest.raises(CorpusError, match=r"no file or folder owner/no-such-set, and .* there is no network"):
        read("owner/no-such-set")


def test_any_other_failure_is_one_sentence(served):
    served(RuntimeError("Dataset scripts are\nno longer supported"))
    with pytest.raises(CorpusError, match=r"cannot be loaded .Dataset scripts are no longer.*: check its name"):
        read("owner/name")


def test_without_the_package_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match="pip install datasets"):
        read("owner/name")
