"""Which earlier jobs a job has to come after, for what they use: an index by place, never job against job.

Of all that the earlier jobs do to one place only the last matters: a *chain* is the groups of those that use it, each
group side by side, each after the one before it. Who comes follows the last group that it does not go with, and so, by
way of that, all before it. Chains of directories hold for what is beneath them, too.

    write A, read B, read C, write D    →    A, {B, C}, D: B and C follow A, D follows B and C, and nobody A twice

A job that would follow more than ``WIDE`` others counts as a writer of that place: who comes then follows it alone. So
a thousand readers of a directory and a thousand writers in it make no million edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cbx_supervisor.scheduling.accesses import Access, Place, Use, named

WIDE = 64  # edges of one job because of one access

READ_AFTER_WRITE = "read-after-write"
WRITE_AFTER_READ = "write-after-read"
WRITE_AFTER_WRITE = "write-after-write"
CROWD = "crowd"  # it uses what so many others do that it goes alone


class Tie(NamedTuple):
    """Why a job comes after another one: what they have against each other, and over what."""

    kind: str
    resource: str


class _Group:
    """Jobs that use a place in one way, side by side; when its first one came, and its last one."""

    __slots__ = ("before", "chain", "first", "jobs", "last", "next", "node", "use")

    def __init__(self, chain: _Chain, node: _Node, use: Use, now: int, before: _Group | None) -> None:
        self.chain = chain
        self.node = node
        self.use = use
        self.first = now
        self.last = now
        self.jobs: dict[int, None] = {}
        self.before = before
        self.next: _Group | None = None


class _Chain:
    """The groups of one place."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: _Group | None = None

    def against(self, use: Use) -> Iterator[_Group]:
        """The last group that a job with this use does not go with, and those that go with that one."""
        group = self.last
        while group is not None and _go_together(group.use, use):
            group = group.before
        found = group
        # Two groups of readers are neighbours when the writer between them was withdrawn.
        while group is not None and found is not None and (group is found or _go_together(group.use, found.use)):
            yield group
            group = group.before

    def writer(self) -> int:
        """When the last job came that goes with nobody; 0: none did."""
        group = self.last
        while group is not None and group.use is not Use.WRITE:
            group = group.before
        return 0 if group is None else group.first

    def join(self, number: int, node: _Node, use: Use, now: int) -> _Group:
        """Add a job at the end of this chain, which is the node's."""
        group = self.last
        if group is None or not _go_together(group.use, use):
            group = self.last = _Group(self, node, use, now, group)
            if group.before is not None:
                group.before.next = group
        group.jobs[number] = None
        group.last = now
        return group

    def leave(self, number: int, group: _Group) -> None:
        """Take a job out."""
        group.jobs.pop(number, None)
        if group.jobs:
            return
        if group.before is not None:
            group.before.next = group.next
        if group.next is not None:
            group.next.before = group.before
        elif self.last is group:
            self.last = group.before


def _go_together(one: Use, other: Use) -> bool:
    return one is other and one is not Use.WRITE


class _Node:
    """A place: who uses it alone, who uses all beneath it, and the places in it, those used last at the end."""

    __slots__ = ("below", "changed", "depth", "here", "inside", "name", "newest", "parent", "written")

    def __init__(self, parent: _Node | None, name: str) -> None:
        self.parent = parent
        self.name = name
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.here = _Chain()
        self.below = _Chain()
        self.inside: dict[str, _Node] = {}
        self.changed: dict[str, _Node] = {}  # those of them where somebody did more than read
        self.newest = 0  # when it, or a place in it, was used last
        self.written = 0

    @property
    def place(self) -> Place:
        found: list[str] = []
        node = self
        while node.parent is not None:
            found.append(node.name)
            node = node.parent
        return tuple(reversed(found))

    @property
    def empty(self) -> bool:
        return self.here.last is None and self.below.last is None and not self.inside


_Met = list[tuple[_Node, _Chain]]


Stand = _Group | tuple[_Group, ...]  # where one job stands; most do one thing, and very many may wait


class Came(NamedTuple):
    """Which jobs a new one has to come after, and why; and where it stands, for :meth:`Edges.remove`."""

    ties: dict[int, Tie]
    stand: Stand


class Edges:
    """The jobs of one submitter that are not over, by what they use. They come in the order of their numbers."""

    def __init__(self) -> None:
        self._root = _Node(None, "")
        self._now = 0  # jobs that came

    @property
    def empty(self) -> bool:
        """Whether nobody uses anything."""
        return self._root.empty

    def add(self, number: int, accesses: Iterable[Access]) -> Came:
        """A job comes."""
        self._now += 1
        found: dict[int, Tie] = {}
        uses = dict.fromkeys(accesses, False)
        look_at = list(uses)
        nodes: list[_Node] = []
        while len(nodes) < len(look_at):
            access = look_at[len(nodes)]
            node, wide = self._collect(number, access, found, crowd=uses[access])
            nodes.append(node)
            for more in wide:
                if more not in uses:
                    uses[more] = True
                    look_at.append(more)
        joined = []
        for access, node in zip(look_at, nodes, strict=True):
            chain = node.below if access.below else node.here
            joined.append(chain.join(number, node, access.use, self._now))
            self._touch(node, access.use)
        return Came(found, joined[0] if len(joined) == 1 else tuple(joined))

    def remove(self, number: int, stand: Stand) -> None:
        """A job is over, or will never be: it stands there no more."""
        for group in stand if isinstance(stand, tuple) else (stand,):
            group.chain.leave(number, group)
            self._prune(group.node)

    def _collect(
        self, number: int, access: Access, found: dict[int, Tie], *, crowd: bool
    ) -> tuple[_Node, list[Access]]:
        """The place of an access, and what else it has to count as, for there are so many."""
        node, above, barrier = self._walk(access.place)
        met: _Met = [*above, (node, node.below), (node, node.here)]
        if access.below:
            met += self._beneath(node, access.use, barrier)
        total, wide = 0, []
        for other, chain in met:
            many = 0
            for group in chain.against(access.use):
                if group.last < barrier:
                    continue  # all of these come before the one that is the barrier
                many += len(group.jobs)
                tie = _tie(group.use, access, other if other.depth > node.depth else node, crowd=crowd)
                for earlier in group.jobs:
                    known = found.get(earlier)
                    if earlier < number and (known is None or (tie.kind == READ_AFTER_WRITE != known.kind)):
                        found[earlier] = tie
            total += many
            if many > WIDE and chain is other.below and other.depth < node.depth + (not access.below):
                wide.append(Access(other.place, Use.WRITE, below=True))
        if total > WIDE and access.use is not Use.WRITE:
            wide.append(access._replace(use=Use.WRITE))
        return node, wide

    def _walk(self, place: Place) -> tuple[_Node, _Met, int]:
        """The node of a place, the chains above it that hold for it, and when the last came that all follow."""
        node, above, barrier = self._root, [], self._root.below.writer()
        for part in place:
            if node.below.last is not None:
                above.append((node, node.below))
            inner = node.inside.get(part)
            if inner is None:
                inner = node.inside[part] = _Node(node, part)
                inner.newest = self._now  # its job joins it when all is collected
            node = inner
            barrier = max(barrier, node.below.writer())
        return node, above, barrier

    @staticmethod
    def _beneath(node: _Node, use: Use, barrier: int) -> _Met:
        """The chains of places in it that were used since the barrier, and matter."""
        met: _Met = []
        look_at = [node]
        while look_at:
            at = look_at.pop()
            inner = at.changed if use is Use.READ else at.inside
            for child in reversed(inner.values()):
                if (child.written if use is Use.READ else child.newest) < barrier:
                    break
                met += [(child, chain) for chain in (child.below, child.here) if chain.last is not None]
                look_at.append(child)
        return met

    def _touch(self, node: _Node, use: Use) -> None:
        while True:
            node.newest = self._now
            if use is not Use.READ:
                node.written = self._now
            parent = node.parent
            if parent is None:
                return
            parent.inside.pop(node.name, None)
            parent.inside[node.name] = node
            if use is not Use.READ:
                parent.changed.pop(node.name, None)
                parent.changed[node.name] = node
            node = parent

    @staticmethod
    def _prune(node: _Node) -> None:
        while node.empty and node.parent is not None:
            node.parent.inside.pop(node.name, None)
            node.parent.changed.pop(node.name, None)
            node = node.parent


def _tie(earlier: Use, access: Access, node: _Node, *, crowd: bool) -> Tie:
    if crowd:
        kind = CROWD
    elif access.use is Use.READ:
        kind = READ_AFTER_WRITE
    elif earlier is Use.READ:
        kind = WRITE_AFTER_READ
    else:
        kind = WRITE_AFTER_WRITE
    return Tie(kind, named(node.place))
