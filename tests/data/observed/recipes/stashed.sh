# One change put aside.
printf 'put aside\n' >> README.md
git stash -q
