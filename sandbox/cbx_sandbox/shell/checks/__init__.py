"""What a text looks like when somebody means harm, and what to do about it.

What is looked for stands in the TOML files beside this one; ``follow`` joins it with what the interpreter meets.
"""

from cbx_sandbox.shell.checks.model import Check, Finding, Verdict

__all__ = ["Check", "Finding", "Verdict"]
