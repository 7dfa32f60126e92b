"""``python -m lmkit``."""

from lmkit.cli import main

if __name__ == "__main__":
    main(prog_name="lmkit")
