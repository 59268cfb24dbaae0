"""Settings: the schema's defaults, where values come from, and how a mistake is answered."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from cbx_sandbox.errors import CbxError
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.settings import Settings
from cbx_supervisor.settings_sources import load, reference

APPENDIX_E = {
    "instances": {
        "safe_parallel_max": 16, "conditional_parallel_max": 8, "sequential_max": 4, "dangerous_isolated_max": 2,
        "total_capacity_max": 30,
    },
    "resources": {
        "memory_per_instance_mb": 512, "cpu_cores_per_instance": 0.5, "io_bandwidth_mbps": 100,
        "network_connections_max": 50, "file_descriptors_max": 1024,
    },
    "timeouts": {
        "command_timeout_seconds": 300, "lock_acquisition_timeout_seconds": 30, "health_check_interval_seconds": 10,
        "cleanup_timeout_seconds": 60, "recovery_timeout_seconds": 120,
    },
    "thresholds": {
        "cpu_utilization_warning": 0.80, "memory_utilization_warning": 0.85, "error_rate_warning": 0.05,
        "latency_p95_warning_ms": 1000, "queue_depth_warning": 100,
    },
}  # fmt: skip


@pytest.fixture
def etc(tmp_path):
    os.chmod(tmp_path, 0o700)
    (tmp_path / "conf.d").mkdir()
    return tmp_path


def write(path, text):
    path.write_text(text)
    path.chmod(0o644)


@pytest.mark.parametrize(("section", "key"), [(s, k) for s, keys in APPENDIX_E.items() for k in keys])
def test_the_specified_parameters_have_the_specified_defaults(section, key):
    """Each one of the specification's appendix."""
    assert getattr(getattr(Settings(), section), key) == APPENDIX_E[section][key]


def test_limits_of_a_job_come_from_them():
    """In the units of the policy."""
    limits = Settings().limits(Tier.SAFE_PARALLEL)
    assert (limits.memory, limits.cpus, limits.pids, limits.timeout) == (512 << 20, 0.5, 512, 300.0)
    assert (limits.io_bytes_per_second, limits.nofile) == (100_000_000, 1024)


def test_later_sources_win(etc):
    """File, drop-ins by name, environment."""
    write(etc / "cbx.toml", "[instances]\ntotal_capacity_max = 1\nsequential_max = 1\nsafe_parallel_max = 1\n")
    write(etc / "conf.d/20.toml", "[instances]\ntotal_capacity_max = 3\n")
    write(etc / "conf.d/10.toml", "[instances]\ntotal_capacity_max = 2\nsequential_max = 2\n")
    settings = load(str(etc), {"CBX_INSTANCES_TOTAL_CAPACITY_MAX": "4", "CBX_SANDBOX_HIDE": "/a, /b"})
    assert (settings.instances.total_capacity_max, settings.instances.sequential_max) == (4, 2)
    assert (settings.instances.safe_parallel_max, settings.sandbox.hide) == (1, ("/a", "/b"))


def test_a_tier_has_its_own_limits(etc):
    """What is not set there comes from the common section."""
    write(etc / "cbx.toml", "[tiers.dangerous_isolated]\nmemory_per_instance_mb = 64\ncommand_timeout_seconds = 0\n")
    settings = load(str(etc), {"CBX_TIERS_DANGEROUS_ISOLATED_PROCESSES_MAX": "7"})
    limits = settings.limits(Tier.DANGEROUS_ISOLATED)
    assert (limits.memory, limits.pids, limits.timeout, limits.cpus) == (64 << 20, 7, None, 0.5)
    assert settings.limits(Tier.SAFE_PARALLEL).memory == 512 << 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[instances]\nsafe_paralel_max = 3\n", ["cbx.toml", "instances.safe_paralel_max", "safe_parallel_max?"]),
        ("[instance]\n", ["cbx.toml", "instance", "instances?"]),
        ("[instances]\nsafe_parallel_max = 'x'\n", ["cbx.toml", "instances.safe_parallel_max", "int"]),
        ("[instances]\nsafe_parallel_max = 0\n", ["cbx.toml", "instances.safe_parallel_max", ">= 1"]),
        ("[sandbox]\nnetwork = 'wild'\n", ["cbx.toml", "sandbox.network", "wild"]),
        ("[scheduling.resources]\n'a b' = 1\n", ["cbx.toml", "a name in scheduling.resources"]),
        ("[scheduling.resources]\na = 'x'\n", ["cbx.toml", "scheduling.resources", "int"]),
        ("[tiers.safe]\n", ["cbx.toml", "tiers.safe"]),
        ("[instances\n", ["cbx.toml", "not TOML"]),
    ],
)
def test_a_mistake_names_file_key_and_remedy(etc, text, words):
    """So that it can be corrected without reading anything else."""
    write(etc / "cbx.toml", text)
    with pytest.raises(CbxError) as caught:
        load(str(etc), {})
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("variable", "value"), [("CBX_TIMEOUTS_COMAND_TIMEOUT_SECONDS", "1"), ("CBX_INSTANCES_SEQUENTIAL_MAX", "many")]
)
def test_a_mistake_in_the_environment_names_the_variable(etc, variable, value):
    """And what may have been meant."""
    with pytest.raises(CbxError, match=variable) as caught:
        load(str(etc), {variable: value})
    assert caught.value.hint


def test_other_variables_are_not_settings(etc):
    """Those of the client and of tests begin alike."""
    assert load(str(etc), {"CBX_RUNTIME_DIR": "/x", "CBX_VM": "1", "PATH": "/bin"}) == Settings()


def test_a_file_that_others_may_write_is_not_believed(etc):
    """Who writes it decides what jobs may do."""
    write(etc / "cbx.toml", "")
    (etc / "cbx.toml").chmod(0o666)
    with pytest.raises(CbxError, match="cannot trust"):
        load(str(etc), {})


def test_the_reference_is_a_valid_file_with_every_default():
    """Uncommented, it changes nothing."""
    lines = [line.removeprefix("# ") for line in reference().splitlines()]
    plain = [line for line in lines if (line.startswith("[") or " = " in line) and not line.startswith("cbx")]
    values = tomllib.loads("\n".join(plain))
    for section, keys in APPENDIX_E.items():
        assert {key: values[section][key] for key in keys} == keys


def test_the_manual_lists_every_parameter_as_it_is():
    """docs/configuration.md holds the reference word for word."""
    manual = Path(__file__).parents[2].joinpath("docs/configuration.md").read_text(encoding="utf-8")
    assert f"```toml\n{reference().strip()}\n```" in manual
