"""What takes the place of windows, and of services that are not called."""

import sys
import types
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock


class Anything(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


class Widget(metaclass=Anything):
    """Takes everything, and has everything."""

    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = self.__dict__[name] = MagicMock()
        return value


class Module(types.ModuleType):
    """Every name is a class of widgets."""

    __path__ = ()

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = self.__dict__[name] = Anything(name, (Widget,), {})
        return value


def stand_in(*names):
    for name in names:
        parts = name.split(".")
        for i in range(len(parts)):
            sys.modules.setdefault(".".join(parts[: i + 1]), Module(".".join(parts[: i + 1])))
