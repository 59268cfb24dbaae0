# The project with work under way: a change, a staged change, a new file and a deleted one.
printf 'changed = 1\n' >> src/util.py
printf 'staged\n' >> docs/index.txt
git add docs/index.txt
printf 'untracked\n' > new.txt
mkdir extra
printf 'also\n' > extra/more.txt
rm docs/-dash.txt
