"""Guests driven from the host: what tests on power cuts and chaos build on."""

import pytest
from tests.vm.agent_client import GuestLost
from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]


def test_commands_files_and_folders_go_in_and_out(make_guest, tmp_path):
    with make_guest() as guest:
        assert guest.run("echo out; echo err >&2; exit 7") == (7, "out\nerr\n")
        assert guest.run(["printf", "%s", "a b"]) == (0, "a b")
        assert guest.run("sleep 600", timeout=1) == (124, "")
        assert guest.run("sleep 600 & echo left") == (0, "left\n")
        data = bytes(range(256)) * 2000
        guest.put(data, "/root/data", mode=0o600)
        assert guest.get("/root/data") == data
        (tmp_path / "file").write_text("shared\n")
        guest.share(tmp_path, "/mnt/shared", tag="shared", writable=True)
        assert guest.run("cat /mnt/shared/file; echo back > /mnt/shared/answer")[1] == "shared\n"
        assert (tmp_path / "answer").read_text() == "back\n"


def test_restored_guests_know_the_time_and_differ_in_randomness(make_guest):
    with make_guest() as one, make_guest() as other:
        command = "date +%s; head -c 16 /dev/urandom | base64"
        (_, here), (_, there) = one.run(command), other.run(command)
    assert abs(int(here.split()[0]) - int(there.split()[0])) < 60
    assert here.split()[1] != there.split()[1]


def test_power_cut_keeps_what_was_synced_and_loses_the_rest(make_guest):
    with make_guest(machine=Machine(bus="nvme", cache="none")) as guest:
        # Nothing is written by itself, however long this takes.
        assert guest.run("mount -o remount,commit=3600 / && echo 0 > /proc/sys/vm/dirty_writeback_centisecs")[0] == 0
        guest.run("cd /root; echo kept > synced; sync; echo lost > written")
        boot = guest.run("cat /proc/sys/kernel/random/boot_id")
        guest.kill()
        with pytest.raises(GuestLost):
            guest.run("true")
        guest.start()
        assert guest.run("cat /root/synced; cat /root/written 2>/dev/null")[1] == "kept\n"
        assert guest.run("cat /proc/sys/kernel/random/boot_id") != boot
