# ruff: noqa: E501 -- tables of alternatives, a row a line
"""A generator of bash texts: every construct, nested, with odd quoting and layout, out of nothing but harmless names.

It makes all its choices through one function, ``choose(n)`` in 0..n-1, so the same grammar serves hypothesis (which shrinks to 0,
the plainest choice), a seeded random generator and a coverage-guided fuzzer's bytes. What it writes can be run: programs are the
stubs of ``execution``, files have relative names, and functions call only functions before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STUBS = ("p0", "p1", "p2", "r0")  # r0 logs what it reads
LITERALS = (
    "a",
    "b",
    "c",
    "x1",
    "-n",
    "a.b",
    "d/e",
    "=",
    "%",
    "+",
    ",",
    "a=b",
    "-",
    "@",
    "é",
    "2",
    "10",
    ":",
    "}",
    "#x"[1:],
    "!",
)
FILES = ("o1", "o2", "d/o3", "./o4", "a", "'o 5'", '"o6"', "o\\7")
VARIABLES = ("v", "w", "x", "y")
PATTERNS = ("a", "*", "?", "[ab]", "a*", "*.b", "[!a]", "d/*", "[[:alpha:]]")
FUNCTIONS = ("f0", "f1", "f2")


class Grammar:
    """One text in the making."""

    def __init__(
        self, choose: Callable[[int], int], *, depth: int = 3, functions: int = 0, extglob: bool = False
    ) -> None:
        self.choose = choose
        self.depth = depth
        self.functions = functions  # how many are defined so far
        self.extglob = extglob
        self.out: list[str] = []
        self.pending: list[str] = []  # bodies of here-documents, due after the next newline
        self.in_function = False

    # -- plumbing -----------------------------------------------------------------------------------------------

    def pick(self, options: Sequence[str]) -> str:
        return options[self.choose(len(options))]

    def maybe(self, one_in: int) -> bool:
        """Say yes once in a while; no is the plain answer."""
        return self.choose(one_in) == one_in - 1

    def w(self, text: str) -> None:
        self.out.append(text)

    def blank(self) -> None:
        self.w(self.pick((" ", " ", " ", "  ", "\t", " \\\n", " \\\n\t ")))

    def s(self, text: str) -> None:
        """Write syntax: its newlines are the shell's, so here-documents that are due follow them."""
        first, *rest = text.split("\n")
        self.w(first)
        for line in rest:
            self.newline()
            self.w(line)

    def newline(self) -> None:
        self.w("\n")
        pending, self.pending = self.pending, []
        for body in pending:
            self.w(body)

    def separator(self) -> None:
        """End a command."""
        match self.choose(6):
            case 0 | 1:
                self.w("; ")
            case 2:
                self.newline()
            case 3:
                self.w(" # p0 'x $(p1")
                self.newline()
            case 4:
                self.w(" & ")
            case _:
                self.newline()
                self.newline()

    def nested(self, *, functions: int | None = None) -> Grammar:
        """Return a generator for a text within this one."""
        known = self.functions if functions is None else functions
        inner = Grammar(self.choose, depth=self.depth - 1, functions=known, extglob=self.extglob)
        inner.in_function = self.in_function
        return inner

    def text(self) -> str:
        """Make a whole text."""
        if self.maybe(6):
            self.w("shopt -s extglob\n")
            self.extglob = True
        for _ in range(1 + self.choose(4)):
            self.and_or()
            self.separator()
        while self.pending:
            self.newline()
        return "".join(self.out)

    def body(self) -> None:
        """Commands inside a compound command, with what ends the last one."""
        self.depth -= 1
        for _ in range(1 + (self.choose(3) if self.depth > 0 else 0)):
            self.and_or()
            self.separator()
        self.depth += 1

    # -- lists --------------------------------------------------------------------------------------------------

    def and_or(self) -> None:
        self.pipeline()
        while self.maybe(5):
            self.w(self.pick((" && ", " || ", "&&", " ||\\\n")))
            if self.maybe(5):
                self.newline()
            self.pipeline()

    def pipeline(self) -> None:
        if self.maybe(12):
            self.w(self.pick(("! ", "time ", "time -p ", "! ! ")))
        self.command()
        while self.maybe(5):
            self.w(self.pick((" | ", "|", " |& ")))
            if self.maybe(5):
                self.newline()
            self.command()

    def command(self) -> None:
        if self.depth <= 0 or self.choose(5) < 3:
            self.simple()
            return
        compounds = (
            self.group, self.subshell, self.if_, self.for_, self.case, self.function, self.test, self.arith_command, self.while_,
            self.arith_for, self.select, self.coproc,
        )  # fmt: skip
        make = compounds[self.choose(len(compounds))]
        make()
        if make not in {self.function, self.coproc}:
            while self.maybe(6):
                self.redirect()

    # -- compound commands --------------------------------------------------------------------------------------

    def group(self) -> None:
        self.s(self.pick(("{ ", "{\n", "{\t")))
        self.body()
        self.w("}")

    def subshell(self) -> None:
        self.s(self.pick(("(", "( ", "(\n")))
        self.body()
        self.w(")")

    def if_(self) -> None:
        self.w("if ")
        self.body()
        self.w("then ")
        self.body()
        if self.maybe(3):
            self.w("elif ")
            self.body()
            self.s("then\n")
            self.body()
        if self.maybe(2):
            self.w("else ")
            self.body()
        self.w("fi")

    def for_(self) -> None:
        name = self.pick(VARIABLES)
        if self.maybe(6):
            self.s(f"for {name}" + self.pick(("; ", "\n", " ")))
        else:
            self.w(f"for {name} in")
            for _ in range(self.choose(4)):
                self.blank()
                self.word()
            self.s(self.pick(("; ", " ;\n", "\n")))
        if self.maybe(8):
            self.group()
            return
        self.w("do ")
        self.body()
        self.w("done")

    def while_(self) -> None:
        """A loop that ends: its condition is false, or it breaks."""
        if self.maybe(2):
            self.s(self.pick(("while false; do ", "until true\ndo ")))
            self.body()
        else:
            self.s(self.pick(("while true; do ", "while :\ndo ", "until false; do ")))
            self.body()
            self.w("break; ")
        self.w("done")

    def arith_for(self) -> None:
        self.s(self.pick(("for ((i=0; i<2; i++)); do ", "for ((i = 0 ; i < 1 ; i++))\ndo ", "for ((;0;)) ; do ")))
        self.body()
        self.w("done")

    def select(self) -> None:
        self.w("select ")
        self.w(self.pick(VARIABLES))
        self.w(" in ")
        self.word()
        self.w("; do ")
        self.body()
        self.w("done </dev/null")

    def coproc(self) -> None:
        self.w(self.pick(("coproc { ", "coproc CO { ")))
        self.body()
        self.w("}")

    def case(self) -> None:
        self.w("case ")
        self.word()
        self.s(self.pick((" in ", " in\n", "\nin ")))
        for _ in range(self.choose(3)):
            self.w(self.pick(("", "(")))
            self.pattern()
            while self.maybe(4):
                self.w(self.pick(("|", " | ")))
                self.pattern()
            self.w(self.pick((") ", ")")))
            if not self.maybe(6):
                self.body()
            self.s(self.pick((";; ", ";;\n", ";& ", ";;& ")))
        self.w("*) p0;; esac" if self.maybe(3) else "esac")

    def function(self) -> None:
        """Define the next function and call it, most times."""
        if self.functions >= len(FUNCTIONS) or self.in_function:
            self.group()
            return
        name = FUNCTIONS[self.functions]
        self.s(self.pick((f"{name}() ", f"{name} ()\n", f"function {name} ", f"function {name}() ")))
        self.in_function = True
        self.pick_body()
        self.in_function = False
        self.functions += 1
        if not self.maybe(5):
            self.w("; ")
            self.w(name)
            for _ in range(self.choose(3)):
                self.blank()
                self.word()

    def pick_body(self) -> None:
        (self.group, self.subshell, self.if_)[self.choose(3)]()

    def test(self) -> None:
        self.w("[[ ")
        self._test_expression(2)
        self.w(" ]]")

    def _test_expression(self, depth: int) -> None:
        match self.choose(6 if depth else 4):
            case 0:
                self.w(self.pick(("-n ", "-z ", "-e ", "-v x -o -n ")).replace("-v x -o ", ""))
                self.word(plain=True)
            case 1:
                self.word(plain=True)
                self.w(self.pick((" == ", " != ", " = ", " < ", " > ")))
                self.word(plain=True)
            case 2:
                self.word(plain=True)
                self.w(" =~ ")
                self.w(self.pick(("^a", "(a|b)", "a(b c)*", "[[:alpha:]]", "\\.", "$v")))
            case 3:
                self.w("! ")
                self._test_expression(0)
            case 4:
                self.w("( ")
                self._test_expression(depth - 1)
                self.w(" )")
            case _:
                self._test_expression(depth - 1)
                self.s(self.pick((" && ", " || ", " &&\n")))
                self._test_expression(depth - 1)

    def arith_command(self) -> None:
        self.w("((")
        self.arithmetic()
        self.w("))")

    def arithmetic(self) -> None:
        self.w(
            self.pick(
                (
                    "1",
                    "x",
                    "x = 2",
                    "v + 1",
                    "(1 + 2) * 3",
                    "x++",
                    "1 << 2",
                    "x > 1 && 2",
                    "i ? 1 : 2",
                    "$# + 0",
                    "x[1]",
                    "16#ff",
                )
            )
        )
        if self.maybe(4):
            self.w(" + ")
            self.w(self.pick(("${x:-1}", "$(echo 1)", "`echo 2`", '"3"', "$((4))", "${#v}")))

    # -- simple commands ----------------------------------------------------------------------------------------

    def simple(self) -> None:
        if self.maybe(8):
            self.redirect()
            self.w(" ")
        for _ in range(self.choose(3) if self.maybe(3) else 0):
            self.assignment()
            self.w(" ")
        match self.choose(8):
            case 0 | 1 | 2 | 3:
                self.stub()
            case 4 if self.functions:
                self.w(FUNCTIONS[self.choose(self.functions)])
                self.words()
            case 5:
                self.assignment()
                while self.maybe(3):
                    self.w(" ")
                    self.assignment()
                return
            case _:
                self.builtin()
                return
        while self.maybe(6):
            self.redirect()

    def stub(self) -> None:
        """A program: by its name, quoted in some way, or computed."""
        name = self.pick(STUBS)
        match self.choose(12):
            case 6:
                name = "\\" + name
            case 7:
                name = f"'{name}'"
            case 8:
                name = name[0] + f'"{name[1]}"'
            case 9:
                name = f"$'\\x{ord(name[0]):02x}{name[1]}'"
            case 10:
                self.w(f"v={name}; $v")
                self.words()
                return
            case 11:
                name = name[0] + "\\\n" + name[1]
            case _:
                pass
        self.w(name)
        self.words()

    def words(self) -> None:
        for _ in range(self.choose(4)):
            self.blank()
            self.word()
            if self.maybe(9):
                self.redirect()

    def builtin(self) -> None:
        match self.choose(22):
            case 0:
                self.w("echo")
                self.words()
            case 1:
                self.w("printf '%s\\n'")
                self.words()
            case 2:
                self.w("eval ")
                self.quoted_text()
            case 3:
                self.w("cd " + self.pick(("d", ".", "d/../d", "'d'", "./d", "~", "-", "nowhere || p0")))
            case 4:
                self.w(self.pick(("export ", "declare ", "readonly ro", "typeset ", "declare -g ")))
                self.assignment()
            case 5:
                self.w("set --")
                self.words()
            case 6:
                self.w(self.pick(("shift", "shift 1", "shift 2")))
            case 7:
                self.w(self.pick(("read v", "read -r v w", "read -a arr", "read", "IFS=: read v w", "mapfile -t arr")))
                self.w(" <<< ")
                self.word(plain=True)
            case 8:
                self.w("trap ")
                self.quoted_text()
                self.w(self.pick((" EXIT", " 0", " INT", " EXIT INT", " DEBUG" if self.depth > 2 else " EXIT", " ERR")))
            case 9:
                self.w(self.pick(("command ", "builtin echo ", "command -- ", "command -p ".replace(" -p", ""))))
                self.stub()
            case 10:
                self.w("unset " + self.pick(("v", "w x", "-v v", "arr", "'arr[0]'")))
            case 11:
                self.w(self.pick((":", "true", "false", "true")))
                self.words()
            case 12:
                self.w(self.pick(("test -n ", "[ -z ", "[ a = ")))
                bracket = self.out[-1].startswith("[")
                self.word(plain=True)
                if bracket:
                    self.w(" ]")
            case 13:
                self.w(self.pick(("let x=1", "let 'x = 2' y+=1", "let x++")))
            case 14:
                self.w(self.pick(("bash -c ", "sh -c ", "bash -x -c ", "bash --norc -c ")))
                self.nested(functions=0).quoted_text(self)
            case 15:
                self.w(self.pick(("bash", "sh", "bash -s", "bash -s a b")) + " <<< ")
                self.nested(functions=0).quoted_text(self)
            case 16:
                self.w("echo ")
                self.nested(functions=0).quoted_text(self)
                self.w(self.pick((" | bash", " | sh", " | bash -s x")))
            case 17:
                self.w(self.pick(("arr=(", "arr+=(", "declare -a arr=(", "arr=([1]=q ")))
                for _ in range(self.choose(4)):
                    self.word()
                    self.w(self.pick((" ", "\n", " # c\n")) if not self.pending else " ")
                self.w(")")
            case 18:
                self.w("printf -v v '%s' ")
                self.word(plain=True)
            case 19:
                self.w(self.pick(("env ", "env A=1 ", 'env -i PATH="$PATH" ', "nice ", "timeout 5 ", "nohup ")))
                self.stub()
                self.w(" </dev/null")
            case 20:
                self.w("exec ")
                self.w(self.pick(("3> o3", "4< a", "5<> o5", "{fd}> o6", "3>&1")))
            case _:
                self.w("source /dev/stdin <<< ")
                self.quoted_text()
        while self.maybe(8):
            self.redirect()

    def quoted_text(self, into: Grammar | None = None) -> None:
        """A text that a command executes, quoted."""
        target = into or self
        if target.depth <= 0:
            inner = self.pick(("p0 a", "p1 $v", 'p2 "$v" b'))
        else:
            inner = self.nested().text().rstrip("\n") if into is None else self.text().rstrip("\n")
        match self.choose(4):
            case 0 | 1:
                target.w("'" + inner.replace("'", "'\\''") + "'")
            case 2:
                target.w('"' + "".join("\\" + c if c in '$`"\\' else c for c in inner) + '"')
            case _:
                target.w("$'" + inner.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'")

    def assignment(self) -> None:
        name = self.pick(VARIABLES)
        self.w(name)
        self.w(self.pick(("=", "=", "=", "+=")))
        if not self.maybe(6):
            self.word(value=True)

    # -- redirections -------------------------------------------------------------------------------------------

    def redirect(self) -> None:
        self.w(" ")
        match self.choose(8):
            case 0:
                self.w(
                    self.pick(
                        (">", ">>", "> ", ">|", "2>", "&>", "&>>", ">&", "<>", "3>", "{fd}>", "{fd}>>", "1>", "0<>")
                    )
                )
                self.w(self.pick(FILES))
            case 1:
                self.w(self.pick(("<a", "< a", "0<a", "3<a", "{fd}<a", "<d/e")))
            case 2:
                self.w(self.pick(("2>&1", ">&2", "1>&2", "3>&1", "2>&-", "3<&0", "4>&-", "0<&0")))
            case 3:
                self.w(self.pick(("<<<", "<<< ")))
                self.word(plain=True)
            case 4:
                self.w("> ")
                self.w(self.pick(('"$v"o', "o$(echo 8)", "${v:-o9}", "o{1}", "`echo o10`")))
            case _:
                self.heredoc()

    def heredoc(self) -> None:
        word, end = (("E", "E"), ("'E'", "E"), ('"E F"', "E F"), ("\\E", "E"), ("E'F'", "EF"), ("EOF", "EOF"))[
            self.choose(6)
        ]
        tabs = self.maybe(3)
        self.w(("<<-" if tabs else "<<") + self.pick(("", " ")) + word)
        inner = self.nested()
        for _ in range(self.choose(4)):
            inner.w("\t" if tabs and self.maybe(2) else "")
            if word != end:
                inner.w(
                    self.pick(
                        (
                            "a b",
                            "$(p0",
                            "p1 x; p2",
                            "`",
                            "'",
                            '"',
                            "\\",
                            "E ",
                            " E",
                            "${x",
                            "$v",
                            "Ep1 x",
                            "E\\\n",
                            "E\\",
                        )
                    )
                )
            else:
                inner.here_piece()
            inner.w("\n")
        self.pending.append("".join(inner.out) + ("\t" if tabs else "") + end + "\n")

    def here_piece(self) -> None:
        for _ in range(1 + self.choose(2)):
            match self.choose(7):
                case 0:
                    self.w(
                        self.pick(
                            (
                                "a b",
                                "p1 x; p2",
                                "it's",
                                'say "x"',
                                "\\$v",
                                "\\`",
                                "# c",
                                "E F",
                                "\\\\",
                                "E\\\n",
                                "\\E",
                                "Ep0",
                            )
                        )
                    )
                case 1:
                    self.w("$" + self.pick(VARIABLES))
                case 2 if self.depth > 0:
                    self.substitution()
                case 3 if self.depth > 0:
                    self.backticks(quoted=False)
                case 4:
                    self.w("$((1 + 2))")
                case 5:
                    self.parameter(quoted=True)
                case _:
                    self.w(" x")

    # -- words --------------------------------------------------------------------------------------------------

    def word(self, *, plain: bool = False, value: bool = False) -> None:
        """One word; ``plain`` without patterns and braces, ``value`` of an assignment."""
        for _ in range(1 + (self.choose(3) if self.maybe(3) else 0)):
            self.piece(plain=plain or value)

    def pattern(self) -> None:
        self.w(self.pick(PATTERNS) if self.maybe(2) else self.pick(("a", '"a b"', "'*'", "$v", "\\*", "b")))

    def piece(self, *, plain: bool) -> None:
        match self.choose(13):
            case 0 | 1:
                self.w(self.pick(LITERALS))
            case 2:
                self.w(
                    "'" + self.pick(("a b", "", "$v", "`p0`", '"', "\\", "; p1", "# x", "*", "\n", "(", "<<E")) + "'"
                )
            case 3:
                self.double()
            case 4:
                self.w("$" + self.pick((*VARIABLES, "1", "#", "?", "*", "@", "2")))
            case 5:
                self.parameter(quoted=False)
            case 6 if self.depth > 0:
                self.substitution()
            case 7 if self.depth > 0:
                self.backticks(quoted=False)
            case 8:
                self.w("$((")
                self.arithmetic()
                self.w("))")
            case 9:
                self.w(
                    "\\" + self.pick((" ", "$", "`", '"', "'", "\\", "a", "*", ";", "&", "|", "(", "#", "~", "{", "!"))
                )
            case 10:
                self.w(
                    "$'"
                    + self.pick(("a", "\\n", "\\x41", "\\'", "\\\\", "\\101", "\\u00e9", "a\\tb", "\\cA", "\\e"))
                    + "'"
                )
            case 11 if not plain:
                self.expanding()
            case 12 if not plain and self.depth > 0 and self.maybe(2):
                self.w(self.pick(("<(", "<(", ">(")))
                self._commands(")")
            case _:
                self.w(self.pick(("a", "b", "c")))

    def expanding(self) -> None:
        self.w(
            self.pick(
                (
                    "{a,b}",
                    "*",
                    "{1..3}",
                    "?",
                    "[ab]",
                    "a*",
                    "{a,b{c,d}}x",
                    "{,q}",
                    "d/*",
                    "~",
                    "{a}",
                    "{a,'b c'}",
                    "{x,$v}",
                    "*.b",
                    "{a..c}",
                    "{3..1}",
                    "{01..03}",
                    "{1..6..2}",
                    "nomatch*",
                    "{a,b",
                )
            )
        )
        if self.extglob and self.maybe(2):
            self.w(self.pick(("@(a|b)", "!(a)", "*(x|y)", "+(a)", "?(b)", "@(a|*(b|c))")))

    def double(self) -> None:
        self.w('"')
        for _ in range(self.choose(4)):
            match self.choose(9):
                case 0 | 1:
                    self.w(
                        self.pick(
                            (
                                "a",
                                "b c",
                                "it's",
                                "\\$v",
                                "\\`",
                                '\\"',
                                "\\\\",
                                "\\a",
                                "*",
                                "#",
                                "; p1",
                                "\n",
                                "\\\n",
                                "!",
                                "~",
                                "{a,b}",
                                "<<E",
                                "$ ",
                            )
                        )
                    )
                case 2:
                    self.w("$" + self.pick((*VARIABLES, "1", "#", "@", "*", "?")))
                case 3:
                    self.parameter(quoted=True)
                case 4 if self.depth > 0:
                    self.substitution()
                case 5 if self.depth > 0:
                    self.backticks(quoted=True)
                case 6:
                    self.w("$((")
                    self.arithmetic()
                    self.w("))")
                case _:
                    self.w(self.pick(("${v}", "${w}x", "$v")))
        self.w('"')

    def parameter(self, *, quoted: bool) -> None:
        name = self.pick((*VARIABLES, "1", "arr[0]", "arr[@]", "arr[*]", "@", "*"))
        simple = name in VARIABLES
        match self.choose(9):
            case 0 | 1 | 2:
                self.w(
                    "${" + name + self.pick((":-", "-", ":+", "+", ":=" if simple else ":-", "=" if simple else "-"))
                )
                self.argument(quoted=quoted)
                self.w("}")
            case 3:
                self.w("${" + name + self.pick(("#", "##", "%", "%%")))
                self.w(self.pick(("a", "*", "?", "'a'", '"a b"', "[ab]", "$w", "\\}")))
                self.w("}")
            case 4:
                self.w(
                    "${"
                    + name
                    + self.pick(("/", "//", "/#", "/%"))
                    + self.pick(("a/b", "a", "a/$w", "?/x", "'/'/y", "a/", "\\//z"))
                    + "}"
                )
            case 5:
                self.w("${#" + name + "}")
            case 6:
                self.w("${" + name + self.pick((":0", ":1", ":0:1", ": -1", ":1:x")) + "}")
            case 7:
                self.w("${" + name + self.pick(("^", "^^", ",", ",,", "@Q", "@U" if simple else "^", "@E", "@A")) + "}")
            case _:
                self.w(
                    self.pick(
                        (
                            "${!v}",
                            "${!x*}",
                            "${!arr[@]}",
                            "${#arr[@]}",
                            "${arr[@]}",
                            "${arr[1]}",
                            "${@:1}",
                            "${#}",
                            "${*}",
                        )
                    )
                )

    def argument(self, *, quoted: bool) -> None:
        """What stands after an operator in braces."""
        for _ in range(self.choose(3)):
            match self.choose(8):
                case 0 | 1:
                    self.w(
                        self.pick(
                            (
                                "a",
                                "b c",
                                "x",
                                "'q'" if not quoted else "q",
                                "*",
                                "\\}",
                                "~",
                                "{a,b}" if False else "a,b",
                            )
                        )
                    )
                case 2:
                    self.double()
                case 3:
                    self.w("$" + self.pick(VARIABLES))
                case 4 if self.depth > 0:
                    self.substitution()
                case 5 if self.depth > 0:
                    self.backticks(quoted=quoted)
                case 6 if self.depth > 0:
                    self.depth -= 1
                    self.parameter(quoted=quoted)
                    self.depth += 1
                case _:
                    self.w("z")

    def substitution(self) -> None:
        self.w(self.pick(("$(", "$( ", "$(\n")))
        self._commands(")")

    def _commands(self, closer: str) -> None:
        inner = self.nested()
        for index in range(1 + inner.choose(2)):
            if index and inner.pending:  # bash prints a substitution anew before it runs it, and loses a ; there
                inner.newline()
            elif index:
                inner.separator()
            inner.and_or()
        if inner.pending:
            inner.newline()
        while inner.pending:
            inner.newline()
        text = "".join(inner.out)
        if text.startswith("("):
            self.w(" ")
        self.w(text)
        self.w(closer)

    def backticks(self, *, quoted: bool) -> None:
        inner = self.nested()
        inner.and_or()
        while inner.pending:
            inner.newline()
        text = "".join(inner.out)
        escaped = "".join("\\" + c if c in ('\\`"' if quoted else "\\`") else c for c in text)
        self.w("`" + escaped + "`")


def generate(choose: Callable[[int], int], *, depth: int = 3) -> str:
    """Make one text."""
    return Grammar(choose, depth=depth).text()
