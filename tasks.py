"""Index of commands: each reads its flags, calls one public function, shows its result. No logic here.

Stages are imported inside the task bodies, so that ``invoke --list`` and TAB completion stay instant.
"""

from __future__ import annotations

import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, Task, task
from invoke.exceptions import Exit

from axolotl_env.errors import InterruptedByUserError, UserError

if TYPE_CHECKING:
    from types import FrameType


class Command(Task):  # type: ignore[type-arg]
    """A task whose failures are shown as clean lines on stderr, with the exit code of their kind."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Invoke's own signature
        """Run the task; Ctrl-C and SIGTERM both unwind it, so that every ``finally`` cleans up."""
        signal.signal(signal.SIGTERM, _interrupt)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        try:
            return super().__call__(*args, **kwargs)
        except KeyboardInterrupt:
            error: UserError = InterruptedByUserError("interrupted; nothing half-made was left behind")
        except UserError as caught:
            error = caught
        from axolotl_env import console

        raise Exit(console.describe(error), code=error.exit_code)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


command = partial(task, klass=Command, auto_shortflags=False)

JSON = "print one JSON document on stdout instead of the table"
DRY_RUN = "show what would be done, and do nothing"
FORCE = "do it again although the result is there"
SITE = "cluster the result is for: a name in configs/sites, or a file [setting: site]"


@command(help={"json": JSON})
def settings(_: Context, json: bool = False) -> None:
    """[project] Print every setting, its value and where that came from.

    Example: invoke settings
    """
    from axolotl_env import console
    from axolotl_env.settings import Settings, load

    loaded = load()
    values = loaded.settings.model_dump(mode="json")
    if json:
        return console.document({key: {"value": value, "origin": loaded.origins[key]} for key, value in values.items()})
    return console.table(
        ("setting", "value", "from", "meaning"),
        (
            (key, str(value or "-"), loaded.origins[key], Settings.model_fields[key].description or "")
            for key, value in values.items()
        ),
    )


ns = Collection(settings)
