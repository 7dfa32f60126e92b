"""Experiments: what the teaching of recurrent networks claims, measured by rules that are written before the run.

How to write one
----------------
A file in ``studies/<room>/`` with one class, and a line in ``catalogue.py``. The class is an ``Experiment``
(``contract/experiment.py``): read that file first, then ``studies/memory/attention.py``.

1. Write ``question``, ``rule`` and the smallest difference that matters as a constant before anything is run, and
   leave them as they are afterwards. ``claims`` are numbers of ``claims.py``. Say "not within N updates", never
   "cannot".
2. ``arms(scale)``: an ``Arm`` for each thing that is compared, with plain options. ``scale.pick(full, quick)`` has
   the two sizes side by side; the quick form has 2 seeds, takes a few seconds, and is what the tests run: tiny
   networks, some steps, a short generated text, no grid with more than one entry unless that is the point. Learning
   rates, and whatever else is to be chosen for each arm by itself, are ``choices=grid(lr=(1e-3, 3e-3, 1e-2))``: the
   engine tries each with tuning seeds and takes the one with the lowest ``valid``. Arms that are given equal seconds
   instead of equal targets have ``budget="seconds"``. An arm without chance (an n-gram model) has ``seeded=False``:
   one run.
3. ``measure(trial)``: one run, from ``trial.options`` (the arm's with the choice's) and ``trial.seed``; plain
   numbers, texts and lists come back, by name. A language model is ``train_language_model(trial, options,
   parameters=100_000)`` of ``tools/language_model.py``: options are those of ``lmkit train``, the size is found, the
   run is resumed where it was interrupted, and ``.numbers`` has valid, test, bits per byte, parameters, targets,
   updates and seconds; ``.model`` is the trained model to look into, None where the loss was not finite; ``listener``
   sees each step. A loop of your own calls ``trial.interruption.check()`` now and then, and draws from generators
   that it makes from the seed; give ``targets`` and ``targets_per_update`` for the engine's check, or set ``equal =
   {}`` and say in the rule why. Names of clocks end in ``seconds``. What is not finite becomes None in the result.
4. ``judge(outcomes)``: a ``Verdict`` for each claim. ``outcomes.compare([(arm, baseline), ...], "test",
   paired=False)`` gives differences over seeds, one family under Holm; ``paired=True`` only where a seed gives both
   arms the same first weights and the same order of the text. ``decide(one.advantage, one.p_holm, LEAST)`` gives the
   word where lower is better; ``outcomes.share`` has Wilson's interval (take 20 seeds then), ``share_difference`` and
   ``fisher_p`` compare shares; ``together`` joins the words of a claim with several parts. "Not significant" is
   undecided.
5. ``tables`` and ``charts``: ``arms_table``, ``comparisons_table`` and ``shown`` of ``tools/numbers.py``; values of
   ``lmkit.plots.charts``.

Times are for two processes of one thread, beside other work, and bounded by steps. Try it with ``lmkit experiment
NAME --quick``; ``tests/experiments/test_quick.py`` runs every experiment of the catalogue so.
"""
