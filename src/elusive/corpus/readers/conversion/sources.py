"""Sources of text documents, made ready for pandoc: without files that they include, and tables that it knows."""

import re

_INCLUDE = re.compile(r"^include::[^\n]*\[[^\n]*\][ \t]*$", re.MULTILINE)

_REQUEST = re.compile(r"^[.'][ \t]*(?:so|mso|psbb|pso|sy|open|opena|cf|lf)\b[^\n]*$", re.MULTILINE)

_TABLE = re.compile(r"^\.TS[^\n]*\n(.*?)^\.TE[^\n]*$", re.MULTILINE | re.DOTALL)

_TAB = re.compile(r"tab\s*\(\s*(.)\s*\)")

_COMMENT = re.compile(r"\A(?:\.\.[ \t][^\n:]*(?:\n[ \t]+[^\n]*)*\n|\s*\n)*")


def without_includes(text: str) -> str:
    """AsciiDoc without `include::`: what is included is a file of its own."""
    return _INCLUDE.sub("", text)


def without_comments(text: str) -> str:
    """reStructuredText without the comment at its start, which is a licence, say."""
    found = _COMMENT.match(text)
    lead = found.group() if found else ""
    kept = "".join(part for part in re.split(r"(?<=\n)(?=\.\.)", lead) if re.match(r"\.\. (?:_|\||\[)", part))
    return kept + text[len(lead) :]


def without_requests(text: str) -> str:
    """A manual page without requests that open files, and with its tables in the one form that pandoc reads."""
    return _TABLE.sub(_plain_table, _REQUEST.sub("", text))


def _plain_table(found: re.Match[str]) -> str:
    options, formats, rows = _table_parts(found[1].split("\n"))
    tab = _TAB.search(options)
    separator = tab[1] if tab else "\t"
    cells = [row.split(separator) for row in rows if not re.fullmatch(r"[_=\s\\^]*", row)]
    if not cells:
        return ""
    columns = max(map(len, cells)) if not formats else max(*map(len, cells), *map(_columns, formats))
    lines = [separator.join([*row, *[""] * (columns - len(row))]) for row in cells]
    return "\n".join([".TS", f"tab({separator});", " ".join("l" * columns) + ".", *lines, ".TE"])


def _columns(format: str) -> int:
    """The columns that a line of formats has: a letter each, lines between them aside."""
    return len(re.findall(r"[a-zA-Z^_-][^\s|]*", format.rstrip(" .")))


def _table_parts(lines: list[str]) -> tuple[str, list[str], list[str]]:
    """Options, lines of formats, and rows; cells of several lines (T{ to T}) are joined."""
    options = lines.pop(0) if lines and lines[0].rstrip().endswith(";") else ""
    formats: list[str] = []
    while lines:
        formats.append(lines.pop(0))
        if formats[-1].rstrip().endswith("."):
            break
    rows, inside = [], False
    for line in lines:
        if re.match(r"\.T&", line) or (line.startswith((".", "'")) and not inside):
            continue
        if inside:
            inside = not line.startswith("T}")
            rows[-1] += line.removeprefix("T}") if not inside else _cell_line(line)
        elif line:
            rows.append(line)
        if line.endswith("T{"):
            rows[-1] = rows[-1].removesuffix("T{")
            inside = True
    return options, formats, rows


def _cell_line(line: str) -> str:
    """A line of a cell: macros of one font become their words."""
    return re.sub(r"^\.\w+[ \t]*", "", line) + " "
