from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from axolotl_env.errors import BadInputError
from axolotl_env.release import load_release
from axolotl_env.training.schema import from_wheel, known_releases, load

SOURCES = {
    "axolotl/utils/schemas/config.py": """
class Base(BaseModel):
    seed: int | None = None

class AxolotlInputConfig(Base, Old):
    inner: list[Part | Other] | None = None
    free: Part | dict | None = None

class AxolotlConfigWCapabilities(AxolotlInputConfig):
    @model_validator(mode="before")
    def migrate(cls, data):
        data["new"] = data.pop("older")
        del data["oldest"]
""",
    "axolotl/utils/schemas/parts.py": """
class Old(BaseModel):
    type_of_model: str | None = Field(default=None, alias="model_type")

class Part(BaseModel):
    path: str

class Other(Part):
    name: str
""",
    "axolotl/integrations/kd/args.py": """
class KDArgs(BaseModel):
    kd_alpha: float | None = None
""",
    "axolotl/train.py": "class NotASchema(BaseModel):\n    nothing: int\n",
}


def test_keys_are_read_from_the_source_in_a_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "axolotl-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, source in SOURCES.items():
            archive.writestr(name, source)
    keys = from_wheel(wheel)
    assert keys.release == "1.2.3"
    assert keys.top == {"seed", "inner", "free", "type_of_model", "model_type", "older", "oldest"}
    assert keys.nested == {"inner": {"path", "name"}}
    assert keys.plugins == {"axolotl.integrations.kd": {"kd_alpha"}}


def test_what_is_no_wheel_of_axolotl_is_refused(tmp_path: Path) -> None:
    (tmp_path / "axolotl-1.0-x.whl").write_text("no")
    with zipfile.ZipFile(tmp_path / "axolotl-2.0-x.whl", "w") as archive:
        archive.writestr("axolotl/utils/schemas/config.py", "x = 1")
    for name in ("axolotl-1.0-x.whl", "axolotl-2.0-x.whl", "none.whl"):
        with pytest.raises(BadInputError):
            from_wheel(tmp_path / name)


def test_the_pinned_release_has_its_list() -> None:
    assert load_release().version in known_releases()
    keys = load(load_release().version)
    assert {"base_model", "model_type", "sequence_len", "deepspeed"} <= keys.top
    assert {"path", "field_messages"} <= keys.nested["datasets"]
