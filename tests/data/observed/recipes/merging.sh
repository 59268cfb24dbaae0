# A merge that stopped at a conflict.
git merge clash > out/merge.txt 2>&1 || true
