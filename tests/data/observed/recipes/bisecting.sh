# A bisection between the first commit and the last.
git bisect start -q HEAD v0.1 > out/bisect.txt 2>&1
