# The remote has a commit that this clone does not have.
git clone -q "$HOME/../remote.git" "$HOME/other"
cd "$HOME/other"
printf 'from elsewhere\n' > docs/elsewhere.txt
git add docs/elsewhere.txt
git -c user.name=B -c user.email=b@example.org commit -q -m elsewhere
git push -q origin main
cd - > out/cd.txt
git reset -q --hard origin/main
