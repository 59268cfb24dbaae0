"""What about a change a person should look at, before it reaches the live tree."""

from __future__ import annotations

import stat

from cbx_sandbox.checkpoint.changes import Change, Flag, Kind, Meta
from cbx_sandbox.linux.credentials import Submitter

_CAPABILITY = b"security.capability"


def flags_of(change: Change, parent: Meta, submitter: Submitter) -> frozenset[Flag]:
    """The flags of ``change``, whose directory in the layer is ``parent``."""
    new, old = change.new, change.old
    if new is None:
        return frozenset()
    if old is not None and (old.mode, old.uid, old.gid) == (new.mode, new.uid, new.gid) and not _special(old, new):
        return frozenset()  # nothing of it can be new
    found = set()
    # A kept privilege counts as new with new content: the kernel drops it when a file is written.
    kept = old if change.kind is Kind.META else None
    if new.is_file:
        found |= {
            flag
            for flag, bit in ((Flag.SETUID, stat.S_ISUID), (Flag.SETGID, stat.S_ISGID))
            if new.mode & bit and not _same_privilege(kept, new, bit)
        }
        capability = dict(new.xattrs).get(_CAPABILITY)
        if capability is not None and (kept is None or dict(kept.xattrs).get(_CAPABILITY) != capability):
            found.add(Flag.CAPABILITY)
    if (stat.S_ISCHR(new.mode) or stat.S_ISBLK(new.mode)) and kept is None:
        found.add(Flag.DEVICE)
    if _foreign(old, new, parent, submitter):
        found.add(Flag.FOREIGN)
    if _open_to_all(new) and (old is None or not _open_to_all(old)):
        found.add(Flag.WORLD_WRITABLE)
    if new.attributes and (old is None or new.attributes != old.attributes):
        found.add(Flag.IMMUTABLE)
    return frozenset(found)


def _special(old: Meta, new: Meta) -> bool:
    """Whether there is more to look at than owner and mode."""
    kind = stat.S_IFMT(new.mode)
    plain = kind in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK} and not new.mode & (stat.S_ISUID | stat.S_ISGID)
    return not plain or bool(new.xattrs) or old.attributes != new.attributes


def _same_privilege(kept: Meta | None, new: Meta, bit: int) -> bool:
    return kept is not None and bool(kept.mode & bit) and (kept.uid, kept.gid) == (new.uid, new.gid)


def _foreign(old: Meta | None, new: Meta, parent: Meta, submitter: Submitter) -> bool:
    """Whether somebody else than the submitter gets the object, root's jobs included; what was his before stays his."""
    if old is not None and (old.uid, old.gid) == (new.uid, new.gid):
        return False
    inherited = bool(parent.mode & stat.S_ISGID) and new.gid == parent.gid
    return new.uid != submitter.uid or not (new.gid in {submitter.gid, *submitter.groups} or inherited)


def _open_to_all(meta: Meta) -> bool:
    return not meta.is_symlink and bool(meta.mode & stat.S_IWOTH) and not meta.mode & stat.S_ISVTX
