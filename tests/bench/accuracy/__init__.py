"""How well the analysis does: the goals AC1 to AC14 on labelled commands, `python -m tests.bench.accuracy`."""
