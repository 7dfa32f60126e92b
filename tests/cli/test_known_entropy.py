"""A generated text: what the machine that made it needs for it stands beside what a model needs."""

from __future__ import annotations

import json
import math

import pytest

from lmkit.text.sources.generated import GENERATORS


@pytest.mark.parametrize("corpus", ["markov", "brackets", "copy", "recall:20"])
def test_train_eval_and_info_show_the_known_entropy_beside_the_perplexity(cli, work, small, corpus):
    options = ("--corpus", f"{corpus}:3000", *small, "--max-steps", 2, "--out", "run")
    trained = cli("train", *options)
    assert trained.code == 0, trained.stderr
    metrics = json.loads(cli("eval", "run", "--json", "--threads", 1).stdout)
    generator = GENERATORS[corpus.partition(":")[0]]
    text = generator.sample(3000)
    nll = generator.nll(text) - generator.nll(text[:2700])
    assert metrics["source_nll_nats"] == pytest.approx(nll)
    assert metrics["source_perplexity"] == pytest.approx(math.exp(nll / metrics["tokens"]))
    assert metrics["source_entropy_nats_per_char"] == pytest.approx(generator.entropy_rate)
    line = f"The machine that made this text has perplexity {metrics['source_perplexity']:.4f} on it; "
    for shown in (trained.stdout, cli("eval", "run", "--threads", 1).stdout, cli("info", "run").stdout):
        assert line in shown
    metrics = json.loads(cli("info", "run", "--json").stdout)["metrics"]
    (final,) = [record for record in metrics if record["kind"] == "final"]
    assert final["source_nll_nats"] == pytest.approx(nll)
    cached = json.loads(cli("eval", "run", "--json", "--threads", 1, "--split", "valid", "--cache", 20).stdout)
    expected = generator.nll(text[:2700]) - generator.nll(text[:2400])
    assert cached["source_nll_nats"] == cached["network"]["source_nll_nats"] == pytest.approx(expected)


def test_of_another_text_nothing_is_known(cli, work, small):
    cli("train", "--corpus", "copy:3000", *small, "--max-steps", 2, "--out", "run")
    (work / "other.txt").write_text("abcdefgh=abcdefgh\n", encoding="utf-8")
    metrics = json.loads(cli("eval", "run", "--file", "other.txt", "--json", "--threads", 1).stdout)
    assert not any(name.startswith("source_") for name in metrics)
