"""``lmkit eval`` with test-time adapters."""

from __future__ import annotations

import json

import pytest

from lmkit.text.corpus import build_corpus


@pytest.fixture
def gains(cli, trained):
    def call(*arguments):
        outcome = cli("eval", trained, "--threads", 1, "--json", *arguments)
        assert outcome.code == 0, outcome.stderr
        figures = json.loads(outcome.stdout)
        return figures, [row["name"] for row in figures["adapters"]]

    return call


def test_each_adapter_reports_its_own_level(gains):
    figures, names = gains("--dynamic", "--dynamic-span", 40, "--cache", 50, "--ngram", 3)
    assert names == [
        "network",
        "+ dynamic evaluation every 40",
        "+ cache of 50",
        "+ n-gram",
        "3-gram alone",
    ]
    assert figures["adapters"][0]["nll_nats"] == pytest.approx(figures["nll_nats"])
    assert not figures["adapter_settings"]["tuned"]


def test_any_window_gives_the_same_numbers(gains):
    rows = [gains("--dynamic", "--cache", 30, "--ngram", 2, "--window", window)[0]["adapters"] for window in (7, 300)]
    for one, other in zip(*rows, strict=True):
        assert one["nll_nats"] == pytest.approx(other["nll_nats"], rel=1e-6)


def test_tuning_is_told_and_helps_the_validation_split(gains):
    plain, _ = gains("--split", "valid", "--cache", 60, "--ngram", 4)
    tuned, _ = gains("--split", "valid", "--cache", 60, "--ngram", 4, "--tune")
    assert tuned["adapter_settings"]["tuned"]
    assert tuned["adapters"][2]["nll_nats"] <= plain["adapters"][2]["nll_nats"] + 1e-6


def test_an_arpa_file_gives_what_the_ngram_model_gave_that_wrote_it(gains, trained, tmp_path):
    import lmkit
    from lmkit.evaluation.arpa import write_arpa
    from lmkit.evaluation.ngram import NgramModel

    lm = lmkit.load(trained)
    train = build_corpus(lm.config.data, tokenizer=lm.tokenizer).splits["train"]
    model = NgramModel.train(train.ids, vocab_size=lm.tokenizer.vocab_size, order=3, eos_id=lm.tokenizer.eos_id)
    write_arpa(model, lm.tokenizer, tmp_path / "three.arpa")
    ours, _ = gains("--ngram", 3)
    theirs, names = gains("--arpa", tmp_path / "three.arpa")
    assert names[-1] == "n-gram alone"
    assert theirs["adapters"][-1]["nll_nats"] == pytest.approx(ours["adapters"][-1]["nll_nats"], rel=1e-5)


def test_a_run_mixed_with_itself_is_itself(gains, trained):
    figures, names = gains("--mix", trained)
    assert names == ["network", "+ 1 more"]
    assert figures["adapters"][1]["nll_nats"] == pytest.approx(figures["nll_nats"], rel=1e-6)


def test_mistakes_are_named(refused, trained, tmp_path):
    assert "--rows 1" in refused("eval", trained, "--dynamic", "--rows", 4)
    assert "not both" in refused("eval", trained, "--ngram", 2, "--arpa", tmp_path / "x.arpa")
    assert "--cache-weight" in refused("eval", trained, "--cache", 10, "--cache-weight", 1.5)
    assert "no-such" in refused("eval", trained, "--mix", "no-such")
    assert "x.arpa" in refused("eval", trained, "--arpa", tmp_path / "x.arpa")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1"])
@pytest.mark.parametrize(
    "options",
    [
        ("--ngram", 2, "--ngram-weight"),
        ("--cache", 5, "--cache-weight"),
        ("--cache", 5, "--cache-flatness"),
        ("--dynamic", "--dynamic-lr"),
        ("--dynamic", "--dynamic-decay"),
    ],
    ids=lambda options: options[-1],
)
def test_a_setting_that_is_no_number_of_its_kind_is_refused(refused, damaged, options, value: str):
    assert refused("eval", damaged, "--threads", 1, *options, value)


def test_a_cache_takes_no_more_memory_than_its_text_has_tokens(gains):
    whole, _ = gains("--cache", 2**31 - 1)
    enough, _ = gains("--cache", 10_000)
    assert whole["adapters"][1]["nll_nats"] == pytest.approx(enough["adapters"][1]["nll_nats"], rel=1e-9)
