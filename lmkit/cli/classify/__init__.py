"""``lmkit classify``: classifiers of texts. One file a command."""

from __future__ import annotations

import click

from lmkit.cli.groups import LazyGroup

__all__ = ["COMMANDS", "command"]

COMMANDS = {
    "train": "Train a classifier on labelled texts.",
    "eval": "Measure a classifier on labelled texts, beside naive Bayes.",
    "predict": "Give texts their labels, or show how the label comes about word by word.",
    "compare": "Test whether one classifier is better than another, on the same texts.",
}


@click.group(cls=LazyGroup, home="lmkit.cli.classify", known=COMMANDS)
def command() -> None:
    """Train, measure and use classifiers of texts: intents, sentiments, topics.

    \b
    lmkit classify train --data train.csv              on texts and labels
    lmkit classify train --data t.csv --encoder RUN    on a language model
    lmkit classify eval RUN --data test.csv            beside naive Bayes
    lmkit classify compare RUN RUN --data test.csv     which is better?
    echo "what time is it" | lmkit classify predict RUN
    """
