"""What a call in a Python text does to files, programs, processes and the network."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from cbx_sandbox.shell import marks, programs
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.inner.python import modules
from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.inner.python.values import Texts, Values
    from cbx_sandbox.shell.state import Where

_READING = frozenset("rbtU")  # letters of a mode that only reads

# Functions by what happens to their arguments, in order: a letter each, "-" for one that is no path.
_READ, _WRITE, _DELETE, _CREATE, _TREE = "rwdct"
_FILES = {
    "os.remove": _DELETE,
    "os.unlink": _DELETE,
    "os.rmdir": _DELETE,
    "os.removedirs": _DELETE,
    "shutil.rmtree": _TREE,
    "os.rename": _DELETE + _WRITE,
    "os.renames": _DELETE + _WRITE,
    "os.replace": _DELETE + _WRITE,
    "shutil.move": _DELETE + _WRITE,
    "shutil.copy": _READ + _WRITE,
    "shutil.copy2": _READ + _WRITE,
    "shutil.copyfile": _READ + _WRITE,
    "shutil.copytree": _READ + _WRITE,
    "shutil.copymode": _READ + _WRITE,
    "shutil.copystat": _READ + _WRITE,
    "shutil.make_archive": _WRITE,
    "shutil.unpack_archive": _READ + _WRITE,
    "shutil.chown": _WRITE,
    "os.mkdir": _CREATE,
    "os.makedirs": _CREATE,
    "os.mkfifo": _CREATE,
    "os.mknod": _CREATE,
    "os.symlink": "-" + _CREATE,
    "os.link": _READ + _CREATE,
    "os.chmod": _WRITE,
    "os.chown": _WRITE,
    "os.lchown": _WRITE,
    "os.truncate": _WRITE,
    "os.utime": _WRITE,
    "os.setxattr": _WRITE,
    "os.removexattr": _WRITE,
}
# Methods of paths: what happens to the path itself.
_METHODS = {
    "write_text": _WRITE,
    "write_bytes": _WRITE,
    "touch": _WRITE,
    "chmod": _WRITE,
    "lchmod": _WRITE,
    "mkdir": _CREATE,
    "symlink_to": _CREATE,
    "hardlink_to": _CREATE,
    "unlink": _DELETE,
    "rmdir": _DELETE,
    "rename": _DELETE,
    "replace": _DELETE,
}
_PATH_WORDS = ("path", "src", "dst", "file", "name", "filename", "target")
_ACCESS = {_WRITE: Access.WRITE, _DELETE: Access.DELETE, _CREATE: Access.CREATE, _TREE: Access.DELETE}

# What opens a file: where its mode stands.
OPENERS = {
    "open": 1,
    "io.open": 1,
    "gzip.open": 1,
    "bz2.open": 1,
    "lzma.open": 1,
    "gzip.GzipFile": 1,
    "bz2.BZ2File": 1,
    "lzma.LZMAFile": 1,
    "zipfile.ZipFile": 1,
    "tarfile.open": 1,
    "tarfile.TarFile": 1,
    "zipfile.PyZipFile": 1,
}
_RUNS_TEXT = frozenset({"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"})
_RUNS = frozenset(f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output", "Popen"))
_OF_TEMPORARY = frozenset("mode buffering encoding newline suffix prefix dir delete errors max_size".split())
_KILLS = frozenset({"os.kill", "os.killpg", "signal.pthread_kill"})
_OPENS_URL = frozenset(
    """urllib.request.urlopen urllib.request.Request urllib.request.urlretrieve requests.get requests.post requests.put
    requests.delete requests.head requests.patch requests.request httpx.get httpx.post httpx.put httpx.delete""".split()
)


class Calls:
    """The calls of one text."""

    def __init__(self, run: Interpreter, values: Values, where: Where, unknown: Callable[[str], None]) -> None:
        self.run = run
        self.values = values
        self.where = where
        self.unknown = unknown

    @staticmethod
    def covers(origin: str) -> bool:
        """Whether all that a call of this function does is noted here."""
        temporary = origin.startswith("tempfile.") and origin.partition(".")[2] not in modules.ONLY["tempfile"]
        return (
            origin in OPENERS
            or origin in _FILES
            or origin in _RUNS_TEXT | _RUNS | _KILLS
            or origin in {"os.open", "os.write", "os.fork", "os.forkpty", "fileinput.input"}
            or origin.startswith(("os.exec", "os.spawn", "os.posix_spawn"))
            or temporary
        )

    @staticmethod
    def runs(origin: str) -> bool:
        """Whether this function starts what it is given."""
        return origin in _RUNS_TEXT | _RUNS or origin.startswith(("os.exec", "os.spawn", "os.posix_spawn"))

    def note(self, node: ast.Call, origin: str) -> None:
        """Note what the call of a library's function does."""
        if origin in _OPENS_URL:
            self._connects(node)
        elif self.covers(origin):
            self._note(node, origin)

    def _note(self, node: ast.Call, origin: str) -> None:
        if origin in OPENERS:
            self._opens(node, OPENERS[origin])
        elif origin in _FILES:
            self._touches(node, origin)
        elif origin in _RUNS_TEXT:
            self._starting(lambda: self._runs_text(node))
        elif origin in _RUNS:
            self._starting(lambda: self._runs(node))
        elif origin in _KILLS:
            targets = [marks.whole(text) for arg in node.args[:1] for text in self.values.texts(arg)]
            words = ["kill", "--", *(targets or [HOLE])]
            self.run.dispatch([Arg(word, *self.where) for word in words], None, self.where)
        elif origin == "os.open":
            self._opens_raw(node)
        elif origin == "fileinput.input":
            self._goes_through(node)
        elif origin == "os.write":
            self._writes_raw(node)
        elif origin.startswith(("os.exec", "os.spawn", "os.posix_spawn")):
            self._starting(lambda: self._replaces(node, origin))
        elif origin in {"os.fork", "os.forkpty"}:
            self.run.executes_unknown(f"Python that calls {origin}", self.where)
        else:
            self._makes_temporary(node, origin)

    def _starting(self, action: Callable[[], None]) -> None:
        """Start something: in the working directory of the text, which it may have changed."""
        self.run.record.reason("python", "Python that starts programs", SEQUENTIAL, self.where)
        saved = self.run.state.cwd
        if self.values.moved:
            self.run.state.cwd = None
        action()
        self.run.state.cwd = saved

    def method(self, node: ast.Call, attribute: ast.Attribute) -> bool:
        """Note what the call of a method does that an object of any kind may have."""
        name = attribute.attr
        if name == "open":
            self._opens_path(node, attribute.value)
            return True
        if name in {"read_text", "read_bytes"}:
            for text in self.values.path(attribute.value):
                self._touch(text, _READ)
            return True
        if name not in _METHODS or (name == "replace" and not self._replaces_file(node)):
            return False
        for text in self.values.path(attribute.value):
            self._touch(text, _METHODS[name])
        if name in {"rename", "replace"}:
            for text in self.values.path(node.args[0] if node.args else None):
                self._touch(text, _WRITE)
        return True

    @staticmethod
    def _replaces_file(node: ast.Call) -> bool:
        """A path's replace takes one argument, a text's takes two; a date's takes them by name."""
        starred = any(isinstance(arg, ast.Starred) for arg in node.args)
        named = any(keyword.arg in {None, "target"} for keyword in node.keywords)
        return starred or named or (len(node.args) == 1)

    # -- files --------------------------------------------------------------------------------------------------

    def _touch(self, text: str, letter: str) -> None:
        arg = Arg(text, *self.where)
        if letter == _READ:
            self.run.reads(arg, self.where)
        elif letter != "-":
            self.run.writes(arg, self.where, access=_ACCESS[letter], under=letter == _TREE)
        if letter == _TREE:
            self.run.record.reason("python", "Python that deletes a tree", DANGEROUS, self.where)

    def _touches(self, node: ast.Call, origin: str) -> None:
        letters = _FILES[origin]
        named = [keyword.value for keyword in node.keywords if keyword.arg in _PATH_WORDS]
        args: list[ast.expr] = [*node.args, *named]
        odd = any(isinstance(arg, ast.Starred) for arg in args) or any(k.arg is None for k in node.keywords)
        relative = any(keyword.arg in {"dir_fd", "src_dir_fd", "dst_dir_fd"} for keyword in node.keywords)
        for index, letter in enumerate(letters):
            if odd or relative or index >= len(args):
                self._touch(HOLE, letter)
                continue
            for text in self.values.path(args[index]):
                if origin == "os.makedirs" and HOLE not in text:
                    self.run.parents(Arg(text, *self.where), self.where)
                if origin != "shutil.make_archive":
                    self._touch(text, letter)
                if origin == "shutil.copytree" and letter == _WRITE:
                    self.run.writes(Arg(text, *self.where), self.where, under=True)
        if origin == "shutil.make_archive":  # its name gets the format's ending
            for text in self.values.path(args[0] if args and not odd else None):
                self.run.writes(Arg(text + ".*", *self.where, pattern=True), self.where)
        if origin in {"shutil.move", "shutil.copy", "shutil.copy2", "shutil.unpack_archive"}:
            # The last may be a directory: what is written lies beneath it.
            for text in self.values.path(args[min(len(letters), len(args)) - 1] if args and not odd else None):
                self.run.writes(Arg(text, *self.where), self.where, under=True)

    def _mode(self, node: ast.Call, position: int) -> Texts:
        if any(isinstance(arg, ast.Starred) for arg in node.args):
            return (HOLE,)
        mode: Texts = self.values.texts(node.args[position]) if len(node.args) > position else ("r",)
        for keyword in node.keywords:
            if keyword.arg == "mode":
                mode = self.values.texts(keyword.value)
            elif keyword.arg in {None, "opener"}:
                return (HOLE,)
        return mode

    @staticmethod
    def _reads_only(modes: Texts) -> bool:
        # Archives name how they are packed after a colon or a bar.
        return all(set(mode.partition(":")[0].partition("|")[0]) <= _READING for mode in modes)

    def _opens(self, node: ast.Call, position: int) -> None:
        named = next((k.value for k in node.keywords if k.arg in {"file", "name", "filename"}), None)
        target = node.args[0] if node.args else named
        if isinstance(target, ast.Constant) and target.value in {0, 1, 2} and not isinstance(target.value, bool):
            return
        reads = self._reads_only(self._mode(node, position))
        for text in self.values.path(target):
            if not reads:
                self.run.writes(Arg(text, *self.where), self.where)
            elif text != HOLE:
                self.run.reads(Arg(text, *self.where), self.where)

    def _opens_path(self, node: ast.Call, path: ast.expr) -> None:
        reads = self._reads_only(self._mode(node, 0))
        for text in self.values.path(path):
            if not reads:
                self.run.writes(Arg(text, *self.where), self.where)
            elif text != HOLE:
                self.run.reads(Arg(text, *self.where), self.where)

    def _opens_raw(self, node: ast.Call) -> None:
        reads = len(node.args) > 1 and self.values.names.origins(node.args[1]) == {"os.O_RDONLY"}
        for text in self.values.path(node.args[0] if node.args else None):
            if reads:
                self.run.reads(Arg(text, *self.where), self.where)
            else:
                self.run.writes(Arg(text, *self.where), self.where)

    def _goes_through(self, node: ast.Call) -> None:
        """See through fileinput.input(files, inplace=True), which changes the files, with a backup while it does."""
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if len(node.args) > 1 or keywords.keys() - {"files", "inplace", "encoding", "errors", "mode"}:
            self.unknown("Python that goes through files")
            return
        files = node.args[0] if node.args else keywords.get("files")
        single = self.values.texts(files) if files is not None else (HOLE,)
        names = list(single) if single != (HOLE,) else self.values.words(files)
        inplace = keywords.get("inplace")
        changes = inplace is not None and not (isinstance(inplace, ast.Constant) and not inplace.value)
        for text in names if names is not None else [HOLE]:
            self._touch(text, _READ)
            if changes:
                self._touch(text, _WRITE)
                self.run.writes(Arg(text + ".bak", *self.where), self.where)

    def _writes_raw(self, node: ast.Call) -> None:
        first = node.args[0] if node.args else None
        if not (isinstance(first, ast.Constant) and first.value in {1, 2}):
            self.unknown("Python that writes to a descriptor")

    def _makes_temporary(self, node: ast.Call, origin: str) -> None:
        for keyword in node.keywords:
            if keyword.arg == "dir":
                for text in self.values.path(keyword.value):
                    self.run.writes(Arg(text, *self.where), self.where, under=True)
        # Without a directory it is TMPDIR, of which every job has its own; it may be told by position as well.
        plain = not node.args and all(keyword.arg in _OF_TEMPORARY for keyword in node.keywords)
        self.run.record.reason("python", f"Python that calls {origin}", SEQUENTIAL, self.where, placed=plain)

    # -- programs -----------------------------------------------------------------------------------------------

    def _runs_text(self, node: ast.Call) -> None:
        target = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg in {"cmd", "args"}), None)
        for text in self.values.texts(target):
            if text == HOLE:
                self.run.executes_unknown("Python that executes text", self.where)
            else:
                self.run.nested(text, self.where)

    def _runs(self, node: ast.Call) -> None:
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        first = node.args[0] if node.args else keywords.get("args")
        shell = keywords.get("shell")
        plain = shell is None or (isinstance(shell, ast.Constant) and not shell.value)
        if None in keywords or keywords.keys() & {"executable", "preexec_fn"}:
            self.run.executes_unknown("Python that starts a program that is not known", self.where)
            return
        for text in self.values.path(keywords["cwd"]) if "cwd" in keywords else ():
            self.run.state.cwd = None if HOLE in text else self.run.absolute(text)
        words = self.values.words(first)
        if words is not None and plain:
            self._program(words)
        elif words is not None and words:
            self.run.execute_text(words[0], self.where)
        elif plain and first is not None and self.values.texts(first) != (HOLE,):
            for text in self.values.texts(first):
                self._program([text])
        else:
            self._runs_text(node)

    def _program(self, words: list[str]) -> None:
        """Start a program without a shell: the shell's own functions and commands do not count."""
        if not words or HOLE in words[0]:
            self.run.executes_unknown("Python that starts a program that is not known", self.where)
            return
        saved = self.run.state
        self.run.state = saved.copy()
        self.run.state.functions, self.run.state.aliases = {}, {}
        args = [Arg(word, *self.where, many=word == HOLE) for word in words]
        self.run.direct(args, self.where)
        self.run.state = saved

    def _replaces(self, node: ast.Call, origin: str) -> None:
        """See through os.execvp(file, [name, …]) and os.execl(file, name, …), and spawn's, whose first is how."""
        name = origin.partition(".")[2]
        args = list(node.args[1:] if name.startswith("spawn") else node.args)
        program = self.values.texts(args[0]) if args else (HOLE,)
        if len(program) != 1 or HOLE in program[0] or len(args) < 2:
            self.run.executes_unknown(f"Python that calls {origin}", self.where)
            return
        if name.startswith(("execl", "spawnl")):
            words = self.values.words(ast.List(elts=args[1:]))
        else:
            words = self.values.words(args[1])
        if words is None:
            self.run.executes_unknown(f"Python that calls {origin} with arguments that are not known", self.where)
        else:
            self._program([program[0], *words[1:]])

    # -- the network --------------------------------------------------------------------------------------------

    def _connects(self, node: ast.Call) -> None:
        for text in self.values.texts(node.args[0] if node.args else None):
            programs.connect(self.run, Arg(text, *self.where), self.where)
