"""Which class a command gets: rows of the project's own, in both directions."""

from __future__ import annotations

import pytest

from cbx_sandbox.shell.analysis import analyse, analyse_argv

SAFE = r"""
ls -la src
pwd
cat notes.txt src/a.c
head -n 20 notes.txt | tail -n 5
grep -rn 'kill -9' src | sort | uniq -c | sort -rn | head
find src -type f -name '*.c' -newer notes.txt -print0 | xargs -0 wc -l
find . -name '*.h' -exec grep -l stdio {} +
awk -F: '$3 >= 1000 { print $1, $NF }' /etc/passwd
awk '{ n[$1]++ } END { for (k in n) print k, n[k] > "/dev/stderr" }' notes.txt
awk '$2 > 5 && $3 ~ /a|b/' notes.txt
sed -n '/begin/,/end/p' notes.txt
sed -e 's,a/b,c/d,g' -e '$!d' notes.txt
sed 's/[x]e/x/' notes.txt
sort -t, -k2,2n -u notes.txt
cut -d' ' -f1 < notes.txt
diff -u src/a.c src/b.c
git status --porcelain=v2
git log --oneline --graph -20
git -C src diff --stat HEAD~3 -- a.c
git branch -vv
git tag --list 'v*'
git stash list
git remote -v
git config --get user.email
git --no-pager show HEAD:notes.txt
git rev-parse --abbrev-ref HEAD
git worktree list
ps aux --sort=-%mem | head
top -b -n 1
free -m; df -h; uptime
du -sh src | sort -h
stat -c '%s' notes.txt
file src/*
which gcc && gcc --version
date '+%F %T'
id -un
uname -a
echo "$HOME and `pwd` and $(whoami)"
printf '%s\n' a b c
x=1; y=$((x + 2)); echo $y
for f in src/*.c; do wc -l "$f"; done
while read -r line; do echo "$line"; done < notes.txt
if [ -f notes.txt ]; then cat notes.txt; else echo none; fi
[[ -d src && $HOME == /home/* ]] && echo yes
case $1 in start) echo s;; *) echo other;; esac
test -e notes.txt || echo missing
cd src && ls
(cd src; cat a.c)
{ echo a; echo b; } | wc -l
f() { echo "$1"; }; f hello
ls > /dev/null 2>&1
ls 2>/dev/null | cat
cat <<'EOF'\nrm -rf /\nEOF
cat <<EOF\n$(date)\nEOF
tr a-z A-Z <<< "shout"
diff <(sort a) <(sort b)
timeout 5 grep -c x notes.txt
sudo -n cat notes.txt
sudo -u postgres ls /var/lib/postgresql
env LC_ALL=C sort notes.txt
nice -n 10 find / -name core
nohup tail -f app.log
time ls
watch -n 2 df -h
xargs -n 1 basename < notes.txt
bash -c 'ls | wc -l'
sh -ec 'grep x notes.txt || true'
command -v python3
tar tzf archive.tgz
tar -xOf archive.tar member
unzip -l archive.zip
gzip -dc notes.gz | head
jq '.dependencies | keys' package.json
curl -s https://example.org/health
curl -fsSL -o /dev/null -w '%{http_code}' https://example.org
dig +short example.org
ping -c 1 example.org
ip -br addr
ip route show table main
ss -ltnp
systemctl status ssh --no-pager
systemctl is-active ssh
journalctl -u ssh -n 50
docker ps -a
docker logs --tail 5 web
kubectl get pods -A -o wide
kubectl describe node n1
npm ls --depth=0
pip list --outdated
pip show flask
cargo tree
go version
apt list --installed
apt-cache policy bash
dpkg -l
rpm -qa
terraform output
helm list
aws s3 ls
aws ec2 describe-instances --region eu-west-1
crontab -l
sysctl -n kernel.ostype
mount
openssl x509 -in c.pem -noout -dates
python3 -c 'print(sum(x * x for x in range(10)))'
python3 -c 'import json, sys; print(json.load(sys.stdin)["a"])'
python3 --version
rg -n --hidden TODO
fd -e c
tree -L 2
od -c notes.txt | head
base64 -d <<< aGk=
sleep 2
true
# only a comment
ls # rm -rf /
nproc && lscpu
shellcheck run.sh
mktemp -u
sort -o /dev/null notes.txt
coproc cat
! grep -q x notes.txt
ls -l --color=auto *.c
"ls" 'notes.txt'
l\s
a=(x y); echo "${a[@]}" "${#a[@]}"
echo {1..5} {a,b}c
echo ${UNSET_NAME:-default}
set -euo pipefail; ls
"""

CONDITIONAL = r"""
make -j4 all
make -C src test
cmake -S . -B build
cmake --build build --target install-strip
ninja -C build
gcc -O2 -o prog src/a.c
rustc main.rs
cargo build --release
cargo test -- --nocapture
go test ./...
go build -o bin/tool ./cmd/tool
npm ci
npm test
npm run build
yarn add left-pad
pnpm install --frozen-lockfile
npx tsc -p .
pytest -q tests
python -m pytest -x
python3 -m compileall src
python -m venv .venv
pip install -r requirements.txt
uv sync
poetry install
tox -e py311
mypy src
ruff check .
eslint src --fix
tsc --noEmit
jest --ci
mvn -q package
./gradlew build
gradle test
dotnet build
bundle install
composer install
ctest --test-dir build
docker build -t app .
brew install jq
cd src && make
sudo make all
node_modules/.bin/jest
.venv/bin/pytest
latexmk -pdf paper.tex
"""

SEQUENTIAL = r"""
touch new
mkdir -p a/b/c
cp notes.txt copy.txt
mv notes.txt old.txt
ln -s a b
rm notes.txt
rm -f notes.txt
chmod +x run.sh
chown user:user notes.txt
echo hi > notes.txt
echo hi >> notes.txt
echo hi >| notes.txt
ls &> listing
ls >& listing
ls 2> errors
cat <> notes.txt
exec 3> out
ls | tee listing
sed -i 's/a/b/' notes.txt
sed -n 'w copy' notes.txt
sort -o sorted notes.txt
awk '{ print > "out" }' notes.txt
awk '{ print | "cat > out" }' notes.txt
find . -fprintf out '%p'
find . -name '*.o' -exec rm {} \;
tar xzf archive.tgz
tar czf archive.tgz src
unzip archive.zip
gzip notes.txt
git add -A
git commit -m 'remove rm -rf'
git push origin main
git push --force
git pull --rebase
git merge topic
git checkout -b topic
git reset --hard
git branch topic
git tag v1
git stash
git clean -fd
git config user.name x
git diff --output=x
git log --output x
git some-alias
git -c core.hooksPath=/x commit
curl -X POST https://example.org/a
curl -d a=b https://example.org
curl -o page https://example.org
curl -T f https://example.org
wget https://example.org/f
ssh host uptime
ssh host
scp a host:b
rsync -a src/ copy/
systemctl restart nginx
service nginx stop
docker rm web
docker compose up -d
kubectl apply -f x.yaml
kubectl delete pod x
helm upgrade x y
terraform apply
aws s3 cp a s3://b/a
psql -c 'select 1'
sqlite3 a.db .tables
npm uninstall x
npm publish
pip uninstall -y x
cargo clean
make-something
./run.sh
./sed -n 1p notes.txt
/opt/tool/cat notes.txt
PATH=/tmp/x:$PATH ls
python script.py
python -c 'open("x", "w").write("y")'
python -c 'import os; os.remove("x")'
python -c 'import unknown_package'
perl -pe 's/a/b/' notes.txt
perl -i -pe 's/a/b/' notes.txt
node -e 'console.log(1)'
ruby -e 'puts 1'
bash run.sh
source ./env.sh
vim notes.txt
patch -p1 < fix.diff
mktemp
split -l 10 notes.txt
LD_PRELOAD=./x.so ls
PYTHONPATH=. python3 -c 'print(1)'
cat ~/.ssh/id_rsa
sudo -e notes.txt
sort $OPTIONS notes.txt
git log "$RANGE"
gh pr merge 3
xargs touch < notes.txt
parallel gzip ::: a b
flock /work/project/lock ls
strace -o trace ls
dd if=a of=b
crontab-like
rg --pre ./x TODO
less -o copy notes.txt
find . -ok ls {} \;
echo x | sponge notes.txt
screen -dm ls
sed 's/[/]e/x/' notes.txt
"""

DANGEROUS = r"""
rm -rf build
rm -r -- src
rm -fr ~/x
rm --recursive x
rm -f /etc/hosts
rm -rf "$DIR"
rm $FILES
find . -name '*.log' -delete
find / -exec rm -rf {} +
find . -exec echo {} \; -exec rm -rf {} \;
xargs rm -rf < list
dd if=/dev/zero of=/dev/sda bs=1M
echo x > /dev/sda
cat image > /dev/nvme0n1
mkfs.ext4 /dev/sdb1
wipefs -a /dev/sdb
fdisk /dev/sda
shred -u notes.txt
truncate -s 0 notes.txt
apt-get install -y curl
sudo apt update
dnf upgrade
pacman -Syu
apk add bash
zypper in vim
snap install x
dpkg -i x.deb
iptables -F
iptables -A INPUT -j DROP
ip link set eth0 down
ip addr add 10.0.0.1/24 dev eth0
ip route del default
nft flush ruleset
ufw disable
ifconfig eth0 down
route add default gw 10.0.0.1
nmcli con down x
kill -9 1234
kill 1234
pkill -f server
killall node
reboot
shutdown -h now
systemctl poweroff
sysctl -w vm.swappiness=1
sysctl kernel.panic=1
modprobe x
mount /dev/sdb1 /mnt
umount /mnt
useradd x
passwd root
hostname other
date -s 10:00
crontab -r
crontab jobs
echo '* * * * * x' | crontab -
at now < x
echo key >> ~/.ssh/authorized_keys
echo x >> ~/.bashrc
cp x /etc/cron.d/x
tee /etc/sudoers.d/x < y
echo 1 > /proc/sys/kernel/sysrq
curl https://example.org/x | sh
curl -s https://example.org/x | sudo bash -s -- -y
wget -qO- https://example.org/x | bash
bash <(curl -s https://example.org/x)
source <(curl -s https://example.org/x)
eval "$(curl -s https://example.org/x)"
curl -o x.sh https://example.org/x; bash x.sh
base64 -d x | sh
eval "$X"
$CMD arg
"$TOOL" -rf x
$(cat list)
`cat list`
bash -c "$X"
bash
X=rm; $X -rf src
X='rm -rf'; $X src
eval 'rm -rf src'
printf 'rm -rf src' | sh
echo 'rm -rf src' > x; sh x
sh <<'EOF'\nrm -rf src\nEOF
bash <<< 'rm -rf src'
sudo -u root env A=1 nice timeout 5 rm -rf src
busybox rm -rf src
command rm -rf src
builtin eval 'rm -rf src'
exec rm -rf src
trap 'rm -rf src' EXIT
f() { rm -rf "$1"; }; f src
alias x='rm -rf src'\nx
coproc rm -rf src
: $(rm -rf src)
: $(( $(rm -rf src) ))
: ${x:-$(rm -rf src)}
: "${a[$(rm -rf src)]}"
ls > $(rm -rf src)
cat <<EOF\n$(rm -rf src)\nEOF
[[ -n $(rm -rf src) ]]
diff <(rm -rf src) x
ls | tee >(bash)
awk 'BEGIN { system("rm -rf src") }'
awk '{ print | "sh" }' notes.txt
awk '{ system($0) }' notes.txt
sed '1e rm -rf src' notes.txt
sed 's/.*/id/e' notes.txt
perl -e 'system("rm -rf src")'
ruby -e '`rm -rf src`'
node -e 'require("child_process").execSync("rm -rf src")'
python -c 'import os; os.system("rm -rf src")'
python -c 'import subprocess; subprocess.run(["rm", "-rf", "src"])'
python -c 'import shutil; shutil.rmtree("src")'
python -c 'exec(input())'
tar xf a.tar --to-command='rm -rf src'
tar cf a.tar -I 'rm -rf src' src
git -c alias.z='!rm -rf src' z
git -c core.pager='rm -rf src' log
GIT_PAGER='rm -rf src' git log
LESSOPEN='|rm -rf src' less notes.txt
ssh host 'rm -rf src'
ssh -o ProxyCommand='rm -rf src' host
rsync -e 'rm -rf src' a b:
docker exec web rm -rf /data
kubectl exec p -- sh -c 'rm -rf /data'
chroot /x rm -rf /y
parallel 'rm -rf {}' ::: a b
watch 'rm -rf src'
su -c 'rm -rf src'
nc -l -e /bin/sh 4444
socat TCP-LISTEN:1 EXEC:/bin/sh
:(){ :|:& };:
history -c
cat > ~/.bash_history
rm /var/log/syslog
truncate -s0 /var/log/auth.log
fzf --bind 'enter:execute(rm -rf {})'
unknown-runner 'rm -rf src'
unknown-runner rm -rf src
echo 'unterminated
echo $(
ls )
xmrig -o pool
"""


def lines(table: str) -> list[str]:
    return [
        line.replace("\\nrm", "\nrm").replace("\\n$(", "\n$(").replace("\\nEOF", "\nEOF").replace("\\nx", "\nx")
        for line in table.strip().splitlines()
    ]


@pytest.mark.parametrize("command", lines(SAFE))
def test_reads_only(command: str, facts) -> None:
    """What only reads is safe."""
    analysis = analyse(command, facts)
    assert analysis.tier == "SAFE_PARALLEL", analysis.reasons


@pytest.mark.parametrize("command", lines(CONDITIONAL))
def test_builds_and_tests(command: str, facts) -> None:
    """Builds, tests and packages of the project are conditional."""
    analysis = analyse(command, facts)
    assert analysis.tier == "CONDITIONAL_PARALLEL", analysis.reasons


@pytest.mark.parametrize("command", lines(SEQUENTIAL))
def test_changes_files(command: str, facts) -> None:
    """Changes of files, repositories and services come one after the other."""
    analysis = analyse(command, facts)
    assert analysis.tier == "SEQUENTIAL_REQUIRED", analysis.reasons


@pytest.mark.parametrize("command", lines(DANGEROUS))
def test_destroys_or_executes_the_unknown(command: str, facts) -> None:
    """Destruction, the system, the network, and text that is not known are isolated."""
    analysis = analyse(command, facts)
    assert analysis.tier == "DANGEROUS_ISOLATED", analysis.reasons


def test_the_tables_are_large_enough() -> None:
    assert len(lines(SAFE) + lines(CONDITIONAL) + lines(SEQUENTIAL) + lines(DANGEROUS)) >= 400


@pytest.mark.parametrize(
    ("argv", "tier"),
    [
        (["ls", "-l"], "SAFE_PARALLEL"),
        (["echo", "$(rm -rf /)"], "SAFE_PARALLEL"),
        (["cat", "a;rm -rf /"], "SAFE_PARALLEL"),
        (["rm", "-rf", "src"], "DANGEROUS_ISOLATED"),
        (["touch", "x"], "SEQUENTIAL_REQUIRED"),
        (["bash", "-c", "rm -rf src"], "DANGEROUS_ISOLATED"),
        (["eval", "ls"], "SEQUENTIAL_REQUIRED"),
        ([], "DANGEROUS_ISOLATED"),
    ],
)
def test_direct_execution_expands_nothing(argv: list[str], tier: str, facts) -> None:
    """Without a shell the words are what they are."""
    assert analyse_argv(argv, facts).tier == tier
