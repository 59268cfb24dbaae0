"""Python text, read with Python's own parser: safe only where everything in it is known to compute.

``modules``  what is known of the standard library
``names``    what each name of a text can stand for
``values``   the text that an expression makes, as far as it is known
``imports``  which file an import means
``calls``    what a call does to files, programs, processes and the network
``reader``   one text as a whole
"""

from __future__ import annotations

from cbx_sandbox.shell.inner.python.reader import look

__all__ = ["look"]
