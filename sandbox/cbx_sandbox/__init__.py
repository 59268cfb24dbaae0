"""One command, understood, contained and reversible; knows no queue and no daemon."""
