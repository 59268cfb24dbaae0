"""What is known of Python's standard library: which members compute or read, and which do more."""

from __future__ import annotations

HARMLESS = frozenset(
    """abc argparse array ast base64 binascii bisect bz2 calendar cmath collections collections.abc colorsys
    configparser contextlib copy csv dataclasses datetime decimal difflib dis email email.header email.message
    email.parser email.policy email.utils enum errno filecmp fnmatch fractions functools getopt getpass glob graphlib
    grp gzip hashlib heapq hmac html html.parser io ipaddress itertools json json.decoder json.encoder keyword locale
    logging lzma math mimetypes numbers operator optparse os.path pathlib platform pprint pwd queue random re secrets
    shlex stat statistics string struct sysconfig tarfile textwrap threading time token tokenize tomllib traceback
    typing unicodedata urllib.parse uuid warnings xml.etree.ElementTree zipfile zlib zoneinfo __future__""".split()
)
"""Modules whose members are harmless but for those in ``HARMFUL``."""

ONLY = {
    "os": frozenset(
        """path environ getcwd getcwdb listdir getenv sep linesep name uname cpu_count getpid getppid getuid geteuid
        getgid getegid getgroups stat lstat fstat scandir walk fwalk access get_terminal_size curdir pardir pathsep
        devnull extsep altsep fspath fsdecode fsencode getlogin times getloadavg sched_getaffinity strerror readlink
        getpgid getpgrp getsid isatty close dup dup2 pipe umask fdopen urandom statvfs pathconf sysconf nice wait
        waitpid get_exec_path PathLike DirEntry error stat_result supports_follow_symlinks chdir fchdir R_OK W_OK X_OK
        F_OK O_RDONLY O_WRONLY O_RDWR O_CREAT O_TRUNC O_APPEND O_EXCL O_CLOEXEC SEEK_SET SEEK_CUR SEEK_END lseek read
        WNOHANG _exit abort""".split()
    ),
    "sys": frozenset(
        """argv version version_info platform path stdin stdout stderr exit maxsize maxunicode executable byteorder
        prefix getsizeof getrecursionlimit setrecursionlimit implementation flags float_info int_info hexversion
        api_version base_prefix exec_prefix getdefaultencoding getfilesystemencoding builtin_module_names
        stdlib_module_names intern getrefcount hash_info thread_info""".split()
    ),
    "subprocess": frozenset(
        "PIPE DEVNULL STDOUT CalledProcessError TimeoutExpired CompletedProcess SubprocessError".split()
    ),
    "shutil": frozenset("which disk_usage get_terminal_size Error SameFileError copyfileobj".split()),
    "tempfile": frozenset({"gettempdir", "gettempprefix"}),
    "fileinput": frozenset("filename fileno lineno filelineno isfirstline isstdin nextfile close".split()),
    "signal": frozenset("SIGTERM SIGKILL SIGINT SIGHUP SIGUSR1 SIGUSR2 SIGSTOP SIGCONT Signals strsignal".split()),
    "importlib.metadata": frozenset("version metadata requires PackageNotFoundError".split()),
    "types": frozenset("SimpleNamespace MappingProxyType TracebackType ModuleType NoneType".split()),
}
"""Modules of which only some members are harmless."""

HARMFUL = frozenset(
    """argparse.FileType operator.methodcaller operator.attrgetter typing.get_type_hints typing.ForwardRef
    functools.singledispatch functools.singledispatchmethod io.FileIO io.open_code logging.FileHandler logging.config
    logging.handlers platform.popen getopt.os optparse.os pathlib.Path.replace dataclasses.make_dataclass sysconfig.os
    threading.setprofile threading.settrace enum.bltns mimetypes.os""".split()
)
"""Members of harmless modules that open for writing, or that turn text into calls."""

NETWORK = frozenset(
    "urllib http requests httpx socket ftplib smtplib aiohttp ssl socketserver xmlrpc imaplib poplib".split()
)
"""First names of modules that talk to other hosts."""

PRELOADED = frozenset(
    "os sys io abc codecs stat time itertools errno os.path posixpath builtins __future__ signal".split()
)
"""Modules that Python has loaded, or has built in, before it looks into any directory of the caller's."""

NOT_LOOKED_FOR = frozenset("test this antigravity idlelib turtle turtledemo lib2to3 ensurepip venv __main__".split())
"""Modules that no other module of the standard library needs."""

CARRIED = frozenset(
    """os sys subprocess shutil io socket builtins bltns pathlib importlib posix nt pty signal ctypes threading
    tempfile runpy pickle types inspect code codeop""".split()
)
"""Modules that others carry along as members; none of those is what it seems there."""

BUILTINS = frozenset(
    """abs aiter all anext any ascii bin bool bytearray bytes callable chr complex dict dir divmod enumerate filter
    float format frozenset hash hex id int isinstance issubclass iter len list map max memoryview min next object oct
    ord pow print property range repr reversed round set slice sorted str sum super tuple type zip input hasattr
    staticmethod classmethod exit quit Ellipsis NotImplemented __name__ __file__ __doc__ __debug__ BaseException
    Exception ArithmeticError AssertionError AttributeError BlockingIOError BrokenPipeError BufferError
    ChildProcessError ConnectionError EOFError FileExistsError FileNotFoundError FloatingPointError GeneratorExit
    IOError ImportError IndexError InterruptedError IsADirectoryError KeyError KeyboardInterrupt LookupError
    MemoryError ModuleNotFoundError NameError NotADirectoryError NotImplementedError OSError OverflowError
    PermissionError ProcessLookupError RecursionError ReferenceError RuntimeError StopAsyncIteration StopIteration
    SyntaxError SystemError SystemExit TimeoutError TypeError UnicodeDecodeError UnicodeEncodeError UnicodeError
    ValueError Warning UserWarning DeprecationWarning ZeroDivisionError ExceptionGroup BaseExceptionGroup""".split()
)
EXECUTES = frozenset({"eval", "exec", "compile", "__import__", "execfile", "breakpoint"})

SHALLOW = frozenset(
    """path environ stdin stdout stderr argv version_info flags implementation float_info hash_info datetime date time
    timedelta timezone chain decoder encoder abc ascii_letters ascii_lowercase ascii_uppercase digits punctuation
    whitespace printable hexdigits defaultdict deque namedtuple etree parse metadata utils message header parser
    policy dom buffer local""".split()
)
"""Members in small letters that may have members of their own; any other could be a module that is carried along."""

MUTATING = frozenset(
    """write_text write_bytes unlink rmdir mkdir touch rename symlink_to hardlink_to link_to chmod lchmod move
    move_into copy_into extractall extract system popen rmtree makedirs removedirs execv execve execvp execvpe execl
    execlp spawnv spawnl spawnvp spawnlp posix_spawn fork forkpty kill killpg eval exec import_module load_module
    exec_module methodcaller attrgetter FunctionType CodeType tb_frame f_globals f_builtins f_locals f_back gi_frame
    cr_frame ag_frame gi_code cr_code""".split()
)
"""Attributes that change files, start programs or lead out of the text, whatever object has them."""

HARMLESS_DUNDERS = frozenset(
    """__name__ __doc__ __version__ __len__ __file__ __init__ __main__ __eq__ __hash__ __str__ __repr__ __iter__
    __next__ __enter__ __exit__ __qualname__ __module__ __post_init__ __contains__ __getitem__ __lt__""".split()
)
