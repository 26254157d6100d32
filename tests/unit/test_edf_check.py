"""check-edf and show-edf: every rule found where it is broken and only there, mended where it says so."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axolotl_env.edf import check_edfs, named, plan_mend, rules, show_edf, write_edf
from axolotl_env.edf.lint import CHECKS
from axolotl_env.errors import BadInputError
from axolotl_env.findings import Finding
from axolotl_env.settings import ROOT, SiteEdf, SiteStorage, load_site
from tests.conftest import Invoke
from tests.unit.edf_helpers import TUTORIAL, planned, squashfs

SITE = load_site("clariden")
ENVIRON = {"HOME": "/users/alice", "SCRATCH": "/s", "USER": "alice"}

HEAD = 'image = "{image}"\nentrypoint = false\n'
AWS = HEAD + '[annotations]\ncom.hooks.aws_ofi_nccl.enabled = "true"\ncom.hooks.cxi.enabled = "true"\n'

# rule, engine, the EDF, line:column of the finding (0: the file as a whole), and what --fix makes of that line.
CASES: list[tuple[str, str, str, str, str | None]] = [
    ("not-toml", "ce", "image = \n", "1:9", None),
    ("empty", "ce", "# nothing yet\n", "0:0", None),
    ("empty", "sarus", "", "0:0", None),
    ("unknown-key", "ce", HEAD + 'mount = ["/a:/b"]\n', "3:1", None),
    ("unknown-key", "sarus", 'image = "u:1"\nentrypoint = false\n[environment]\nA = "1"\n', "3:1", None),
    ("swallowed-key", "ce", HEAD + '[env]\nA = "1"\nworkdir = "/w"\n', "5:1", None),
    ("swallowed-key", "ce", HEAD + '[annotations]\nimage = "/x"\n', "4:1", None),
    ("wrong-type", "ce", HEAD + "[env]\nA = 1\n", "4:1", None),
    ("image-or-base", "sarus", "entrypoint = false\n", "0:0", None),
    ("no-image", "sarus", "base_environment = []\nentrypoint = false\n", "0:0", None),
    ("not-found", "ce", HEAD + 'base_environment = ["/tmp/x", "nope"]\n', "3:31", None),
    ("wrong-suffix", "ce", HEAD + 'base_environment = "/etc/hostname"\n', "3:1", None),
    ("undefined-variable", "ce", HEAD + '[env]\nA = "${{NOPE}}/x"\n', "4:1", None),
    ("bad-variable", "ce", HEAD + '[env]\nA = "${{USER:1}}"\n', "4:1", None),
    ("mount-fields", "ce", HEAD + 'mounts = ["/a:/b", "/a:/b:ro:x"]\n', "3:20", None),
    ("mount-one-path", "ce", HEAD + 'mounts = ["/a"] # b\n', "3:11", 'mounts = ["/a:/a"] # b'),
    ("mount-one-path", "sarus", 'image = "u:1"\nentrypoint = false\nmounts = ["/a"]\n', "3:11", None),
    ("mount-prefix", "ce", HEAD + 'mounts = ["a:/b"]\n', "3:11", None),
    ("mount-flags", "ce", HEAD + 'mounts = ["/a:/b:ro,private"]\n', "3:11", None),
    ("mount-flag-unknown", "ce", HEAD + 'mounts = ["/a:/b:r0+private"]\n', "3:11", None),
    ("sqsh-missing", "sarus", 'image = "u:1"\nentrypoint = false\nmounts = ["/nope:/b:sqsh"]\n', "3:11", None),
    ("sqsh-not-a-file", "sarus", 'image = "u:1"\nentrypoint = false\nmounts = ["/etc:/b:sqsh"]\n', "3:11", None),
    (
        "mount-users", "ce", HEAD + 'mounts = ["/users:/users"]\n',
        "3:11", 'mounts = ["/users/${{USER}}:/users/${{USER}}"]',
    ),
    ("mount-home", "ce", HEAD + 'mounts = ["/users/alice:/users/alice"]\n', "3:11", None),
    ("mount-hides-image", "ce", HEAD + 'mounts = ["/a:/opt"]\n', "3:11", None),
    ("mount-twice", "ce", HEAD + 'mounts = ["/a:/x", "/b:/x/"]\n', "3:20", None),
    (
        "mount-flags-lost", "sarus", 'image = "u:1"\nentrypoint = false\nmounts = ["/a:/b:ro+private"]\n',
        "3:11", 'mounts = ["/a:/b:ro,private"]',
    ),
    ("mount-sqsh", "sarus", 'image = "u:1"\nentrypoint = false\nmounts = ["/etc/hostname:/b:sqsh"]\n', "3:11", None),
    ("relative-path", "ce", HEAD + 'mounts = ["./a:/b"]\n', "3:11", None),
    ("path-space", "ce", HEAD + 'mounts = ["/a b:/b"]\n', "3:11", None),
    ("path-space", "ce", HEAD + 'workdir = "/my work"\n', "3:1", None),
    ("tilde", "ce", HEAD + 'workdir = "~/x"\n', "3:1", 'workdir = "${{HOME}}/x"'),
    ("bare-variable", "ce", HEAD + '[env]\nA = "$USER/x" # y\n', "4:1", 'A = "${{USER}}/x" # y'),
    ("open-variable", "ce", HEAD + '[env]\nA = "${{USER"\n', "4:1", None),
    ("unsafe-value", "ce", HEAD + "[env]\nA = 'x;y'\n", "4:1", None),
    ("secret", "ce", HEAD + '[env]\nWANDB_API_KEY = "x"\n', "4:1", None),
    ("secret", "ce", HEAD + f'[env]\nNOTE = "hf_{"a" * 30}"\n', "4:1", None),
    ("host-variable", "ce", HEAD + '[env]\nMASTER_ADDR = "nid001"\n', "4:1", None),
    ("host-variable", "ce", HEAD + '[env]\nSLURM_JOB_ID = "1"\n', "4:1", None),
    ("dropped-variable", "ce", HEAD + '[env]\nLC_ALL = "C"\n', "4:1", None),
    ("path-variable", "ce", HEAD + '[env]\nPATH = "${{PATH:-}}:/x"\n', "4:1", None),
    ("path-variable", "ce", HEAD + '[env]\nPATH = "/x:${{PATH}}"\n', "4:1", None),
    ("replaced-path", "ce", HEAD + '[env]\nLD_LIBRARY_PATH = "/x"\n', "4:1", None),
    ("devices-undocumented", "ce", HEAD + 'devices = ["nvidia.com/gpu=all"]\n', "3:12", None),
    ("entrypoint-unstated", "ce", 'image = "{image}"\n', "0:0", "entrypoint = false"),
    ("image-missing", "ce", 'image = "/nope/x.sqsh"\nentrypoint = false\n', "1:1", None),
    ("image-not-squashfs", "ce", 'image = "/etc/hostname"\nentrypoint = false\n', "1:1", None),
    ("image-not-squashfs", "ce", 'image = "/etc"\nentrypoint = false\n', "1:1", None),
    ("image-purged", "ce", 'image = "/capstor/scratch/x.sqsh"\nentrypoint = false\n', "1:1", None),
    ("image-file", "sarus", HEAD, "1:1", None),
    ("image-variable", "sarus", 'image = "${{SCRATCH}}/x"\nentrypoint = false\n', "1:1", None),
    ("image-relative", "ce", 'image = "x.sqsh"\nentrypoint = false\n', "1:1", None),
    (
        "image-separator", "sarus", 'image = "nvcr.io#nvidia/pytorch:26.01-py3"\nentrypoint = false\n',
        "1:1", 'image = "nvcr.io/nvidia/pytorch:26.01-py3"',
    ),
    ("image-floating", "ce", 'image = "docker.io/library/debian:latest"\nentrypoint = false\n', "1:1", None),
    ("image-floating", "ce", 'image = "localhost:5000/debian"\nentrypoint = false\n', "1:1", None),
    ("own-network-stack", "ce", AWS.replace("{image}", "x.y/alps-images/ngc:1"), "4:1", None),
    (
        "own-network-stack", "ce", AWS.replace("{image}", "x.y/alps-images/ngc:1"),
        "5:1", 'com.hooks.cxi.enabled = "false"',
    ),
    ("own-network-stack", "ce", AWS.replace("{image}", "x.y/alps-images/ngc:1"), "2:1", None),
    ("hook-without-cuda", "ce", AWS.replace("{image}", "{cpu_image}"), "4:1", None),
    ("annotation-not-true", "ce", HEAD + '[annotations]\ncom.hooks.dcgm.enabled = "True"\n', "4:1",
     'com.hooks.dcgm.enabled = "true"'),
    ("annotation-unknown", "ce", HEAD + '[annotations.com.hooks]\naws_ofi_ncl.enabled = "true"\n', "4:1", None),
    ("annotation-quoted", "ce", HEAD + '[annotations]\n"com.hooks.dcgm.enabled" = "true"\n', "4:1", None),
    (
        "annotation-readonly", "ce", "writable = false\n" + HEAD + '[annotations]\ncom.hooks.ssh.enabled = "true"\n',
        "5:1", None,
    ),
    (
        "cxi-unstated", "ce", AWS.replace('com.hooks.cxi.enabled = "true"\n', "# end\n"),
        "4:1", 'com.hooks.cxi.enabled = "true"',
    ),
    ("variant-unknown", "ce", AWS + 'com.hooks.aws_ofi_nccl.variant = "cuda11"\n', "6:1", None),
    (
        "variant-mismatch", "ce", AWS + 'com.hooks.aws_ofi_nccl.variant = "cuda12" # a\n',
        "6:1", 'com.hooks.aws_ofi_nccl.variant = "cuda13" # a',
    ),
    (
        "variant-unchecked", "ce", AWS.replace("{image}", "u:1") + 'com.hooks.aws_ofi_nccl.variant = "cuda12"\n',
        "6:1", None,
    ),
    ("network-too-large", "ce", HEAD + '[env]\nFI_CXI_DEFAULT_TX_SIZE = "16385"\n', "4:1",
     'FI_CXI_DEFAULT_TX_SIZE = "16384"'),
    ("network-stale", "ce", AWS + '[env]\nNCCL_CROSS_NIC = "1" # said so\n', "7:1", "# said so"),
    ("network-override", "ce", AWS + '[env]\nNCCL_NET_GDR_LEVEL = "0"\n', "7:1", None),
    ("network-unclear", "ce", AWS + '[env]\nFI_CXI_RX_MATCH_MODE = "software"\n', "7:1", None),
    ("network-repeated", "ce", AWS + '[env]\nNCCL_NET = "AWS Libfabric"\n', "7:1", None),
]  # fmt: skip
# Rules whose cases need more than one file; they have tests of their own.
ELSEWHERE = {"unreadable", "too-large", "base-cycle", "too-deep", "manifest"}


@pytest.fixture
def fill(tmp_path: Path) -> dict[str, str]:
    """What the cases' placeholders stand for: real files."""
    (tmp_path / "cpu").mkdir()
    return {"image": str(squashfs(tmp_path)), "cpu_image": str(squashfs(tmp_path / "cpu", torch="2.13.0+cpu"))}


def check(path: Path, engine: str = "ce", **environ: str) -> tuple[Finding, ...]:
    return check_edfs([str(path)], site=SITE, engine=engine, environ={**ENVIRON, **environ})


def written(folder: Path, text: str) -> Path:
    path = folder / "my edf.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("rule", "engine", "text", "where", "fixed"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_a_rule_finds_its_case_and_mends_it_if_it_can(
    tmp_path: Path, fill: dict[str, str], rule: str, engine: str, text: str, where: str, fixed: str | None
) -> None:
    # Both spellings of a placeholder: {image} is filled, ${{VAR}} becomes ${VAR}.
    path = written(tmp_path, text.format(**fill))
    found = [f for f in check(path, engine, PATH="/bin") if f.rule == rule and f"{f.line}:{f.column}" == where]
    assert len(found) == 1, check(path, engine, PATH="/bin")
    assert found[0].file == str(path)
    assert "{" not in found[0].what.replace("${", "") + found[0].source
    before = path.read_text()
    for plan in plan_mend([str(path)], site=SITE, engine=engine, environ={**ENVIRON, "PATH": "/bin"}):
        write_edf(plan)
    if fixed is None:
        still = [f for f in check(path, engine, PATH="/bin") if f.rule == rule]
        assert still, "it was mended after all"
    else:
        assert fixed.format() in path.read_text().splitlines()
        assert [f for f in check(path, engine, PATH="/bin") if f.rule == rule and f.what == found[0].what] == []
        assert path.with_name("my edf.toml.bak").read_text() == before


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    assert {case[0] for case in CASES} | ELSEWHERE == rules().keys()
    assert CHECKS.keys() <= rules().keys()


@pytest.mark.parametrize("site", ["clariden", "local"])
@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "edf/profiles").glob("*.toml")))
def test_an_edf_of_ours_breaks_no_rule(tmp_path: Path, site: str, profile: str) -> None:
    image, path = squashfs(tmp_path), tmp_path / "axolotl.toml"
    write_edf(planned(path, image, site, profile=profile))
    assert [f for f in check(path) if f.severity != "note"] == []
    assert [f.rule for f in check(path, "both") if f.severity == "error"] == ["image-file"]


def test_an_edf_of_ours_for_a_registrys_image_is_right_for_both_engines(tmp_path: Path) -> None:
    write_edf(planned(tmp_path / "axolotl.toml", "nvcr.io/nvidia/pytorch:26.01-py3"))
    assert check(tmp_path / "axolotl.toml", "both") == ()


def test_the_tutorials_edf_has_the_warnings_of_the_tutorial_and_fix_mends_them(tmp_path: Path) -> None:
    path = written(tmp_path, TUTORIAL.format(image=squashfs(tmp_path)))

    def warnings() -> list[tuple[str, str]]:
        return [(f.rule, f.key or f.what.split("'")[1]) for f in check(path) if f.severity != "note"]

    assert warnings() == [
        ("mount-one-path", "mounts[0]"),
        ("mount-one-path", "mounts[1]"),
        ("mount-one-path", "mounts[2]"),
        ("mount-users", "mounts[2]"),
        ("variant-mismatch", "annotations.com.hooks.aws_ofi_nccl.variant"),
        ("network-stale", "env.NCCL_CROSS_NIC"),
        ("network-too-large", "env.FI_CXI_DEFAULT_TX_SIZE"),
        ("network-stale", "env.FI_CXI_COMPAT"),
    ]
    for plan in plan_mend([str(path)], site=SITE, environ=ENVIRON):
        write_edf(plan)
    assert warnings() == []
    assert "# Put this or replace it with an updated axolotl image\n" in path.read_text()
    assert plan_mend([str(path)], site=SITE, environ=ENVIRON) == ()


def test_a_fault_of_a_base_is_told_and_mended_there(tmp_path: Path) -> None:
    image = squashfs(tmp_path)
    base = tmp_path / "base.toml"
    base.write_text(f'image = "{image}"\nentrypoint = false\nmounts = ["/a"] # theirs\n')
    path = written(tmp_path, f'base_environment = ["{base}"]\n')
    assert [(f.rule, f.where) for f in check(path)] == [("mount-one-path", f"{base}:3:11")]
    (plan,) = plan_mend([str(path)], site=SITE, environ=ENVIRON)
    write_edf(plan)
    assert base.read_text().endswith('mounts = ["/a:/a"] # theirs\n')


def test_one_value_with_two_faults_is_mended_of_both_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, f'image = "{squashfs(tmp_path)}"\nentrypoint = false\nmounts = ["/data/$USER"]\n')
    (plan,) = plan_mend([str(path)], site=SITE, environ=ENVIRON)
    assert tomllib.loads(plan.text)["mounts"] == ["/data/${USER}:/data/${USER}"]


def test_what_cannot_be_mended_in_place_stays_a_finding_and_the_rest_is_mended(tmp_path: Path) -> None:
    text = (
        'env = {{ A = "1", NCCL_CROSS_NIC = "1" }}\nannotations.com.hooks.aws_ofi_nccl.enabled = "true"\n'
        'annotations.com.hooks.cxi.enabled = "1"\nimage = "{image}"\nentrypoint = false\n'
    )
    path = written(tmp_path, text.format(image=squashfs(tmp_path)))
    (plan,) = plan_mend([str(path)], site=SITE, environ=ENVIRON)
    write_edf(plan)
    assert [f.rule for f in check(path)] == ["network-stale"]
    assert tomllib.loads(path.read_text())["env"] == {"A": "1", "NCCL_CROSS_NIC": "1"}


@pytest.mark.parametrize(
    "text",
    [
        # Without the hook nothing is compared with it: the values are the user's own.
        HEAD + '[env]\nNCCL_CROSS_NIC = "1"\nNCCL_NET = "Socket"\n',
        HEAD + 'mounts = ["/usr/local/data:/data:ro", "/opt/x:/srv/opt"]\n',
        HEAD + '[env]\nTOKENIZERS_PARALLELISM = "false"\nHF_HOME = "${{SCRATCH}}/hf"\nX = "$${{Y}} a=b, c: d"\n',
        HEAD + '[env]\nPYTHONPATH = ""\nLD_LIBRARY_PATH = ""\nSLURM_CPU_BIND = ""\n',
        HEAD + '[annotations]\norg.opencontainers.image.title = "x"\n',
        'image = ""\nentrypoint = false\n',
        'image = "nvcr.io/nvidia/pytorch:26.01-py3"\nentrypoint = false\n',
        'image = "localhost:5000/a/b@sha256:00"\nentrypoint = false\n',
        AWS + 'com.hooks.aws_ofi_nccl.variant = "cuda-dl"\ncom.hooks.netstack.source = "host"\n',
    ],
)
def test_what_is_right_is_let_alone(tmp_path: Path, fill: dict[str, str], text: str) -> None:
    assert check(written(tmp_path, text.format(**fill))) == ()


def test_a_value_that_is_replaced_later_is_not_held_against_the_edf(tmp_path: Path) -> None:
    image = squashfs(tmp_path)
    base = tmp_path / "base.toml"
    base.write_text(AWS.format(image=image) + '[env]\nNCCL_NET_GDR_LEVEL = "0"\n')
    path = written(tmp_path, f'base_environment = ["{base}"]\n[env]\nNCCL_NET_GDR_LEVEL = "PHB"\n')
    assert [f.rule for f in check(path)] == ["network-repeated"]


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    token = "hf_" + "x" * 34
    path = written(
        tmp_path, f'image = "/x"\nmounts = ["/a:/{token}"]\n[env]\nA = "{token}"\nHF_TOKEN = "open sesame;"\n'
    )
    told = json.dumps([f.model_dump() for f in check(path, "both") if f.key.startswith("env")])
    assert told.count('"secret"') == 2
    assert token not in told
    assert "sesame" not in told
    path = written(tmp_path, f'image = ""\n[env]\nA = "{token}"\nHF_TOKEN = "sesame"\n')
    shown = show_edf(str(path), environ={**ENVIRON, "HF_TOKEN": "barley"})
    everything = shown.model_dump_json() + repr(shown.rows())
    assert not [word for word in (token, "sesame", "barley") if word in everything]


def test_an_image_on_scratch_is_told_the_days(tmp_path: Path) -> None:
    path = written(tmp_path, 'image = "/iopsstor/scratch/nope.sqsh"\nentrypoint = false\n')
    found = {f.rule: f for f in check(path)}
    assert found.keys() == {"image-missing", "image-purged"}
    assert "14 days" in found["image-purged"].what


def test_what_the_site_is_like_decides_what_is_told(tmp_path: Path) -> None:
    """Days, engine and network are the site's: of another one all three are different."""
    text = AWS.format(image="/flash/x.sqsh") + '[env]\nNCCL_CROSS_NIC = "1"\n'
    path = written(tmp_path, text)
    other = SITE.model_copy(
        update={
            "edf": SiteEdf(engine="sarus", network_profile="none"), "storage": SiteStorage(purged={"/flash": 3}),
        }
    )  # fmt: skip
    ours = {f.rule for f in check_edfs([str(path)], site=SITE, environ=ENVIRON)}
    theirs = {f.rule for f in check_edfs([str(path)], site=other, environ=ENVIRON)}
    assert ours - theirs == {"network-stale"}
    assert theirs - ours == {"image-file", "image-purged"}


def test_a_variable_that_is_not_set_is_not_told_as_a_missing_image(tmp_path: Path) -> None:
    path = written(tmp_path, 'image = "${NOPE}/x.sqsh"\nentrypoint = false\n')
    assert [f.rule for f in check(path)] == ["undefined-variable"]


@pytest.mark.parametrize("name", ["folder.toml", "/dev/zero.toml/x.toml", "/tmp/nul\0.toml", "x" * 300 + ".toml"])
def test_what_cannot_be_read_is_a_finding_like_others(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    (found,) = check(tmp_path / name)
    assert found.rule in ("unreadable", "not-found")


def test_links_that_go_round_are_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "round.toml").symlink_to("round.toml")
    (found,) = check(tmp_path / "round.toml")
    assert (found.rule, "symbolic links" in found.what) == ("unreadable", True)
    path = written(tmp_path, f'image = "{tmp_path}/round.toml/x.sqsh"\nentrypoint = false\n')
    assert [f.rule for f in check(path)] == ["image-missing"]
    with pytest.raises(BadInputError, match="symbolic links"):
        planned(tmp_path / "round.toml", squashfs(tmp_path))


def test_a_manifest_that_does_not_fit_is_told_and_the_rest_is_checked(tmp_path: Path) -> None:
    image = squashfs(tmp_path)
    Path(f"{image}.json").write_text("{}")
    path = written(tmp_path, f'image = "{image}"\nentrypoint = false\nmounts = ["/a"]\n')
    assert [f.rule for f in check(path)] == ["manifest", "mount-one-path"]


def test_both_engines_tell_a_common_fault_once_and_say_whose_the_others_are(tmp_path: Path) -> None:
    path = written(tmp_path, 'image = "nvcr.io#nvidia/pytorch:1"\nentrypoint = false\nmounts = ["/users"]\n')
    found = {f.rule: f for f in check(path, "both")}
    assert len(found) == len(check(path, "both"))
    assert "only" not in found["mount-users"].what
    assert found["image-separator"].what.endswith("(Sarus Suite (early access) only)")
    assert found["mount-one-path"].severity == "error"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=80)
    | st.lists(
        st.sampled_from(
            ["image", "mounts", "env", "annotations", "[", "]", "[[", "]]", "{", "}", "=", '"', "'", '"""', "\n", "\\",
             "#", ".", ",", " ", "$", "${", ":", "/a", "~/", "true", "1", "com.hooks", "enabled", "base_environment",
             "\r\n", "\t", "é", "\x00", "x.toml", "devices", "-1", "1979-05-27", "inf"]
        ), max_size=25,
    ).map(lambda parts: "".join(parts).encode())
)  # fmt: skip
def test_no_content_whatever_makes_the_checker_raise(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    for finding in check(path, "both"):
        assert finding.rule in rules()
    plan_mend([str(path)], site=SITE, engine="both", environ=ENVIRON)


TYPES = st.recursive(
    st.sampled_from(['"x"', '"/a:/b"', "1", "true", "1.5", "1979-05-27", '"${NOPE}"', '"$USER;"', "''"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["image", "mounts", "env", "annotations", "devices", "base_environment",
                                         "workdir", "entrypoint", "writable", "odd"]), TYPES, max_size=4))  # fmt: skip
def test_no_type_whatever_makes_the_checker_raise(tmp_path: Path, values: dict[str, str]) -> None:
    path = tmp_path / "x.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
    tomllib.loads(path.read_text())
    check(path, "both")
    plan_mend([str(path)], site=SITE, engine="both", environ=ENVIRON)


# ── names, show, commands ─────────────────────────────────────────────────────────────────────────────────


def test_a_folder_stands_for_all_edfs_in_it(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.toml").write_text("")
    (tmp_path / "empty").mkdir()
    assert named(["a", "other", "x.toml"]) == ("a", "other", "x.toml")
    assert named([str(tmp_path)]) == (str(tmp_path / "a.toml"), str(tmp_path / "b.toml"))
    with pytest.raises(BadInputError):
        named([str(tmp_path / "empty")])


def test_what_is_shown_has_a_row_for_each_value_with_its_origin_and_both_engines(tmp_path: Path) -> None:
    path = written(tmp_path, 'image = "u:1"\nmounts = ["./d:/d"]\n[env]\nA = ""\nB = "$USER"\n')
    shown = show_edf(str(path), environ=ENVIRON, cwd=Path("/here"))
    assert [(row.key, *row.values.values(), row.origin.removeprefix(str(path))) for row in shown.rows()] == [
        ("image", "u:1", "=", ":1"),
        ("workdir", "(the image's own)", "=", "(the engine's default)"),
        ("entrypoint", "false", "true", "(the engine's default)"),
        ("writable", "true", "=", "(the engine's default)"),
        ("mounts[0]", "/here/d → /d", "./d → /d", ":2"),
        ("env.A", "(removed)", "=", ":4"),
        ("env.B", "$USER", "alice", ":5"),
    ]


def test_a_variable_is_shown_with_what_it_stands_above(tmp_path: Path) -> None:
    image = squashfs(tmp_path, env={"NCCL_NET_GDR_LEVEL": "PHB"})
    path = written(tmp_path, f'image = "{image}"\n[env]\nNCCL_NET_GDR_LEVEL = "0"\nB = "1"\n')
    shown = show_edf(str(path), environ={**ENVIRON, "NCCL_NET_GDR_LEVEL": "2"}, engine="ce")
    assert {row.key: row.instead for row in shown.rows() if row.key.startswith("env")} == {
        "env.NCCL_NET_GDR_LEVEL": "image: PHB, host: 2",
        "env.B": "",
    }
    assert shown.table()[0] == ("key", "ce", "from", "instead of")
    assert show_edf(str(path), environ=ENVIRON, engine="ce").table()[1][4][-1] == "image: PHB"
    assert show_edf(str(written(tmp_path, 'image = ""\n')), environ=ENVIRON).table()[0][-1] == "from"


def test_an_engine_that_cannot_take_it_says_why_and_the_other_is_shown(tmp_path: Path) -> None:
    shown = show_edf(str(written(tmp_path, 'image = "u:1"\nmounts = ["/a"]\n')), environ=ENVIRON)
    assert list(shown.environments) == ["ce"]
    assert "one path" in shown.faults["sarus"][0]
    with pytest.raises(BadInputError) as caught:
        show_edf(str(written(tmp_path, "image = 1\n")), environ=ENVIRON)
    assert len(caught.value.faults) == 1


def test_the_commands_end_with_two_for_errors_and_print_one_document(tmp_path: Path, invoke: Invoke) -> None:
    env = {"EDF_PATH": str(tmp_path), "SCRATCH": "/s"}
    image = squashfs(tmp_path)
    made = invoke("make-edf", "--image", image, "--site", "clariden", env=env)
    assert (made.returncode, made.stdout) == (0, f"{tmp_path}/axolotl.toml: written\n"), made.stderr
    checked = invoke("check-edf", "--engine", "both", "--json", env=env)
    assert checked.returncode == 2
    assert [found["rule"] for found in json.loads(checked.stdout)["findings"]] == ["image-file"]
    shown = invoke("show-edf", env=env)
    assert f"image                                       {image}" in shown.stdout, shown.stderr


def test_the_data_files_say_where_everything_comes_from() -> None:
    for rule in rules().values():
        assert rule.source, rule.id
    for path in (ROOT / "edf/profiles").glob("*.toml"):
        for name, advice in tomllib.loads(path.read_text()).items():
            assert not isinstance(advice, dict) or (advice["source"] and advice["date"]), f"{path}: {name}"
