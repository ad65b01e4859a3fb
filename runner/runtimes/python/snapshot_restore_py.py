"""Hooks around the snapshot of a function with SnapStart, under the name by which
functions import them on AWS. Those before run in the reverse order."""

_before = []
_after = []


def register_before_snapshot(func, *args, **kwargs):
    _before.insert(0, (func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    _after.append((func, args, kwargs))
    return func


def get_before_snapshot():
    return _before


def get_after_restore():
    return _after
