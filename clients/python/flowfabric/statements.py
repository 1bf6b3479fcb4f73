"""Runs the statements of the catalogue on a connection of sqlite3 or psycopg.

It knows no operation: a statement says itself which texts it has, what they bind, and what they
answer with. See docs/sql.md in the repository.
"""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from importlib import resources
from typing import Any

from .errors import REFUSALS, Contention, FlowFabricError

Row = dict[str, Any]
MAJOR_VERSION = "1"


def load(dialect: str) -> dict[str, Any]:
    """The catalogue of `postgres` or `sqlite`, as `ff sql --all --json` prints it."""
    file = resources.files(__package__).joinpath("catalogue", f"{dialect}.json")
    catalogue = json.loads(file.read_text(encoding="utf-8"))
    if catalogue["version"].split(".")[0] != MAJOR_VERSION:
        raise FlowFabricError(f"this client cannot use catalogue version {catalogue['version']}")
    return catalogue


class Statements:
    """The statements of one database, on one connection. It never commits."""

    def __init__(self, connection: Any):
        connection = getattr(connection, "connection", connection)
        self.connection = connection
        self.is_sqlite = isinstance(connection, sqlite3.Connection)
        catalogue = load("sqlite" if self.is_sqlite else "postgres")
        self.by_name = {statement["name"]: statement for statement in catalogue["statements"]}

    def read(self, name: str, **values: Any) -> Row:
        """The one row of a read, by column."""
        step = self.by_name[name]["steps"][0]
        self._begin()
        return _named(step, self._execute(step, values)[0][0])

    def change(self, name: str, **values: Any) -> list[Row] | None:
        """The values that a plan answers with, once for each picked row; None if it is refused."""
        statement = self.by_name[name]
        self._begin()
        if self.is_sqlite:
            return self._script(statement, values)
        rows = [_named(statement["steps"][0], row)
                for row in self._execute(statement["steps"][0], values)[0]]
        applied = [row for row in rows if row["ordinal"] > 0]
        if not applied and "picked" not in [c["name"] for c in statement["steps"][0]["columns"]]:
            return None
        return [row for row in applied if row.get("picked", 0) is not None]

    def reason(self, name: str, **values: Any) -> FlowFabricError:
        """The reason for which that plan was refused."""
        for reason in self.by_name[name]["reasons"]:
            if not self._execute(reason, values)[0]:
                kind, text = REFUSALS[reason["refusal"]]
                return kind(f"{name.split('.')[0]}: {text}")
        return Contention(f"{name}: the rows changed meanwhile")

    def _begin(self) -> None:
        if self.is_sqlite and not self.connection.in_transaction:
            # Otherwise a guard would read outside the transaction of the writes.
            self.connection.execute("BEGIN IMMEDIATE")

    def _script(self, statement: Row, values: Row) -> list[Row] | None:
        self.connection.execute("SAVEPOINT flowfabric")
        try:
            applied = self._steps(statement, values)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname not in ("SQLITE_CONSTRAINT_UNIQUE",
                                              "SQLITE_CONSTRAINT_PRIMARYKEY"):
                raise
            applied = None
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK TO flowfabric")
                self.connection.execute("RELEASE flowfabric")
            raise
        if applied is None:
            self.connection.execute("ROLLBACK TO flowfabric")
        self.connection.execute("RELEASE flowfabric")
        return applied

    def _steps(self, statement: Row, values: Row) -> list[Row] | None:
        found: Row = {}
        picks: list[Row] | None = None
        for step in statement["steps"]:
            if step["purpose"] == "pick":
                picks = [_named(step, row) for row in self._execute(step, values, found)[0]]
            elif step["purpose"] in ("guard", "write", "must_write"):
                if not self._step(step, values, found, 0, len(picks or ())):
                    return None
        each = [step for step in statement["steps"] if step["purpose"].endswith("_each")]
        applied = []
        for item, pick in enumerate([{}] if picks is None else picks):
            own = {**found, **pick}
            for step in each:
                if not self._step(step, values, own, item, len(picks or ())):
                    return None
            applied.append({r["name"]: own.get(r["found"]) for r in statement.get("returns", ())})
        return applied

    def _step(self, step: Row, values: Row, found: Row, item: int, picked: int) -> bool:
        rows, changed = self._execute(step, values, found, item, picked)
        if rows:
            found.update(_named(step, rows[0]))
        if step["purpose"] == "guard" or (step["purpose"].startswith("must") and step["columns"]):
            return bool(rows)
        return changed != 0 or not step["purpose"].startswith("must")

    def _execute(self, step: Row, values: Row, found: Row | None = None, item: int = 0,
                 picked: int = 0) -> tuple[list[tuple], int]:
        params = step["params"]
        items = max([1] + [len(values[p["each"]]) for p in params if "each" in p])
        bound = []
        for param in params:
            if param.get("array"):
                each = [_value(param, values, found, n, picked) for n in range(items)]
                bound.append([self._encoded(param, value, True) for value in each])
            else:
                value = _value(param, values, found, item, picked)
                bound.append(self._encoded(param, value, False))
        if self.is_sqlite:
            cursor = self.connection.cursor()
            cursor.row_factory = None
            cursor.execute(step["sql"], bound)
        else:
            from psycopg.rows import tuple_row
            cursor = self.connection.cursor(row_factory=tuple_row)
            sql = re.sub(r"\$(\d+)", r"%(p\1)s", step["sql"].replace("%", "%%"))
            cursor.execute(sql, {f"p{n}": value for n, value in enumerate(bound, 1)})
        rows = cursor.fetchall() if cursor.description else []
        if self.is_sqlite:
            rows = [tuple(map(_decoded, step.get("columns", ()), row)) for row in rows]
        return rows, cursor.rowcount

    def _encoded(self, param: Row, value: Any, in_array: bool) -> Any:
        kind = param["type"]
        if value is None:
            return None
        if kind == "json" or (kind == "text_list" and self.is_sqlite):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if kind == "text_list" and in_array:
            quoted = [re.sub(r'(["\\])', r"\\\1", text) for text in value]
            return "{" + ",".join(f'"{text}"' for text in quoted) + "}"
        if isinstance(value, uuid.UUID) and kind == "text":
            return str(value)
        if isinstance(value, uuid.UUID) and self.is_sqlite:
            return value.bytes
        return list(value) if kind == "text_list" else value


def _value(param: Row, values: Row, found: Row | None, item: int, picked: int) -> Any:
    """The value of a parameter."""
    if "argument" in param:
        return values[param["argument"]]
    if "each" in param:
        return values[param["each"]][item]
    if "found" in param:
        return (found or {}).get(param["found"])
    if "document" in param:
        return _filled(param["document"], values)
    return picked if "picked" in param else param["constant"]


def _filled(template: Any, values: Row) -> Any:
    """The document with the values of its arguments."""
    if isinstance(template, dict):
        if set(template) == {"$value"}:
            return values[template["$value"]]
        if set(template) == {"$text"}:
            return str(values[template["$text"]])
        return {name: _filled(member, values) for name, member in template.items()}
    return [_filled(item, values) for item in template] if isinstance(template, list) else template


def _named(step: Row, row: tuple) -> Row:
    return {column["name"]: value for column, value in zip(step["columns"], row)}


def _decoded(column: Row, value: Any) -> Any:
    """A value that SQLite stores as one of its few types."""
    if value is None:
        return None
    if column["type"] == "uuid":
        return uuid.UUID(bytes=value)
    if column["type"] in ("json", "text_list"):
        return json.loads(value)
    return bool(value) if column["type"] == "bool" else value
