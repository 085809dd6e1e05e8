"""The type stubs agree with the code."""

import ast
import inspect
from pathlib import Path

import pytest

import topk
import topk.functional
import topk.nn
from topk import _topk

PACKAGE = Path(topk.__file__).parent


def stub(module):
    return ast.parse((PACKAGE / f"{module}.pyi").read_text())


def of_stub(function):
    """Names, kinds and defaults of the parameters in a stub."""
    arguments = function.args
    positional = arguments.posonlyargs + arguments.args
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    shown = [(each.arg, False, default) for each, default in zip(positional, defaults)]
    shown += [(each.arg, True, default) for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults)]
    return [(name, only, default and ast.literal_eval(default)) for name, only, default in shown]


def of_code(function):
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        (each.name, each.kind is each.KEYWORD_ONLY, None if each.default is each.empty else each.default)
        for each in parameters
        if each.kind not in kinds
    ]


def test_functions():
    functions = [node for node in stub("functional").body if isinstance(node, ast.FunctionDef)]
    assert {each.name for each in functions} == set(topk.functional.__all__)
    for each in functions:
        assert of_stub(each) == of_code(getattr(topk.functional, each.name)), each.name


def test_modules():
    classes = [node for node in stub("nn").body if isinstance(node, ast.ClassDef) and node.name != "_Loss"]
    assert {each.name for each in classes} == set(topk.nn.__all__)
    for each in classes:
        module = getattr(topk.nn, each.name)
        (init,) = (node for node in each.body if isinstance(node, ast.FunctionDef))
        assert of_stub(init) == of_code(module.__init__), each.name
        attributes = {node.target.id for node in each.body if isinstance(node, ast.AnnAssign)}
        assert attributes <= set(vars(module())), each.name


def test_native():
    names = {node.name for node in stub("_topk").body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert names == {name for name in dir(_topk) if not name.startswith("_")}
    for each in (node for node in stub("_topk").body if isinstance(node, ast.ClassDef)):
        methods = {node.name for node in each.body if isinstance(node, ast.FunctionDef)}
        assert methods == {name for name in dir(getattr(_topk, each.name)) if not name.startswith("_")}


@pytest.mark.parametrize("module", ["__init__", "_topk", "functional", "nn", "onnx", "svm"])
def test_stubs_are_installed(module):
    typed = PACKAGE / f"{module}.pyi"
    assert typed.exists() or "->" in (PACKAGE / f"{module}.py").read_text()
    assert (PACKAGE / "py.typed").exists()
