"""Turn a command line into settings, before anything heavy is imported.

Settings are a dataclass: each field is a flag, and the text below it is the flag's help. A class
attribute GROUPS (title -> names of fields) shows the flags in groups.
"""

import ast
import dataclasses
import difflib
import inspect
import sys
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import tyro

Settings = TypeVar("Settings")


def parse_flags(
    settings: type[Settings],
    prog: str,
    examples: Sequence[str] = (),
    args: Sequence[str] | None = None,
) -> Settings:
    """Return the settings that a command line asks for.

    Args:
        settings: A dataclass; its docstring opens the help.
        prog: What the user types, such as "python -m models.tag".
        examples: Command lines shown at the end of the help.
        args: Arguments without the program's name; None: those of this process.

    Raises:
        SystemExit: After the help (status 0), or if a flag is unknown or has a wrong value (status
            2, the reason on standard error).
    """
    args = list(sys.argv[1:] if args is None else args)
    _refuse_unknown_flags(settings, prog, args)
    groups = getattr(settings, "GROUPS", None)
    try:
        if groups is None:
            return tyro.cli(settings, prog=prog, args=args)
        view = _in_groups(settings, groups)
        parsed = tyro.cli(view, prog=prog, description=inspect.getdoc(settings), args=args)
        parts = [getattr(parsed, part.name) for part in dataclasses.fields(parsed)]
        # Built from the real class, so that its own checks run.
        return settings(**{key: value for part in parts for key, value in vars(part).items()})
    except ValueError as error:  # from the settings' own check
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except SystemExit as end:
        if end.code == 0 and examples and {"-h", "--help"} & set(args):
            print("examples:\n" + "\n".join(f"  {example}" for example in examples))
        raise


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def nearest_flag(flag: str, flags: Sequence[str]) -> str | None:
    """Return the flag that was probably meant, such as --learning-rate for --lr.

    Args:
        flag: As typed, with its dashes and without a value.
        flags: Those that exist.

    Returns:
        None if no flag resembles it.
    """
    word = flag.strip("-").replace("_", "-").lower()
    # Initials and whole words first: in spelling, --lr is too far from --learning-rate.
    for known in flags:
        parts = known.strip("-").split("-")
        if word == "".join(part[0] for part in parts) or (len(word) > 2 and word in parts):
            return known
    starts = [known for known in flags if len(word) > 2 and known.strip("-").startswith(word)]
    close = difflib.get_close_matches(f"--{word}", flags, n=1)
    return next(iter(starts or close), None)


def _refuse_unknown_flags(settings: type, prog: str, args: Sequence[str]) -> None:
    """Answer before tyro does, whose message has many lines and no nearest flag."""
    flags = ["--help", *_flags(settings)]
    for arg in args:
        if arg == "--":
            return
        flag = arg.split("=")[0].replace("_", "-")
        if not arg.startswith("--") or flag in flags or flag.startswith("--tyro-"):
            continue
        near = nearest_flag(flag, flags)
        hint = f"; did you mean {near}?" if near else "."
        print(f"error: there is no flag {flag}{hint} See: {prog} --help", file=sys.stderr)
        raise SystemExit(2)


def _flags(settings: type) -> Iterator[str]:
    """Yield every flag of a dataclass, and of those that a subcommand could choose."""
    for name, hint in typing.get_type_hints(settings).items():
        inner = [each for each in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(each)]
        for each in inner:
            yield from _flags(each)
        if name in {field.name for field in dataclasses.fields(settings)} and not inner:
            yield f"--{name.replace('_', '-')}"
            if hint is bool:
                yield f"--no-{name.replace('_', '-')}"


def _in_groups(settings: type, groups: Mapping[str, Sequence[str]]) -> type:
    """Return a dataclass with an inner dataclass per group; tyro shows each in its own box."""
    hints, texts = typing.get_type_hints(settings, include_extras=True), _field_texts(settings)
    fields = {field.name: field for field in dataclasses.fields(settings)}
    if missing := set(fields) ^ {name for names in groups.values() for name in names}:
        raise TypeError(f"GROUPS of {settings.__name__} and its fields differ: {sorted(missing)}")
    parts = []
    for number, (title, names) in enumerate(groups.items()):
        inner: list[Any] = []
        for name in names:
            # No prefix: the flag stays --lr, not --group0.lr.
            flag = tyro.conf.arg(help=texts.get(name, ""), prefix_name=False)
            field = fields[name]
            default = (
                dataclasses.field(default=field.default)
                if field.default_factory is dataclasses.MISSING
                else dataclasses.field(default_factory=field.default_factory)
            )
            inner.append((name, Annotated[hints[name], flag], default))
        part = dataclasses.make_dataclass(f"Group{number}", inner)
        shown = Annotated[part, tyro.conf.arg(name=title)]
        parts.append((f"group{number}", shown, dataclasses.field(default_factory=part)))
    return dataclasses.make_dataclass(settings.__name__, parts)


def _field_texts(settings: type) -> dict[str, str]:
    """Return the text below each field; a subclass's replaces its base's.

    Only the source has these texts: Python keeps no docstrings of fields.
    """
    texts: dict[str, str] = {}
    for owner in reversed(settings.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        for field, text in zip(body.body, body.body[1:], strict=False):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and is_text:
                # tyro keeps line breaks, and would wrap each short line again.
                texts[field.target.id] = " ".join(text.value.value.split())
    return texts
