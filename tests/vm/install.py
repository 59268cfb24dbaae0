"""Run in the guest: make its environment see the source tree as an editable install would, without building one.

The tree is mounted read-only and changes from run to run, so it cannot be a part of the image.
"""

import sys
import sysconfig
import tomllib
from pathlib import Path


def main(tree: Path) -> None:
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    packages = Path(sysconfig.get_path("purelib"))
    (packages / "cbx-tree.pth").write_text(f"{tree}/sandbox\n{tree}/supervisor\n")
    info = packages / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    for name, target in project.get("scripts", {}).items():
        module, _, function = target.partition(":")
        script = Path(sysconfig.get_path("scripts"), name)
        call = f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        script.write_text(f"#!{sys.executable}\n{call}")
        _publish(script)
    wheel = tomllib.loads((tree / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, name in wheel.get("shared-scripts", {}).items():
        script = Path(sysconfig.get_path("scripts"), name)
        script.write_bytes((tree / source).read_bytes())
        _publish(script)


def _publish(script: Path) -> None:
    script.chmod(0o755)
    link = Path("/usr/local/bin", script.name)
    link.unlink(missing_ok=True)
    link.symlink_to(script)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
