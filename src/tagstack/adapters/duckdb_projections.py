"""Read models as folders of plain SQL: found, put in order, and told apart by a fingerprint.

A folder holds `schema.sql`, `apply.sql` and `build.sql` (stateful: a change means a rebuild), `views.sql` and
`checks.sql` (a change does not). A line `-- needs: other` in any of them puts the folder after another;
`-- folds: type, ...` in `apply.sql` names the types of events that what follows is run for, all of them without.
`-- sorted: table by columns` in `schema.sql` names a table that is sorted when a file is built.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import duckdb
import msgspec

import tagstack
from tagstack.adapters.duckdb_batch import BATCH_COLUMNS, EVENT_TYPES
from tagstack.domain.errors import TagstackError

FILES = ("schema", "apply", "build", "views", "checks")
FINGERPRINT_LENGTH = 12

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NEEDS = re.compile(r"^-- needs:(.*)$", re.MULTILINE)
_FOLDS = re.compile(r"^-- folds:(.*)$", re.MULTILINE)
_MADE = re.compile(
    r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:TABLE|VIEW|MACRO|FUNCTION)\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:\w+\.)*\"?(\w+)",
    re.IGNORECASE,
)
_SORTED = re.compile(r"^-- sorted: *(\w+) +by +(.+)$", re.MULTILINE)
_QUOTED_COMMENT_OR_SPACE = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|(?:--[^\n]*|/\*.*?\*/|\s)+""", re.DOTALL)


class BadProjection(TagstackError):
    """A projection folder that can't be used; the message names it and the rule."""


class ReadModel(msgspec.Struct, frozen=True):
    """One folder of projections; a file it does not have is empty.

    `build` makes the tables from those of other read models, once, in a file that has read the whole log.
    """

    name: str
    schema: str = ""
    apply: str = ""
    build: str = ""
    views: str = ""
    checks: str = ""

    @property
    def needs(self) -> set[str]:
        """Return the names of the read models that come before this one."""
        return _listed(_NEEDS, f"{self.schema}\n{self.apply}\n{self.build}\n{self.views}\n{self.checks}")

    @property
    def folds(self) -> set[str]:
        """Return the types of events that `apply` is run for; empty means all."""
        return _listed(_FOLDS, self.apply)

    @property
    def sorted(self) -> dict[str, str]:
        """Return the tables that are sorted when a file is built, and by which columns."""
        return dict(_SORTED.findall(self.schema))


def builtin_folder() -> Path:
    """Return the folder of the read models that come with tagstack: in the wheel, or in the repository."""
    package = Path(tagstack.__file__).parent
    packaged = package / "projections"
    return packaged if packaged.is_dir() else package.parents[1] / "projections"


def discover(folders: Iterable[Path]) -> list[ReadModel]:
    """Return the read models of some folders: by name, each after the ones it needs.

    Raises: BadProjection for a folder without SQL, a name twice, or needs that can't be met.
    """
    found: dict[str, ReadModel] = {}
    for parent in folders:
        if not parent.is_dir():
            raise BadProjection(f"projections: there is no folder {parent}")
        for folder in sorted(
            path for path in parent.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
        ):
            if folder.name in found:
                raise BadProjection(f"projections: {folder} is the second read model called {folder.name}")
            found[folder.name] = _read(folder)
    return _in_order(found)


def fingerprint(models: Iterable[ReadModel]) -> str:
    """Return what tells stateful SQL apart; comments, white space and folders of views do not count."""
    stateful = [
        (model.name, *map(_essence, (model.schema, model.apply, model.build)), _folds_told(model))
        for model in models
        if model.schema or model.apply
    ]
    told = msgspec.json.encode([stateful, BATCH_COLUMNS])
    return hashlib.sha256(told).hexdigest()[:FINGERPRINT_LENGTH]


def built_last(models: Sequence[ReadModel]) -> list[ReadModel]:
    """Return the read models whose tables a build makes at its end: no fold of another one reads them meanwhile."""
    return [model for model in models if model.build and not _is_read(model, models)]


def _is_read(model: ReadModel, models: Sequence[ReadModel]) -> bool:
    """Return whether the fold of another read model mentions a table of this one, or a view or macro over it."""
    over = [made for other in models for made in _made(other.views)]
    names: set[str] = set()
    more = {name for name, _ in _made(model.schema)}
    while more - names:
        names |= more
        more = {name for name, sql in over if _mentions(sql, names)}
    return any(_mentions(other.apply, names) for other in models if other is not model)


def _made(sql: str) -> list[tuple[str, str]]:
    """Return the name of every table, view and macro that is made, and the statement that makes it."""
    texts = [statement.query for statement in duckdb.extract_statements(sql)]
    return [(found[1], text) for text in texts if (found := _MADE.search(text))]


def _mentions(sql: str, names: Iterable[str]) -> bool:
    return any(re.search(rf"\b{name}\b", sql, re.IGNORECASE) for name in names)


def _read(folder: Path) -> ReadModel:
    if not _NAME.fullmatch(folder.name):
        raise BadProjection(f"projections: a read model's name has a-z, 0-9 and _ only, got {folder.name!r}")
    texts = {name: path.read_text() for name in FILES if (path := folder / f"{name}.sql").is_file()}
    if not texts:
        raise BadProjection(f"projections: {folder} has none of {', '.join(f'{name}.sql' for name in FILES)}")
    return ReadModel(folder.name, **texts)


def _in_order(found: dict[str, ReadModel]) -> list[ReadModel]:
    for model in found.values():
        if missing := sorted(model.needs - found.keys()):
            raise BadProjection(f"projections: {model.name} needs {', '.join(missing)}, which is not there")
        if unknown := sorted(model.folds - EVENT_TYPES):
            raise BadProjection(f"projections: {model.name} folds {', '.join(unknown)}, which is no type of event")
    sorter = TopologicalSorter({name: found[name].needs for name in sorted(found)})
    ordered: list[ReadModel] = []
    try:
        sorter.prepare()
    except CycleError as error:
        raise BadProjection(f"projections: {' needs '.join(reversed(error.args[1]))}: a cycle") from error
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered += [found[name] for name in ready]
        sorter.done(*ready)
    return ordered


def _listed(line: re.Pattern[str], sql: str) -> set[str]:
    return {name.strip() for names in line.findall(sql) for name in names.split(",")}


def _folds_told(model: ReadModel) -> list[list[str]]:
    """Return for each statement of the fold the types of events that it is run for."""
    return [sorted(folds) for folds, _ in applied([model])]


def _essence(sql: str) -> str:
    return _QUOTED_COMMENT_OR_SPACE.sub(lambda match: match[1] or " ", sql).strip()


def applied(models: Sequence[ReadModel]) -> list[tuple[frozenset[str], duckdb.Statement]]:
    """Return every statement of a fold, in order, with the types of events that it is run for.

    A statement goes by the last line above it that names types.
    """
    found = []
    for model in models:
        try:
            statements = duckdb.extract_statements(model.apply)
        except duckdb.Error as error:
            raise BadProjection(f"projections: {model.name}/apply.sql: {error}") from error
        folds = frozenset(EVENT_TYPES)
        for statement in statements:
            folds = frozenset(_listed(_FOLDS, statement.query)) or folds
            found.append((folds, statement))
    return found
