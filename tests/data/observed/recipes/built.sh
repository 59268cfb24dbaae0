# make and the tests have run.
make -s all
python3 -m compileall -q src
mkdir -p node_modules/.bin
