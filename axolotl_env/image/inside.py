"""Where things lie in every image of ours: docker/Dockerfile puts them there."""

PYTHON = "/opt/axolotl/bin/python"
"""The interpreter that has axolotl; absolute, since the container engine's login shell may reset PATH."""

PROGRAMS = "/opt/axolotl-env/smoke"
"""The smoke test's own programs, docker/smoke."""
