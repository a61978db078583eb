import subprocess
import sys

MAKE_A_CYCLE = """
import gc, sys
from distpg.system.garbage import load, this_process_is_a_command

class Cycle:
    def __init__(self, text):
        self.me, self.text = self, text

    def __del__(self):
        print(self.text, flush=True)
"""


def output_of(program: str) -> list[str]:
    command = [sys.executable, "-c", MAKE_A_CYCLE + program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_command_looks_once_more_for_what_others_left_and_never_at_what_it_imported() -> None:
    program = """
this_process_is_a_command()
Cycle("before")
load("decimal")
print("loaded", gc.get_freeze_count() > 10_000, gc.isenabled())
Cycle("after")
"""
    assert output_of(program) == ["before", "loaded True True", "after"]


def test_in_other_processes_all_is_looked_at_as_before() -> None:
    assert output_of('load("decimal"); print(gc.get_freeze_count(), gc.isenabled())') == ["0 True"]
    assert output_of('gc.disable(); load("decimal"); print("decimal" in sys.modules, gc.isenabled())') == [
        "True False"
    ]


def test_what_cannot_be_imported_changes_nothing() -> None:
    program = """
this_process_is_a_command()
try:
    load("distpg.nothing")
except ModuleNotFoundError as error:
    print(error.name, gc.isenabled())
"""
    assert output_of(program) == ["distpg.nothing True"]
