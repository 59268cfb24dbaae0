# The tree that most commands run in: a project under version control, a home directory beside it, a bare remote.
# Runs in an empty directory. All times lie in the past, so that make and git see nothing that happened "just now".
set -eu
world=$PWD
mkdir home project
export HOME=$world/home
export GIT_AUTHOR_DATE='2024-05-01T12:00:00Z' GIT_COMMITTER_DATE='2024-05-01T12:00:00Z'

cd home
printf '[user]\n\tname = Ann Other\n\temail = ann@example.org\n[init]\n\tdefaultBranch = main\n[protocol "file"]\n\tallow = always\n' > .gitconfig
printf 'alias ll="ls -l"\nexport EDITOR=true\n' > .bashrc
printf 'remember the milk\nand the bread\n' > notes.txt
mkdir -p 'My Documents' bin .config .cache
printf 'Dear Sir\n' > 'My Documents/letter one.txt'
printf '#!/bin/sh\necho hello from home\n' > bin/hello
chmod +x bin/hello

cd "$world/project"
mkdir -p src/pkg tests scripts docs data logs archives links tmp/cache tmp/empty out patches conf bin
printf '# Project\n\nA small project.\nTODO: write more.\n' > README.md
printf 'Do what you like.\n' > LICENSE
printf 'build/\n*.o\n*.pyc\n__pycache__/\ntmp/\n' > .gitignore
printf 'requests==2.31.0\nattrs>=23\n' > requirements.txt
printf '[project]\nname = "sample"\nversion = "1.0"\n[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n' > pyproject.toml
cat > Makefile <<'MAKE'
CC ?= gcc
PREFIX ?= out/root
.PHONY: all clean test install report list
all: build/app
build/app: build/main.o build/util.o
	$(CC) -o $@ $^
build/%.o: src/%.c src/util.h
	@mkdir -p build
	$(CC) -c -o $@ $<
clean:
	rm -rf build tmp/cache
test:
	python3 -m unittest discover -q -s tests
install:
	mkdir -p $(PREFIX)/bin
	install -m 755 scripts/build.sh $(PREFIX)/bin/build
report: data/a.csv data/b.csv
	cat $^ | sort > out/report.csv
list:
	@ls src
MAKE
cat > package.json <<'JSON'
{
  "name": "sample",
  "version": "1.0.0",
  "scripts": {
    "build": "node scripts/build.js",
    "list": "ls src",
    "clean": "rm -rf build out/node",
    "touchy": "touch out/touched && echo done"
  }
}
JSON

printf 'import json\n\nfrom util import double\n\n\ndef main():\n    print(double(21))\n\n\nif __name__ == "__main__":\n    main()\n' > src/app.py
printf '"""Utilities."""\n\n\ndef double(x):\n    # TODO: triple\n    return 2 * x\n' > src/util.py
printf '' > src/pkg/__init__.py
printf 'VALUE = 1\n\n\ndef core():\n    return VALUE\n' > src/pkg/core.py
printf '{"a": 1, "b": [1, 2, 3]}\n' > src/pkg/data.json
printf '#include "util.h"\nint main(void) { return twice(0); }\n' > src/main.c
printf '#include "util.h"\nint twice(int x) { return 2 * x; }\n' > src/util.c
printf 'int twice(int x);\n' > src/util.h
printf 'import sys\nimport unittest\n\nsys.path.insert(0, "src")\nfrom util import double\n\n\nclass Test(unittest.TestCase):\n    def test(self):\n        self.assertEqual(double(2), 4)\n' > tests/test_util.py
printf '#!/bin/sh\nset -e\nmkdir -p build\ncat src/*.c > build/all.c\necho built\n' > scripts/build.sh
printf '#!/bin/bash\nrm -f tmp/*.tmp\nfor f in tmp/cache/*; do rm "$f"; done\n' > scripts/clean.sh
printf 'import pathlib\nimport sys\n\ntarget = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "out/generated.txt")\ntarget.write_text("generated\\n")\n' > scripts/gen.py
printf 'import csv\nimport sys\n\nwith open("data/a.csv") as f:\n    rows = list(csv.reader(f))\nprint(len(rows))\n' > scripts/count.py
printf 'for my $f (@ARGV) { my $n = $f; $n =~ s/bak$/old/; rename $f, $n; }\n' > scripts/rename.pl
printf 'const fs = require("fs");\nfs.mkdirSync("build", {recursive: true});\nfs.writeFileSync("build/bundle.js", "1;\\n");\n' > scripts/build.js
printf '{ sum += $2 } END { print sum }\n' > scripts/sum.awk
printf 's/alpha/ALPHA/g\n' > scripts/up.sed
chmod +x scripts/*.sh
printf '# Guide\n\nThe quick brown fox.\nSee ../README.md.\n' > docs/guide.md
printf 'one\ntwo\nthree\n' > docs/index.txt
printf 'odd\n' > 'docs/odd name.txt'
printf 'even\n' > 'docs/even name.txt'
printf 'dash\n' > docs/-dash.txt
printf 'id,value\n1,10\n2,20\n3,30\n' > data/a.csv
printf 'id,value\n4,40\n2,20\n' > data/b.csv
printf 'alpha\nbeta\ngamma\nalpha\ndelta\nepsilon\n' > data/words.txt
seq 1 100 > data/numbers.txt
printf 'apples 3\npears 5\nplums 7\n' > data/fruit.txt
printf 'data/a.csv\ndata/b.csv\n' > data/names.lst
printf 'tmp/a.bak\0tmp/b.bak\0' > data/names.nul
printf '{"name": "x", "list": [3, 1, 2], "deep": {"k": null}}\n' > data/config.json
printf '[main]\nkey = value\nport = 8080\n' > conf/app.ini
printf 'HOST=localhost\nPORT=8080\n' > conf/env.sh
printf 'create table t (id integer primary key, name text);\ninsert into t values (1, "one"), (2, "two");\n' > data/schema.sql
sqlite3 data/app.db < data/schema.sql
head -c 65536 /dev/zero > data/big.bin
printf '2024-05-01 INFO start\n2024-05-01 ERROR bad thing\n2024-05-02 INFO stop\n' > logs/app.log
printf 'old\n' > logs/app.log.1
printf 'older\n' > logs/old.log
printf 'ERROR again\n' > logs/error.log
printf 'junk\n' | tee tmp/junk.tmp tmp/more.tmp > tmp/a.bak
printf 'second\n' > tmp/b.bak
printf 'c\n' | tee tmp/cache/x.cache > tmp/cache/y.cache
printf 'keep\n' > out/.keep
tar -cf archives/src.tar src
tar -czf archives/src.tar.gz src
tar -cJf archives/data.tar.xz data/a.csv data/b.csv
gzip -c data/words.txt > archives/words.txt.gz
bzip2 -c logs/app.log > archives/app.log.bz2
xz -c data/numbers.txt > archives/numbers.txt.xz
zip -q -r archives/docs.zip docs
ln -s ../README.md links/readme
ln -s ../src links/source
ln -s nowhere links/dangling
ln -s "$world/home/notes.txt" links/notes
ln -s ../out links/outlink
printf -- '--- a/docs/index.txt\n+++ b/docs/index.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n' > patches/fix.patch
printf -- '--- /dev/null\n+++ b/docs/new.txt\n@@ -0,0 +1 @@\n+brand new\n' > patches/new.patch
sed 's/20/22/' data/a.csv > data/a2.csv

git init -q .
git add -A
git commit -q -m 'first'
git tag v0.1
printf 'more\n' >> docs/guide.md
git commit -q -a -m 'second'
git checkout -q -b feature HEAD~1
printf 'feature\n' > docs/feature.txt
git add docs/feature.txt
git commit -q -m 'add feature'
git checkout -q -b clash v0.1
printf 'clash\n' >> docs/guide.md
git commit -q -a -m 'clash'
git checkout -q main
git init -q --bare "$world/remote.git"
git remote add origin "$world/remote.git"
git push -q origin main:main feature
printf 'third\n' >> LICENSE
git commit -q -a -m 'third'
git fetch -q
git branch -q --set-upstream-to=origin/main
find "$world" -path '*/.git' -prune -o -exec touch -h -d '2024-05-02T00:00:00Z' {} +
git update-index -q --refresh
git status > "$world/status"
