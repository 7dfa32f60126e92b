"""``lmkit eval`` with test-time adapters."""

from __future__ import annotations

import json
import math

import pytest
import torch

from lmkit.text.corpus import build_corpus


@pytest.fixture
def gains(cli, trained):
    def call(*arguments):
        outcome = cli("eval", trained, "--threads", 1, "--json", *arguments)
        assert outcome.code == 0, outcome.stderr
        metrics = json.loads(outcome.stdout)
        return metrics, [row["name"] for row in metrics["adapters"]]

    return call


def test_each_adapter_reports_its_own_level(gains):
    metrics, names = gains("--dynamic", "--dynamic-span", 40, "--cache", 50, "--ngram", 3)
    assert names == [
        "network",
        "+ dynamic evaluation every 40",
        "+ cache of 50",
        "+ n-gram",
        "3-gram alone",
    ]
    assert not metrics["adapter_settings"]["tuned"]


def test_the_figures_at_the_top_are_those_of_the_last_level_and_the_others_have_names(gains, cli, trained):
    metrics, _ = gains("--cache", 50, "--ngram", 3)
    network, _, mixed, alone = metrics["adapters"]
    for level, of_level in ((mixed, metrics), (network, metrics["network"]), (alone, metrics["ngram_alone"])):
        assert of_level["nll_nats"] == level["nll_nats"]
        assert of_level["perplexity"] == level["perplexity"]
        assert of_level["bits_per_char"] == pytest.approx(level["nll_nats"] / metrics["chars"] / math.log(2))
    assert metrics["model"] == "network + cache of 50 + n-gram"
    plain = json.loads(cli("eval", trained, "--threads", 1, "--json").stdout)
    assert metrics["network"].keys() == plain.keys()
    assert metrics["network"]["nll_nats"] == pytest.approx(plain["nll_nats"], rel=1e-6)
    assert gains("--cache", 50)[0]["ngram_alone"] is None


def test_the_headline_of_the_table_is_that_of_the_last_level(cli, gains, trained):
    metrics, _ = gains("--cache", 50, "--ngram", 3)
    lines = cli("eval", trained, "--threads", 1, "--cache", 50, "--ngram", 3).stdout.splitlines()
    assert lines[0].split()[:2] == ["perplexity", f"{metrics['perplexity']:,.4f}"]
    assert "metrics of network + cache of 50 + n-gram" in lines


def test_tuning_on_the_text_that_is_measured_is_named(cli, gains, trained):
    asked = ("--split", "valid", "--cache", 60, "--tune")
    metrics, _ = gains(*asked)
    assert metrics["adapter_settings"]["tuned_on_measured_text"]
    assert any("tuned on the very text" in note for note in metrics["adapter_notes"])
    shown = cli("eval", trained, "--threads", 1, *asked).stdout
    assert "tuned on the text that is measured: " in shown
    assert "tuned on the very text" in shown
    metrics, _ = gains("--cache", 60, "--tune")  # the test split
    assert metrics["adapter_settings"]["tuned"]
    assert not metrics["adapter_settings"]["tuned_on_measured_text"]
    assert not any("very text" in note for note in metrics["adapter_notes"])


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
    from lmkit.evaluation.ngram.arpa import write_arpa
    from lmkit.evaluation.ngram.ngram import NgramModel

    lm = lmkit.load(trained)
    train = build_corpus(lm.config.data, tokenizer=lm.tokenizer).splits["train"]
    model = NgramModel.train(train.ids, vocab_size=lm.tokenizer.vocab_size, order=3, eos_id=lm.tokenizer.eos_id)
    write_arpa(model, lm.tokenizer, tmp_path / "three.arpa")
    ours, _ = gains("--ngram", 3)
    theirs, names = gains("--arpa", tmp_path / "three.arpa")
    assert names[-1] == "n-gram alone"
    assert theirs["adapters"][-1]["nll_nats"] == pytest.approx(ours["adapters"][-1]["nll_nats"], rel=1e-5)


def test_a_run_mixed_with_itself_is_itself(gains, trained):
    metrics, names = gains("--mix", trained)
    assert names == ["network", "+ 1 more"]
    assert metrics["adapters"][1]["nll_nats"] == pytest.approx(metrics["nll_nats"], rel=1e-6)


def test_each_gain_is_told_with_its_interval(gains):
    metrics, _ = gains("--cache", 50, "--ngram", 3)
    network, cache, mixed, alone = metrics["adapters"]
    for row, against, gain in ((cache, network, "gain"), (mixed, cache, "gain_below"), (alone, network, "gain")):
        assert row[gain] == pytest.approx(1 - row["perplexity"] / against["perplexity"])
        assert row[f"{gain}_low"] < row[gain] < row[f"{gain}_high"]
    assert network["gain"] is network["gain_below"] is alone["gain_below"] is None
    assert metrics["adapter_intervals"]["blocks"] >= 5
    assert metrics["adapter_intervals"]["confidence"] == 0.95


def test_the_table_shows_gains_intervals_and_how_they_were_made(cli, trained):
    outcome = cli("eval", trained, "--threads", 1, "--cache", 50, "--ngram", 3)
    lines = outcome.stdout.splitlines()
    (alone,) = [line for line in lines if line.startswith("3-gram alone")]
    (mixed,) = [line for line in lines if line.startswith("+ n-gram")]
    assert (alone.count("["), mixed.count("[")) == (1, 2)
    assert "95 % confidence" in lines[-1]
    assert "blocks of" in lines[-1]


def test_a_short_text_has_a_note_and_no_interval(cli, trained, tmp_path):
    (tmp_path / "short.txt").write_text("cat", encoding="utf-8")
    arguments = ("eval", trained, "--threads", 1, "--file", tmp_path / "short.txt", "--cache", 9, "--ngram", 2)
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.stderr
    assert "too short for intervals" in outcome.stdout
    metrics = json.loads(cli(*arguments, "--json").stdout)
    assert metrics["adapters"][1]["gain_low"] is None
    assert metrics["adapter_intervals"] is None


@pytest.mark.parametrize("state", ["document", "reset", "carry"])
def test_rows_and_state_are_those_of_the_plain_measurement(gains, cli, trained, state):
    how = ("--rows", 3, "--warmup", 9, "--state", state, "--window", 20)
    metrics, names = gains("--cache", 30, "--ngram", 2, "--mix", trained, "--tune", *how)
    plain = json.loads(cli("eval", trained, "--threads", 1, "--json", *how).stdout)
    assert names == ["network", "+ cache of 30", "+ n-gram", "+ 1 more", "2-gram alone"]
    for name, value in plain.items():
        assert metrics["network"][name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name


def test_the_python_api_gives_what_the_command_line_shows(gains, trained):
    import lmkit
    from lmkit.evaluation.options import AdapterSettings, EvalOptions

    lm = lmkit.load(trained)
    settings = AdapterSettings(dynamic=True, dynamic_span=40, cache=50, ngram=3, tuned=True)
    name, tokens = lm.split_tokens()
    found = lm.adapt(tokens, EvalOptions(adapters=settings), split=name, others=[lm])
    shown, _ = gains("--dynamic", "--dynamic-span", 40, "--cache", 50, "--ngram", 3, "--mix", trained, "--tune")
    metrics = found.metrics()
    assert shown["adapters"] == metrics["adapters"]
    assert shown["adapter_settings"] == json.loads(json.dumps(metrics["adapter_settings"]))
    assert found.result.metrics().items() <= shown.items()
    assert found.network.metrics() == shown["network"]


def test_what_is_not_chosen_is_the_same_in_python_and_on_the_command_line(gains, trained):
    import lmkit
    from lmkit.evaluation.options import AdapterSettings, EvalOptions

    lm = lmkit.load(trained)
    name, tokens = lm.split_tokens()
    options = EvalOptions(rows=2, adapters=AdapterSettings(ngram=2, cache=20))
    found = lm.adapt(tokens, options, split=name).metrics()
    shown, _ = gains("--rows", 2, "--ngram", 2, "--cache", 20)
    assert json.loads(json.dumps(found)) == shown
    assert shown["adapter_settings"]["ngram_weight"] > 0


@pytest.mark.parametrize(("state", "window"), [("carry", 256), ("document", 256), ("reset", 20)])
def test_tuning_reads_one_row_in_the_state_of_the_measurement(gains, trained, monkeypatch, state, window):
    import lmkit
    from lmkit.evaluation.measurement import evaluation_windows
    from lmkit.evaluation.options import EvalOptions

    read = []

    def tune(parts, settings, windows):
        read.extend(windows())
        return settings

    monkeypatch.setattr("lmkit.api.tune", tune)
    gains("--cache", 30, "--tune", "--window", 20, "--rows", 3, "--state", state)
    lm = lmkit.load(trained)
    _, valid = lm.split_tokens("valid")
    options = EvalOptions(state=state, window=window)
    for one, other in zip(read, evaluation_windows(valid, lm.tokenizer.eos_id, options), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))


def test_rows_are_refused_before_anything_is_tuned(refused, trained, monkeypatch):
    monkeypatch.setattr("lmkit.api.TrainedModel.adapter_parts", lambda *_, **__: pytest.fail("too late"))
    assert "--rows 1" in refused("eval", trained, "--dynamic", "--tune", "--rows", 4)


def test_mistakes_are_named(refused, trained, tmp_path):
    assert "--rows 1" in refused("eval", trained, "--dynamic", "--rows", 4)
    assert "not both" in refused("eval", trained, "--ngram", 2, "--arpa", tmp_path / "x.arpa")
    assert "--cache-weight" in refused("eval", trained, "--cache", 10, "--cache-weight", 1.5)
    assert "--tune needs an adapter" in refused("eval", trained, "--tune")
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
