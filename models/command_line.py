"""Turn a command line into settings, before anything heavy is imported.

Settings are a dataclass: each field is a flag, and the text below it is the flag's help. A class
attribute GROUPS (title -> names of fields) shows the flags in groups.
"""

import ast
import dataclasses
import difflib
import inspect
import io
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import tyro

from models.environment import MissingPackage, require

Settings = TypeVar("Settings")


def parse_flags(
    settings: type[Settings],
    prog: str,
    examples: Sequence[str] = (),
    needs: Sequence[str] = (),
    args: Sequence[str] | None = None,
) -> Settings:
    """Return the settings that a command line asks for.

    Args:
        settings: A dataclass; its docstring opens the help.
        prog: What the user types, such as "python -m models.tag".
        examples: Command lines shown at the end of the help.
        needs: Packages that the program imports and requirements-serve.txt leaves out; the help
            works without them.
        args: Arguments without the program's name; None: those of this process.

    Raises:
        SystemExit: After the help (status 0), or if a flag is unknown or has a wrong value or a
            package is missing (status 2, the reason on standard error).
    """
    print_any_name()
    args = list(sys.argv[1:] if args is None else args)
    _refuse_unknown_flags(settings, prog, args)
    shown = in_groups(settings) if hasattr(settings, "GROUPS") else settings
    try:
        parsed = tyro.cli(shown, prog=prog, args=args)
        require(prog, needs)
        return parsed
    except (ValueError, MissingPackage) as error:  # ValueError: from the settings' own check
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except SystemExit as end:
        if end.code == 0 and examples and {"-h", "--help"} & set(args):
            print("examples:\n" + "\n".join(f"  {example}" for example in examples))
        raise


def print_any_name() -> None:
    """Make print escape what the terminal or pipe has no character for.

    Names of files and landmarks are anybody's text. Windows pipes are rarely UTF-8, and a name on
    Linux need not be: without this one such name ends the command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is not, and takes every character
            stream.reconfigure(errors="backslashreplace")


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


def in_groups(settings: type[Settings]) -> Callable[..., Settings]:
    """Return a constructor of settings whose flags tyro shows in one box per group.

    parse_flags uses it where it finds GROUPS; a subcommand names it itself, as in
    tyro.conf.subcommand(constructor=in_groups(Settings)).

    Args:
        settings: A dataclass with GROUPS.

    Raises:
        TypeError: GROUPS leaves a field out, or names one that is none or is named already.
    """
    groups: Mapping[str, Sequence[str]] = settings.GROUPS
    hints, texts = typing.get_type_hints(settings, include_extras=True), _field_texts(settings)
    fields = {field.name: field for field in dataclasses.fields(settings)}
    named = [name for names in groups.values() for name in names]
    if sorted(named) != sorted(fields):
        wrong = sorted(set(fields) ^ set(named)) or sorted({n for n in named if named.count(n) > 1})
        raise TypeError(f"GROUPS of {settings.__name__} and its fields differ: {wrong}")
    parameters = []
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
        shown = Annotated[part, tyro.conf.arg(name=title, prefix_name=False)]
        # Without a default of its own: those of the flags are then read at the time of parsing.
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(f"group{number}", kind, annotation=shown))

    def construct(**parts: Any) -> Settings:
        return settings(
            **{key: value for part in parts.values() for key, value in vars(part).items()}
        )

    # tyro reads these as it would read a function written out by hand.
    construct.__signature__ = inspect.Signature(parameters)
    construct.__annotations__ = {each.name: each.annotation for each in parameters}
    construct.__doc__ = inspect.getdoc(settings)
    return construct


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
                texts[field.target.id] = " ".join(text.value.value.split())  # tyro wraps it
    return texts
