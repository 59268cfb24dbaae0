#!/bin/bash
# build.sh FOLDER: FOLDER/{sources.list,wheels/,requirements.txt} -> FOLDER/{base.qcow2,vmlinuz,initrd}
# A Debian 12 userland with the kernel from its backports: the kernels that matter to the sandbox are newer than 6.1.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
folder=$1
root=$folder/root
cd "$folder"
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

packages=$(sed 's/#.*//' "$here/packages.txt" | tr -s ' \n' ',,' | sed 's/^,//; s/,$//')

# The boot loader of a direct kernel boot is QEMU, so an initrd with two drivers is all that is needed to find the root.
mmdebstrap --quiet --variant=minbase --mode=root \
  --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --include="$packages,linux-image-cloud-amd64/bookworm-backports" \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
  --essential-hook='printf "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n" >"$1/etc/initramfs-tools/conf.d/cbx"' \
  --essential-hook='printf "virtio_pci\nvirtio_blk\next4\n" >"$1/etc/initramfs-tools/modules"' \
  bookworm "$root" - <sources.list

# The root's device is vda or nvme0n1, which the kernel's command line says.
: >"$root/etc/fstab"
echo cbx-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost cbx-vm\n::1 localhost\n' >"$root/etc/hosts"
# A resolver that is not there must fail at once: sudo asks it for its own host's name.
rm -f "$root/etc/resolv.conf"
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >"$root/etc/resolv.conf"
printf '[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n' \
  >"$root/etc/systemd/network/80-dhcp.network"
printf 'overlay\nloop\nxfs\nnf_tables\nvirtiofs\n' >"$root/etc/modules-load.d/cbx.conf"

install -D -m755 "$here/agent.py" "$root/usr/local/lib/cbx-agent.py"
install -D -m644 "$here/cbx-agent.service" "$root/etc/systemd/system/cbx-agent.service"
printf 'SUBSYSTEM=="virtio-ports", ATTR{name}=="cbx.agent", TAG+="systemd", ENV{SYSTEMD_WANTS}+="cbx-agent.service"\n' \
  >"$root/etc/udev/rules.d/70-cbx-agent.rules"

# A second file system: loop-mounted xfs, so there is a submount with another device number, and one with reflinks.
install -D -m644 "$here/srv.mount" "$root/etc/systemd/system/srv.mount"
truncate -s 512M "$root/var/lib/srv.img"
chroot "$root" mkfs.xfs -q -f /var/lib/srv.img

chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 builder
printf 'builder ALL=(ALL) NOPASSWD:ALL\n' >"$root/etc/sudoers.d/builder"
chmod 440 "$root/etc/sudoers.d/builder"

chroot "$root" systemctl --quiet enable systemd-networkd.service srv.mount
# What would run by itself in the middle of a test, and what only makes the boot longer.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer dpkg-db-backup.timer xfs_scrub_all.timer systemd-timesyncd.service systemd-networkd-wait-online.service \
  getty@tty1.service modprobe@efi_pstore.service modprobe@drm.service systemd-pstore.service systemd-binfmt.service \
  proc-sys-fs-binfmt_misc.automount

# Unpacking .ko.xz takes software emulation half of the boot.
kernel=$(ls "$root/lib/modules")
find "$root/lib/modules" -name '*.ko.xz' -print0 | xargs -0 -r -P2 -n50 unxz
chroot "$root" depmod -a "$kernel"
chroot "$root" update-initramfs -u >/dev/null

cp -r wheels "$root/opt/wheels"
cp requirements.txt "$root/opt/requirements.txt"
chroot "$root" python3 -m venv /opt/venv
chroot "$root" /opt/venv/bin/python -m pip install -q --disable-pip-version-check --no-index \
  --find-links /opt/wheels -r /opt/requirements.txt
rm -r "$root/opt/wheels" "$root/opt/requirements.txt"

cp "$root"/boot/vmlinuz-* vmlinuz
cp "$root"/boot/initrd.img-* initrd
truncate -s 10G disk.img
mkfs.ext4 -q -F -L cbx-root -E lazy_itable_init=1,lazy_journal_init=1 -O ^metadata_csum_seed -d "$root" disk.img
qemu-img convert -f raw -O qcow2 disk.img base.qcow2
rm -rf disk.img "$root" wheels
