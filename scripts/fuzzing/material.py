"""What the cases work on: small texts of every kind, and a few tiny runs, made once."""

from __future__ import annotations

import gzip
import os
import random
import shutil
from pathlib import Path

from fuzzing.children import run_command

__all__ = ["CLASSIFIERS", "RUNS", "copy_material", "make_material"]

WORDS = [
    "the",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "ran",
    "to",
    "tree",
    "and",
    "saw",
    "a",
    "bird",
    "fish",
    "in",
    "sea",
    "blue",
    "red",
    "sky",
    "house",
    "man",
    "child",
    "day",
]
SMALL = ["--hidden-size", "8", "--batch-size", "4", "--window", "16", "--threads", "1", "--precision", "float32"]
RUNS = {
    "run": ["--corpus", "text.txt", "--layers", "2"],
    "gru": ["--corpus", "text.txt", "--cell", "gru", "--documents", "line", "--sampler", "document"],
    "word": ["--corpus", "text.txt", "--tokenizer", "word", "--tied", "--head", "adaptive", "--cutoffs", "5,12"],
    "bpe": ["--corpus", "text.txt", "--tokenizer", "bpe", "--vocab-size", "300", "--head", "adaptive"],
}
CLASSIFIERS = {
    "labels": ["--encoder", "word", "--tune", "gradual"],
    "other-labels": ["--hidden-size", "8", "--cell", "gru", "--pooling", "max", "--min-count", "1"],
}


def make_table(rows: int = 40, seed: int = 5, *, separator: str = ",") -> str:
    """Labelled texts of two classes, with a number that is carried along."""
    draw = random.Random(seed)
    lines = [separator.join(("id", "text", "label"))]
    for number in range(rows):
        text = " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 6)))
        lines.append(separator.join((str(number), text, draw.choice(("land", "sea")))))
    return "\n".join(lines) + "\n"


def make_text(lines: int = 120, seed: int = 3) -> str:
    draw = random.Random(seed)
    return "".join(
        " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 8))).capitalize() + ".\n" for _ in range(lines)
    )


def make_material(folder: Path) -> None:
    """Texts and runs in ``folder/work``. Raises AssertionError where a run cannot be trained."""
    work = folder / "work"
    work.mkdir(parents=True)
    text = make_text()
    contents: dict[str, bytes] = {
        "text.txt": text.encode(),
        "other.txt": make_text(30, 8).encode(),
        "text.txt.gz": gzip.compress(text.encode(), mtime=0),
        "cut.txt.gz": gzip.compress(text.encode(), mtime=0)[:-30],
        "empty.txt": b"",
        "latin.txt": "Le café.\n".encode("latin-1") * 50,
        "nul.txt": b"a\0b\0c\n" * 200,
        "bom.txt": b"\xef\xbb\xbf" + text.encode(),
        "crlf.txt": text.replace("\n", "\r\n").encode(),
        "blank.txt": b" \n\t\n" * 300,
        "one.txt": b"x",
        "unknown.txt": "日本語の文章。\n".encode() * 30,
        "folder/train.txt": text.encode(),
        "folder/valid.txt": make_text(20, 5).encode(),
        "texts/a.txt": text.encode(),
        "texts/b/c.md": text.encode(),
        "texts/image.png": b"\x89PNG\0\0",
        "nbest.txt": b"".join(b"%d\t-%d.5\tthe cat sat\n" % (line // 3, line) for line in range(12)),
        "bad.nbest": b"1 2 3\n",
        "labels.csv": make_table().encode(),
        "more.csv": make_table(12, 6).encode(),
        "labels.tsv": make_table(20, 7, separator="\t").encode(),
        "labels.jsonl": b'{"text": "the sea", "label": "sea"}\n{"text": "a tree", "label": "land", "id": 2}\n' * 4,
        "labels.csv.gz": gzip.compress(make_table().encode(), mtime=0),
        "ragged.csv": make_table(5).encode() + b"6,the sea\n",
        "quote.csv": make_table(5).encode() + b'6,"the sea,land\n7,a tree,land\n',
        "one-label.csv": b"text,label\nthe sea,1\na tree,1\n",
        "strange.csv": b"text,label\nthe sea,sea\na cloud,sky\n",
        "config.toml": b'[model]\nhidden_size = 8\ncell = "gru"\n[training]\nmax_steps = 2\nwindow = 8\n',
        "bad.toml": b"[model\nhidden_size = ",
        "wrong.toml": b"[model]\nhidden_sizes = 8\n",
    }
    for name, content in contents.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content)
    for name, options in RUNS.items():
        arguments = ["train", *SMALL, "--max-steps", "6", "--eval-every", "3", *options, "--out", name]
        outcome = run_command(arguments, folder, None, 300)
        assert outcome.code == 0, outcome
    for name, options in CLASSIFIERS.items():
        own = ["labels.csv", "--batch-size", "8", "--max-steps", "6", "--eval-every", "3", "--out", name, *options]
        outcome = run_command(
            ["classify", "train", "--threads", "1", "--precision", "float32", *own], folder, None, 300
        )
        assert outcome.code == 0, outcome
    (work / "char.arpa").write_text(make_arpa(work / "run" / "tokenizer.json"), encoding="utf-8", newline="")
    (work / "dangling").symlink_to("nowhere")
    (work / "linked").symlink_to("run")


def make_arpa(tokenizer: Path) -> str:
    """A bigram model over the run's characters, all as probable."""
    from lmkit.evaluation.ngram.arpa import write_arpa
    from lmkit.evaluation.ngram.ngram import NgramModel
    from lmkit.text.tokenizers.kinds import load_tokenizer

    found = load_tokenizer(tokenizer)
    ids = found.encode(make_text(10, 4))
    model = NgramModel.train(ids, vocab_size=found.vocab_size, order=2, eos_id=found.eos_id)
    path = tokenizer.with_name("char.arpa")
    write_arpa(model, found, path)
    text = path.read_text(encoding="utf-8")
    path.unlink()
    return text


def copy_material(template: Path, folder: Path, *, pipe: bool = True) -> None:
    """A fresh copy to work in, and to break; with a named pipe that nobody writes to."""
    shutil.copytree(template / "work", folder / "work", symlinks=True)
    if pipe:
        os.mkfifo(folder / "work" / "pipe.txt")
