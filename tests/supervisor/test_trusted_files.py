"""Who could put something else in the place of what the supervisor believes."""

import os

import pytest

from cbx_sandbox.errors import CbxError
from cbx_supervisor.trusted_files import check_way

pytestmark = pytest.mark.root  # about what is root's


@pytest.fixture
def way(tmp_path):
    """A directory two below one of root's, and what is to be there."""
    place = tmp_path / "above/below/place"
    place.parent.mkdir(parents=True)
    return place


def refused(path, **options):
    with pytest.raises(CbxError, match="others than root can write to") as error:
        check_way(str(path), **options)
    return error.value


def test_a_way_of_root_s_own_is_fine(way):
    """Whether its end is there or not, also below a sticky directory of all: the controls of the rest."""
    check_way(str(way))
    check_way(str(way / "missing/deep"))
    way.mkdir()
    way.parent.chmod(0o1777)
    check_way(str(way))


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o722])
def test_a_directory_that_others_can_write_is_not(way, depth, mode):
    """However far above, and as the hint says it can be mended."""
    way.parents[depth].chmod(mode)
    assert str(way.parents[depth]) in (refused(way).hint or "")
    way.parents[depth].chmod(0o755)
    check_way(str(way))


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_somebody_else_s_directory_is_not(way, mode):
    """Its owner renames what is in it, sticky or not; of programs that is the caller's business."""
    os.chown(way.parent, 65534, 65534)
    way.parent.chmod(mode)
    refused(way)
    check_way(str(way), owners=False)
    way.parent.chmod(0o777)
    refused(way, owners=False)


def test_where_a_symlink_leads_counts_too(way, tmp_path):
    """And where it lies."""
    other = tmp_path / "open/target"
    other.mkdir(parents=True)
    way.symlink_to(other)
    check_way(str(way))
    other.parent.chmod(0o777)
    refused(way)
    other.parent.chmod(0o755)
    way.parent.chmod(0o777)
    refused(way)


def test_each_step_of_a_chain_of_symlinks_counts(way, tmp_path):
    """Who could change the second one leads elsewhere, however safe the first and the last directory are."""
    middle, last = tmp_path / "middle/inner", tmp_path / "last/place"
    middle.mkdir(parents=True)
    last.mkdir(parents=True)
    way.symlink_to(middle / "link")
    (middle / "link").symlink_to("../../last/place")
    check_way(str(way))
    for open_to_all in (middle, middle.parent, last.parent):
        open_to_all.chmod(0o777)
        assert str(open_to_all) in (refused(way).hint or "")
        assert str(open_to_all) in (refused(way / "deeper").hint or "")
        open_to_all.chmod(0o755)
    check_way(str(way))


def test_a_directory_that_a_way_only_goes_back_from_counts(way, tmp_path):
    """As the kernel does, it looks for ".." where a symlink led."""
    aside = tmp_path / "aside/inner"
    aside.mkdir(parents=True)
    (tmp_path / "link").symlink_to(aside)
    back = f"{tmp_path}/link/../place"
    check_way(back)
    aside.parent.chmod(0o777)
    refused(back)


def test_symlinks_that_lead_in_a_circle_are_refused(way):
    """As the kernel does; one that leads nowhere, the control, is what is not there yet."""
    way.symlink_to("nowhere")
    check_way(str(way))
    way.unlink()
    way.symlink_to(way)
    with pytest.raises(CbxError, match="in a circle"):
        check_way(str(way))


def test_somebody_else_s_symlink_is_not(way, tmp_path):
    """Its owner points it elsewhere, also where it lies in a sticky directory; root's own there is fine."""
    target = tmp_path / "target"
    (target / "deeper").mkdir(parents=True)
    way.parent.chmod(0o1777)
    way.symlink_to(target)
    check_way(str(way / "deeper"))
    os.chown(way, 65534, 65534, follow_symlinks=False)
    for path in (way, way / "deeper"):
        with pytest.raises(CbxError, match="others than root can change the symlink") as error:
            check_way(str(path))
        assert f"chown -h root {way}" in (error.value.hint or "")
    check_way(str(way / "deeper"), owners=False)
