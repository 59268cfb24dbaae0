"""Holds one job: cgroup, namespaces, mounts, privileges, init."""
