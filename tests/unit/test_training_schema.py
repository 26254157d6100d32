from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from axolotl_env.errors import BadInputError
from axolotl_env.release import load_release
from axolotl_env.training.extraction import from_wheels
from axolotl_env.training.kinds import describe, fits, words
from axolotl_env.training.schema import known_releases, load

SOURCES = {
    "axolotl/utils/schemas/config.py": """
class Base(BaseModel):
    needed: str = Field(json_schema_extra={})
    given: str
    seed: int | None = None
    rate: Optional[float] = Field(default=None, ge=0.0)
    bf16: Literal["auto"] | bool | None = "auto"
    rl: Kind | None = None
    dtype: Odd | None = None
    image: str | None = None
    plain: "Union[str, Literal['a']]" = None

    @field_validator("image", mode="before")
    @classmethod
    def change(cls, value):
        return str(value)

    @field_validator("seed", mode="before")
    @classmethod
    def look(cls, value):
        return value

class AxolotlInputConfig(Base, Old):
    inner: Annotated[list[Part | Other], MinLen(1)] | None = None
    free: Part | dict | None = None
    template: Annotated[str, StringConstraints(pattern="^x_")] | Kind = None
    eager_attention: bool | None = None
    given: str = "x"

class AxolotlConfigWCapabilities(AxolotlInputConfig):
    capabilities: Part

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
    name: PositiveInt
""",
    "axolotl/utils/schemas/enums.py": """
class Kind(str, Enum):
    DPO = "dpo"
    KTO = "kto"

class Odd(Enum):
    one = torch.int4

CANONICAL_ATTN_IMPLS = frozenset({"sdpa", "eager"})
ATTN_IMPLS_SUPPORTING_PACKING = frozenset({"org/kernel"})
LEGACY_ATTN_FLAG_TO_IMPL = {"eager_attention": "eager"}
""",
    "axolotl/integrations/kd/args.py": """
class KDArgs(BaseModel):
    kd_alpha: float | None = None
""",
    "axolotl/utils/schemas/peft.py": """
class Lora(BaseModel):
    @model_validator(mode="before")
    def validate_adapter(cls, data):
        adapter = data.get("adapter")
        if adapter and adapter not in ("lora", "qlora"):
            raise ValueError
""",
    "axolotl/integrations/mora/plugin.py": "x = AdapterCapabilities(name='mora', lora_like=True)\n",
    "axolotl/core/builders/base.py": "if self.cfg.lr_scheduler in ['rex']:\n    pass\n",
    "axolotl/prompt_strategies/chat.py": "def load(): ...\ndef load_many(): ...\ndef other(): ...\n",
    "axolotl/prompt_strategies/sub/__init__.py": "load = partial(f)\n",
    "axolotl/prompt_strategies/base.py": "def load(): ...\n",
    "axolotl/utils/data/wrappers.py": "DATASET_HANDLERS = {'alpaca': f}\n",
    "axolotl/train.py": "class NotASchema(BaseModel):\n    nothing: int\n",
}


TRANSFORMERS = {
    "transformers/training_args.py": "class OptimizerNames(ExplicitEnum):\n    SGD = 'sgd'\n    ADAM = 'adam'\n",
    "transformers/trainer_utils.py": "class SchedulerType(ExplicitEnum):\n    COSINE = 'cosine'\n",
    "transformers/models.py": "class SaveStrategy(ExplicitEnum):\n    NO = 'elsewhere'\n",
}


def wheel_of(path: Path, sources: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in sources.items():
            archive.writestr(name, source)
    return path


def test_keys_and_what_they_take_are_read_from_the_source_in_a_wheel(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path / "axolotl-1.2.3-py3-none-any.whl", SOURCES)
    keys = from_wheels(wheel, wheel_of(tmp_path / "transformers.whl", TRANSFORMERS))
    assert keys.release == "1.2.3"
    assert keys.top == {
        "bf16": "Literal['auto'] | bool | None",
        "capabilities": "Any",  # axolotl sets it
        "dtype": "Any",  # members that are no words
        "eager_attention": "Any",  # removed before it is looked at
        "free": "dict | None",
        "given": "str",
        "image": "Any",  # changed before it is looked at
        "inner": "Annotated[list[dict], MinLen(1)] | None",
        "model_type": "str | None",
        "needed": "str",
        "older": "Any",
        "oldest": "Any",
        "plain": "str",
        "rate": "Annotated[float | None, Ge(0.0)]",
        "rl": "Literal['dpo', 'kto'] | None",
        "seed": "int | None",
        "template": "Annotated[str, Pattern('^x_')] | Literal['dpo', 'kto']",
        "type_of_model": "str | None",
    }
    assert keys.inside == {
        "capabilities": ({"path": "str"},),
        "inner": ({"path": "str"}, {"name": "Annotated[int, Gt(0)]", "path": "str"}),
    }
    assert keys.required == ("needed",)
    assert keys.nested["inner"] == {"path", "name"}
    assert keys.plugins == {"axolotl.integrations.kd": {"kd_alpha": "float | None"}}
    assert (keys.attention, keys.packing) == (("eager", "sdpa"), ("org/kernel",))
    assert keys.choices == {
        "adapter": ("lora", "mora", "qlora"),
        "datasets.type": ("alpaca", "alpaca:*", "chat", "chat.load", "chat.load_many", "sub", "sub.load"),
        "lr_scheduler": ("cosine", "rex"),
        "optimizer": ("adam", "sgd"),
    }


def test_what_is_no_wheel_of_axolotl_is_refused(tmp_path: Path) -> None:
    (tmp_path / "axolotl-1.0-x.whl").write_text("no")
    with zipfile.ZipFile(tmp_path / "axolotl-2.0-x.whl", "w") as archive:
        archive.writestr("axolotl/utils/schemas/config.py", "x = 1")
    transformers = wheel_of(tmp_path / "transformers.whl", TRANSFORMERS)
    for name in ("axolotl-1.0-x.whl", "axolotl-2.0-x.whl", "none.whl"):
        with pytest.raises(BadInputError):
            from_wheels(tmp_path / name, transformers)
    wheel = wheel_of(tmp_path / "axolotl-1.2.3-py3-none-any.whl", SOURCES)
    with pytest.raises(BadInputError):
        from_wheels(wheel, tmp_path / "axolotl-1.0-x.whl")


def test_the_pinned_release_has_its_list() -> None:
    assert load_release().version in known_releases()
    keys = load(load_release().version)
    assert {"base_model", "model_type", "sequence_len", "deepspeed"} <= keys.top.keys()
    assert {"path", "field_messages"} <= keys.nested["datasets"]


@pytest.mark.parametrize("release", known_releases())
def test_every_list_has_the_words_that_the_schema_leaves_open(release: str) -> None:
    words = load(release).choices
    assert {"adamw_torch_fused", "muon"} <= {*words["optimizer"]}
    assert {"cosine", "rex"} <= {*words["lr_scheduler"]}
    assert {*words["adapter"]} >= {"lora", "qlora"}
    assert ({*words["save_strategy"]}, {*words["eval_strategy"]}) == (
        {"no", "steps", "epoch", "best"}, {"no", "steps", "epoch"},
    )  # fmt: skip
    assert {"chat_template", "completion", "alpaca", "alpaca:*", "context_qa.load_v2"} <= {*words["datasets.type"]}


@pytest.mark.parametrize("release", known_releases())
def test_every_kind_in_the_lists_is_one_that_can_be_judged_and_described(release: str) -> None:
    keys = load(release)
    shapes = [keys.top, *keys.plugins.values(), *(shape for shapes in keys.inside.values() for shape in shapes)]
    for kind in {kind for shape in shapes for kind in shape.values()} - {"Any"}:
        assert not fits(kind, object())
        assert describe(kind)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("int | None", (1, "8", 8.0, True, None), ("banana", 8.5, "1e9", [1])),
        ("float | None", (1, "5e-6", 1e9, "1e9"), ("fast", [])),
        ("bool | None", (True, "true", "yes", 1), ("maybe", 7)),
        ("Literal['offload', 'offload_disk'] | bool | None", ("offload", False), (7, "offlod")),
        ("Annotated[int, Ge(1)]", (1,), (0, None)),
        ("Annotated[str, Pattern('^x_')]", ("x_y",), ("y",)),
        ("Annotated[list[dict], MinLen(1)] | None", ([{}], None), ([], "x", [1])),
        ("dict[int | Literal['cpu'], int | str] | None", ({"cpu": 1, 0: "x"},), ({"gpu": 1},)),
        ("list[tuple[int, int]]", ([[1, 2]],), ([[1]],)),
    ],
)
def test_a_value_is_judged_as_pydantic_judges_it(
    kind: str, right: tuple[object, ...], wrong: tuple[object, ...]
) -> None:
    assert all(fits(kind, value) for value in right)
    assert not any(fits(kind, value) for value in wrong)


def test_a_kind_is_described_in_words() -> None:
    assert describe("Literal['offload'] | bool | None") == "offload, or true or false"
    assert describe("Annotated[list[dict], MinLen(1)] | dict[str, Any]") == "a list of at least 1, or a mapping"
    assert describe("Literal['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j']").endswith("h, or 2 more words")
    assert {*words("Literal['a'] | int | Literal['b', 1]")} == {"a", "b"}
