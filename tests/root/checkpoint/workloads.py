# ruff: noqa: E501  # shell lines are read better whole
"""Shell work whose result must be the same natively and through a layer and a commit."""

SETUP = r"""
mkdir -p d/sub d/deep/er e/f p empty
echo alpha > a; echo beta > b; ln b b2; echo x > d/x; echo y > d/sub/y; echo z > e/f/z; echo q > d/deep/er/q
ln -s a link; ln -s d dirlink; ln -s /nonexistent/target dangling
printf '1\n2\n3\n4\n5\n' > lines; head -c 100000 /dev/urandom > blob; : > none
mkfifo pipe; chmod 640 lines; setfattr -n user.color -v red a; mkdir sgid; chmod 2775 sgid
setfacl -m u:1234:r e; dd if=/dev/null of=sparse bs=1 seek=10M status=none; printf x | dd of=sparse bs=1 seek=5M conv=notrunc status=none
touch -d '2001-02-03 04:05:06.789' a b d/x lines e/f/z p empty d/sub
"""

# Each is run by sh in the tree. Times are only compared where a workload sets them or leaves them alone.
WORKLOADS = {
    "nothing": "cat a >/dev/null; ls -lR >/dev/null; find . >/dev/null",
    "open-for-writing": "exec 3<>a; exec 3>>lines; exec 3>&-",
    "create-and-remove": "echo t > t; mkdir tt; rm t; rmdir tt",
    "add-file": "echo new > new; chmod 604 new",
    "add-tree": "mkdir -p n/m/o; echo 1 > n/1; echo 2 > n/m/2; ln -s ../1 n/m/l; mkfifo n/m/o/f",
    "add-odd-names": r"""n=$(printf 'new\nline'); echo 1 > "$n"; echo 2 > ./-rf; echo 3 > "$(printf 'b\377d')"; echo 4 > ' '; echo 5 > '*'""",
    "add-long-name": "echo 1 > $(printf 'x%.0s' $(seq 255))",
    "append": "echo more >> a",
    "truncate": ": > blob",
    "rewrite": "echo other > lines",
    "rewrite-and-mode": "echo other > lines; chmod 600 lines; touch -d 2002-01-01 lines",
    "sed-in-place": "sed -i s/2/two/ lines",
    "same-bytes-new-time": "touch -d '2003-03-03 03:03:03.5' lines blob",
    "chmod-file": "chmod 755 a; chmod 000 blob",
    "chmod-directory": "chmod 700 d; chmod 000 p",
    "chown": "chown 1000:1001 a; chown -h 7:8 link; chown 9 e",
    "touch-directory": "touch -d '1999-09-09 09:09:09.9' e d/sub",
    "touch-symlink": "touch -h -d '1998-08-08' link",
    "xattrs": "setfattr -x user.color a; setfattr -n user.shape -v round b; setfattr -n user.x -v y d",
    "trusted-xattr": "setfattr -n trusted.mine -v 1 a; setfattr -n trusted.overlay.opaque -v y d; setfattr -n user.overlay.redirect -v /etc a",
    "acl": "setfacl -m u:4321:rw a; setfacl -d -m g:99:rx d; setfacl -b e",
    "capability": "cp /bin/true t; setcap cap_net_raw+ep t",
    "setuid": "cp /bin/true t; chmod 4755 t; chmod 2755 lines",
    "delete-file": "rm a link",
    "delete-hard-link": "rm b2",
    "delete-directory": "rm -r d; rmdir empty",
    "delete-everything": "rm -rf -- * .??*",
    "replace-directory": "rm -r d; mkdir d; echo n > d/n; chmod 711 d",
    "replace-directory-empty": "rm -r d; mkdir d",
    "directory-to-file": "rm -r d; echo f > d",
    "file-to-directory": "rm a; mkdir a; echo i > a/i",
    "file-to-symlink": "rm a; ln -s b a; rm b; ln -s nowhere b",
    "symlink-to-file": "rm link; echo f > link; rm dirlink; mkdir dirlink",
    "symlink-new-target": "ln -sfn e dirlink",
    "fifo-for-file": "rm a; mkfifo a; rm pipe; echo f > pipe",
    "socket": "python3 -c \"import socket; s=socket.socket(socket.AF_UNIX); s.bind('sock')\"",
    "device": "mknod null c 1 3; mknod loop b 7 0",
    "move-file": "mv a e/f/a; mv lines renamed",
    "move-over": "mv a lines",
    "swap-files": "mv a t; mv lines a; mv t lines",
    "move-directory": "mv d moved",
    "move-and-change": "mv d moved; echo n > moved/n; rm moved/x; echo more >> moved/sub/y; chmod 700 moved",
    "move-chain": "mv d t1; mv t1 t2; mv e d; mv t2 e",
    "move-into-new": "mkdir -p n/m; mv d n/m/d; echo i > n/m/d/i; mv n/m/d/sub n/s",
    "move-out-of": "mv d/deep/er out; rm -r d",
    "move-and-make-again": "mv d gone; mkdir d; echo new > d/x; echo c >> gone/x",
    "move-nested": "mv d/sub d/sub2; mv d e/dd; mv e ee",
    "move-over-empty": "mv -T d empty",
    "new-hard-links": "echo n > n1; ln n1 n2; mkdir nd; ln n1 nd/n3; ln a a-link; mkdir k; ln a k/a-too",
    "chmod-hard-link": "chmod 600 b",
    "link-to-linked": "ln b b3; chmod 644 b3",
    "sparse": "printf y | dd of=sparse bs=1 seek=7M conv=notrunc status=none; truncate -s 20M sparse; truncate -s 5G huge",
    "sgid-inheritance": "mkdir sgid/in; echo f > sgid/f",
    "closed-directory": "mkdir -p c/in; echo f > c/in/f; chmod 000 c/in; chmod 500 c",
    "deep": "p=.; for i in $(seq 60); do p=$p/dddddddddddddddddddd; done; mkdir -p $p; echo f > $p/f",
    "many": "mkdir many; for i in $(seq 300); do echo $i > many/$i; done; rm many/1??",
    "tar": "tar cf t.tar d e; rm -r d e; tar xf t.tar; rm t.tar",
    "sqlite": "python3 -c \"import sqlite3; c=sqlite3.connect('db'); c.execute('create table t(a)'); c.execute('insert into t values(1)'); c.commit()\"",
}
