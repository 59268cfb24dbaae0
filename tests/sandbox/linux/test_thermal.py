"""What is read of a host's heat, off a directory that looks like its /sys; and a host that shows nothing."""

import pytest

from cbx_sandbox.linux import thermal


@pytest.fixture
def sys(tmp_path):
    """Write files of a /sys; returns where it is."""

    def write(**files):
        for path, text in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return str(tmp_path)

    return write


def test_sensors_with_their_trip_points(sys):
    """The lowest of each kind; those that mean nothing, and zones that cannot be read now, are left out."""
    zone, other = "class/thermal/thermal_zone0", "class/thermal/thermal_zone1"
    where = sys(**{
        f"{zone}/type": "x86_pkg_temp\n", f"{zone}/temp": "54000\n",
        f"{zone}/trip_point_0_type": "passive\n", f"{zone}/trip_point_0_temp": "95000\n",
        f"{zone}/trip_point_1_type": "passive\n", f"{zone}/trip_point_1_temp": "90000\n",
        f"{zone}/trip_point_2_type": "passive\n", f"{zone}/trip_point_2_temp": "0\n",
        f"{zone}/trip_point_3_type": "critical\n", f"{zone}/trip_point_3_temp": "105000\n",
        f"{other}/type": "iwlwifi\n", f"{other}/temp": "N/A\n",
    })  # fmt: skip
    assert thermal.sensors(where) == [("x86_pkg_temp", 54000, {"passive": 90000, "critical": 105000})]


def test_counters_frequencies_and_power(sys):
    """Sums, the slowest, and whether any mains is connected."""
    cpu, policy, supply = "devices/system/cpu/cpu{}", "devices/system/cpu/cpufreq/policy{}", "class/power_supply/{}"
    files = {
        f"{cpu.format(n)}/thermal_throttle/{kind}_throttle_count": "3\n" for n in (0, 1) for kind in ("core", "package")
    }
    files |= {f"{policy.format(n)}/cpuinfo_max_freq": "4000000\n" for n in (0, 1)}
    files |= {f"{policy.format(n)}/scaling_max_freq": f"{(4 - n) * 1000000}\n" for n in (0, 1)}
    files |= {f"{supply.format('AC')}/type": "Mains\n", f"{supply.format('AC')}/online": "0\n"}
    files |= {f"{supply.format('BAT0')}/type": "Battery\n"}
    where = sys(**files)
    assert thermal.throttle_count(where) == 12
    assert thermal.frequency_allowed(where) == 0.75
    assert thermal.on_battery(where) is True


def test_a_host_that_shows_nothing(tmp_path):
    """Nothing is made up."""
    assert thermal.sensors(str(tmp_path)) == []
    found = (
        thermal.throttle_count(str(tmp_path)),
        thermal.frequency_allowed(str(tmp_path)),
        thermal.on_battery(str(tmp_path)),
    )
    assert found == (None, None, None)
