"""What is a fault: one case made, run and judged."""

from __future__ import annotations

import json
import random
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzzing.children import Outcome, clear, files_under, fork, run_command
from fuzzing.commands import CommandLine, draw_command
from fuzzing.damage import DamagedRun, damage_run
from fuzzing.material import CLASSIFIERS, RUNS, copy_material, make_material
from fuzzing.texts import check_text

__all__ = ["Judge"]

CODES = (0, 1, 2, 130, 143)
SECONDS = 60.0  # a case of a second or two, on a machine that does other things as well
LARGEST = 1 << 24
RUN_FILES = ("config.json", "tokenizer.json", "run.json", "metrics.jsonl", "timings.jsonl")
STREAMS = ("score", "surprisal", "sample", "generate", "doctor", "classify predict")  # rows may stand before an error
Fault = tuple[str, str]


class Judge:
    """Runs cases of a seed, each in a folder of its own below ``folder``."""

    def __init__(self, folder: Path, seed: int, *, needs_runs: bool = True) -> None:
        self.folder = folder
        self.seed = seed
        self.template = folder / "material"
        if needs_runs:
            make_material(self.template)

    def case(self, name: str) -> tuple[str, str, list[Fault]]:
        """Run the case ``kind:number``: its name, what became of it in a word, and the faults."""
        kind, _, number = name.partition(":")
        draw = random.Random(f"{self.seed}:{name}")
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-{number}-", dir=self.folder))
        try:
            run = {"commands": self._command, "damage": self._damage, "texts": self._text}[kind]
            return name, *run(draw, folder)
        finally:
            clear(folder)

    def _command(self, draw: random.Random, folder: Path) -> tuple[str, list[Fault]]:
        copy_material(self.template, folder)
        texts = {"text": (folder / "work/text.txt").read_bytes(), "nothing": b"", "bytes": bytes(range(256))}
        line = draw_command(draw, texts)
        before = files_under(folder / "work")
        outcome = run_command(line.arguments, folder, line.stdin, SECONDS)
        resumes = line.command.endswith("train") and "--resume" in line.arguments
        left = _resumed(outcome, before, folder) if resumes else _left(line, outcome, before, folder)
        faults = [*_said(outcome, line.command), *left]
        return _word(outcome), [(fault, _details(line.arguments, [], outcome)) for fault in faults]

    def _damage(self, draw: random.Random, folder: Path) -> tuple[str, list[Fault]]:
        copy_material(self.template, folder, pipe=False)
        case = damage_run(draw, folder / "work")
        before = files_under(folder / "work")
        outcome = run_command(case.arguments, folder, b"The cat.\n", SECONDS)
        faults = list(_said(outcome, " ".join(case.arguments[: 2 if case.arguments[0] == "classify" else 1])))
        if "--resume" in case.arguments:
            faults += _resumed(outcome, before, folder)
            faults += self._other_bytes(case, outcome, folder)
        elif case.arguments[0] == "train":
            faults += _left(CommandLine(case.arguments, b"", "train"), outcome, before, folder)
        else:
            faults += _untouched(before, folder)
        faults += self._wrong_numbers(case, outcome, folder)
        return _word(outcome), [(fault, _details(case.arguments, case.changes, outcome)) for fault in faults]

    def _wrong_numbers(self, case: DamagedRun, outcome: Outcome, folder: Path) -> Iterator[str]:
        """Weights or a tokenizer that are not those of the training, and nobody says so."""
        trains_on, command = ("resume", "extend"), case.command.removeprefix("labels ")
        if not case.run or outcome.code != 0 or command in ("info", "info json", "tokenize", "last", *trains_on):
            return
        whole, damaged = self.template / "work" / case.run, folder / "work" / case.run
        checksum = _tensors(damaged / "model.safetensors")
        if (
            checksum is not None
            and checksum[0]
            and checksum[1] != _tensors(whole / "model.safetensors", strict=True)[1]
        ):
            yield f"{case.command} works with weights that are not those that were saved"
        if command == "doctor" and _json(damaged / "tokenizer.json") != _json(whole / "tokenizer.json"):
            recorded = [_json(place / "run.json") for place in (whole, damaged)]
            if recorded[0] == recorded[1] and not _same_tokenizer(whole, damaged):
                yield "the doctor finds nothing wrong with another tokenizer"

    def _other_bytes(self, case: DamagedRun, outcome: Outcome, folder: Path) -> Iterator[str]:
        """A finished run whose checkpoints or best model were damaged, and nothing that makes it the run it is, comes
        out of a resume as it was, or not at all.
        """
        harmless = all(change.startswith(("checkpoints/", "model.safetensors", "timings")) for change in case.changes)
        if case.command.removeprefix("labels ") != "resume" or outcome.code != 0 or not harmless:
            return
        for name in ("model.safetensors", "metrics.jsonl"):
            if (folder / "work" / case.run / name).read_bytes() != (
                self.template / "work" / case.run / name
            ).read_bytes():
                yield f"the resumed run has another {name}"

    def _text(self, draw: random.Random, folder: Path) -> tuple[str, list[Fault]]:
        def work() -> int:
            sys.stderr = open(folder / "err", "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            return check_text(draw, folder)

        code = fork(work, SECONDS)
        said = (folder / "err").read_text(encoding="utf-8") if (folder / "err").exists() else ""
        if code in (0, 2):
            return {0: "well", 2: "refused"}[code], []
        return "fault", [(_last_line(said) if code is not None else "it hangs", said[-3000:])]


def _said(outcome: Outcome, command: str) -> Iterator[str]:
    """Faults in the exit code and in what was printed."""
    if outcome.code is None:
        yield "it hangs"
    elif "Traceback" in outcome.stderr:
        yield f"a traceback: {_last_line(outcome.stderr)}"
    elif "not enough memory" in outcome.stderr:
        yield "it takes more memory than its files justify"
    elif outcome.code not in CODES:
        yield f"it ends with {outcome.code}"
    elif outcome.code == 1 and not outcome.blamed:
        yield "exit code 1 for a mistake of the user's"
    elif outcome.code in (1, 2) and not outcome.blamed and not outcome.stderr.strip():
        yield f"exit code {outcome.code} without a word"
    if outcome.code == 2 and outcome.stdout and command not in STREAMS:
        yield "a refusal after output"
    if outcome.code == 2 and len(outcome.stderr) > 4000:
        yield "a message that nobody reads to its end"


def _left(line: CommandLine, outcome: Outcome, before: dict[str, Any], folder: Path) -> Iterator[str]:
    """Faults in what a command left behind: new files, and run folders that are not whole."""
    after = files_under(folder / "work")
    changed = [name for name in before if before[name] != after.get(name)]
    new = sorted(after.keys() - before.keys())
    if changed:
        yield f"it changed {', '.join(changed[:5])}"
    if (not line.command.endswith("train") or outcome.code == 2) and new:
        yield f"it left {', '.join(new[:5])} behind"
    for name in new:
        if Path(name).name.startswith(".") or "building-" in name:
            yield f"it left {name} behind, half written"
    for config in (name for name in new if name.endswith("/config.json")):
        run = config.removesuffix("/config.json")
        missing = [name for name in RUN_FILES if f"{run}/{name}" not in after]
        missing += ["model.safetensors"] if outcome.code == 0 and f"{run}/model.safetensors" not in after else []
        if missing:
            yield f"the run folder {run} lacks {', '.join(missing)}"
    yield from _temporary(folder)


def _resumed(outcome: Outcome, before: dict[str, Any], folder: Path) -> Iterator[str]:
    """Faults in what a resume left behind: it writes into run folders, and nothing at all where it refuses."""
    after = files_under(folder / "work")
    touched = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    touched = [name for name in touched if not name.endswith("/lock")]
    if outcome.code == 2 and touched:
        yield f"a refused resume changed {', '.join(sorted(touched)[:5])}"
    outside = [name for name in touched if not name.startswith(tuple(f"{run}/" for run in (*RUNS, *CLASSIFIERS)))]
    if outside:
        yield f"a resume changed {', '.join(sorted(outside)[:5])}"
    for name in after.keys() - before.keys():
        if Path(name).name.startswith("."):
            yield f"it left {name} behind, half written"
    yield from _temporary(folder)


def _untouched(before: dict[str, Any], folder: Path) -> Iterator[str]:
    after = files_under(folder / "work")
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        yield f"a command that reads changed {', '.join(changed[:5])}"
    yield from _temporary(folder)


def _temporary(folder: Path) -> Iterator[str]:
    left = [name for name in files_under(folder / "tmp") if not name.startswith("torchinductor")]  # torch's own
    left += (name for name in files_under(folder / "cache") if "building-" in name)
    if left:
        yield f"it left {', '.join(left[:5])} in the temporary folder or the cache"


def _word(outcome: Outcome) -> str:
    return "hang" if outcome.code is None else f"exit {outcome.code}"


def _details(arguments: list[str], changes: list[str], outcome: Outcome) -> str:
    said = outcome.stderr[-2500:]
    damage = f"    damage: {'; '.join(changes)}\n" if changes else ""
    shown = [word if len(word) < 100 else word[:100] + "..." for word in arguments]
    return f"    lmkit {shown}\n{damage}    exit {outcome.code} after {outcome.seconds:.1f} s\n{said}"


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was said"


def _json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return None


def _same_tokenizer(whole: Path, damaged: Path) -> bool:
    from lmkit.text.tokenizers.kinds import load_tokenizer

    return load_tokenizer(whole / "tokenizer.json").to_json() == load_tokenizer(damaged / "tokenizer.json").to_json()


def _tensors(path: Path, *, strict: bool = False) -> Any:
    """Whether a safetensors file has a checksum, and its tensors by name; None where it is none."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST)
        (length,) = struct.unpack("<Q", content[:8])
        header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        note = header.pop("__metadata__", {}).get("lmkit", "{}")
        tensors = {name: data[slice(*entry["data_offsets"])] for name, entry in header.items()}
        return "sha256" in json.loads(note), tensors
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        assert not strict
        return None
