"""The rule of the experiment on memory, on outcomes that nobody has measured."""

from __future__ import annotations

import pytest

from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.engine.engine import scale_of
from lmkit.experiments.studies.memory.recall import NETWORKS, Memory

NEVER = dict.fromkeys(NETWORKS, 0)


@pytest.mark.parametrize(
    ("solved_far", "solved_near", "word"),
    [
        ({**NEVER, "rnn, orthogonal": 19}, 20, "refuted"),
        ({**NEVER, "lstm, open": 19}, 20, "partly"),
        (NEVER, 20, "holds"),
        (NEVER, 0, "undecided"),  # nothing was learnt at all
        ({**NEVER, "gru": 11}, 20, "undecided"),
    ],
)
def test_the_verdict_follows_the_shares_over_200_steps(invent, solved_far, solved_near, word):
    def values(arm: str) -> list[dict[str, float | None]]:
        task, network = arm.split(": ")
        number = solved_far[network] if task == "recall 200" else solved_near
        return [
            {"solved": seed < number, "updates": 100 if seed < number else None, "error": 0.5} for seed in range(20)
        ]

    (verdict,) = Memory().judge(invent(Memory(), values))
    assert verdict.word == word
    assert "200 steps within 2,000 updates" in verdict.because


def test_a_run_ends_when_the_task_is_solved(tmp_path, monkeypatch):
    experiment = Memory()
    scale = scale_of(experiment, quick=True)
    arm = experiment.arms(scale)[0]
    monkeypatch.setattr("lmkit.experiments.tasks.recall.DelayedRecall.solved", 2.0)
    found = experiment.measure(Trial(arm, arm.choices[0], 1, scale, tmp_path, tmp_path))
    assert found["solved"]
    assert found["updates"] == 5
    assert found["targets"] == 5 * 32
    assert found["valid"] == found["error"] / 2
