"""The door to the daemon: what `run` sends over the exec socket, and the calls that the other verbs make.

Everything that `cbx-sandbox run` imports keeps to modules that are built into the interpreter (`posix` for `os`,
`_socket` for `socket`, `_signal` for `signal`, no typing, no dataclasses): starting Python is most of what a short
command costs, and each of those would add a third to it. What is needed on rare paths only is imported there.
"""
