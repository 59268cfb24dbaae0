# A rebase that stopped at a conflict.
git checkout -q clash
git rebase main > out/rebase.txt 2>&1 || true
