"""The languages of the programs that a command hands a text or a file of its own.

``python``      Python, with its own parser: what opens, starts, deletes; safe only where everything is known to compute
``perl`` ``ruby`` ``javascript``  read for their calls: at least sequential
``pieces``      strings, comments and calls, which those three share
``awk`` ``sed`` little languages that can run, write and read
``makefile`` ``justfile`` ``packages`` ``tox``  from the name of a target to the commands that it runs
``sources``     the text of a file as it will be when it is executed; the program that its first line names
``scripts``     files that are executed

Nothing here runs anything. A file that is read can be another one when the command runs: the tier would then be that
of the text that was read, and the kernel holds the job to it.
"""
