"""Every example prints what it should, in one event loop and on Ray alike."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from runtime import LocalRuntime

EXAMPLES = Path(__file__).parents[2] / "examples"

OUTPUT = {
    "triage": """\
completed math ['42']
2 classify {'kind': 'chat'}
3 answer {'notes': ['scripted: Answer briefly: urgent: hi there']}
4 shout {'notes': ['URGENT: HI THERE']}
completed URGENT: HI THERE
""",
    "loop": """\
9 words after 2 rounds: Rain is coming. Take a coat. Take an umbrella.
failed: shorten@1.0.0 ran 20 steps in one turn; end the loop or raise max_steps
""",
    "fork_join": """\
finished: forecast, traffic, prices, archive, summarise
summary: archive: 3 pages on Oslo; forecast: sun in Oslo; traffic: quiet in Oslo; prices: high in Oslo
""",
    "map_hundred": """\
first ten: [0, 1, 7, 2, 5, 8, 16, 3, 19, 6]
longest: 97 with 118 steps
threads: 101
""",
    "approval": """\
paused: Refund 20 EUR to Ada?
  refused: answer.approved: Input should be a valid boolean, unable to interpret input
  Dear Ada, we have sent 20 EUR.
paused: Refund 30 EUR to Bob?
  refused: answer.approved: Input should be a valid boolean, unable to interpret input
  Dear Bob, no: you had one yesterday.
paused: Refund 500 EUR to Cy?
  refused: answer.approved: Input should be a valid boolean, unable to interpret input
  Dear Cy, please wait: the account holds 100 EUR only.
""",
    "chat": """\
user: Hello!
assistant: scripted: Hello!
user: What is a greenroom?
assistant: scripted: What is a greenroom?
user: Thank you.
assistant: scripted: Thank you.
3 calls, 50 tokens
""",
}


def test_every_example_is_run() -> None:
    """No file of `examples/` is left out here."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(OUTPUT)


@pytest.mark.parametrize("name", OUTPUT)
@pytest.mark.usefixtures("clean_environment")
def test_local(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`main` with `LocalRuntime` prints the expected text."""
    example = _load(EXAMPLES / f"{name}.py")

    with LocalRuntime(models={"default": {"provider": "scripted"}}) as rt:
        example.main(rt)

    assert capsys.readouterr().out == OUTPUT[name]


@pytest.mark.integration
@pytest.mark.parametrize("name", OUTPUT)
def test_ray(name: str, drivers, tmp_path: Path) -> None:
    """The program as it stands prints the same on Ray."""
    assert drivers.run([sys.executable, EXAMPLES / f"{name}.py"], tmp_path) == OUTPUT[name]


def _load(path: Path) -> ModuleType:
    """The example as a module, run anew."""
    spec = spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
