"""Write what JupyterLab shows for the chapters' citations, references and terms into lab/static/references.json.

They are worded as the book words them, numbers of equations included.
"""

import json
import re
from pathlib import Path

import course
from pybtex.database import Entry, parse_file
from pybtex.plugin import find_plugin

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "lab" / "static" / "references.json"
LABELLED = re.compile(r"^\((?P<label>[\w-]+)\)=\n+#+ (?P<title>.+)$", re.M)
GLOSSARY = re.compile(r"^```\{glossary\}\n(?P<body>.*?)^```$", re.S | re.M)
EQUATION = re.compile(r"^```\{math\}\n:label: (\S+)$", re.M)
EXERCISE = re.compile(r"^[`:]{3,}\{exercise\}.*\n:label: (\S+)$", re.M)
ROLE = re.compile(r"\{[\w:]+\}`(?P<text>[^`<]+?)\s*(?:<[^`]*>)?`")


def said(markdown: str) -> str:
    """Markdown in plain words; formulas stay as they are written."""
    return re.sub(r"[*`$]", "", ROLE.sub(r"\g<text>", markdown))


def names(entry: Entry) -> str:
    people = entry.persons["author"]
    last = [" ".join(map(str, person.rich_prelast_names + person.rich_last_names)) for person in people]
    return " and ".join(last) if len(last) < 3 else f"{last[0]} et al."


def papers() -> dict[str, dict]:
    """Each paper: whom and when a citation names, the entry, and where the paper is."""
    library = parse_file(ROOT / "references.bib")
    style, html = find_plugin("pybtex.style.formatting", "unsrt")(), find_plugin("pybtex.backends", "html")()
    found = {}
    for key, entry in library.entries.items():
        (formatted,) = style.format_entries([entry])
        doi, url = entry.fields.get("doi"), entry.fields.get("url")
        found[key] = {
            "cited": [names(entry), entry.fields["year"]],
            "html": formatted.text.render(html),
            "url": f"https://doi.org/{doi}" if doi else url,
        }
    return found


def sources() -> dict[str, str]:
    """The text of each page, in the book's order."""
    pages = {}
    for page in ["chapters/index", *course.toc_files()]:
        if (path := ROOT / f"{page}.md").exists():
            pages[path.name] = path.read_text(encoding="utf-8")
        else:
            pages[f"{path.stem}.ipynb"] = course.text(path.with_suffix(".ipynb"))
    return pages


def places() -> dict[str, dict]:
    """Each labelled section: its page and its title."""
    return {
        found["label"].lower(): {"file": name, "title": said(found["title"])}
        for name, text in sources().items()
        for found in LABELLED.finditer(text)
    }


def equations() -> dict[str, dict]:
    """Each equation with a number: its page, and the number, which goes through the whole book."""
    return numbered(EQUATION)


def exercises() -> dict[str, dict]:
    """Each exercise: its page, and its number, which goes through the whole book too."""
    return numbered(EXERCISE)


def numbered(labels: re.Pattern) -> dict[str, dict]:
    """The page and the number of each label, in the book's order."""
    found = [(label, name) for name, text in sources().items() for label in labels.findall(text)]
    return {label: {"file": name, "number": str(number)} for number, (label, name) in enumerate(found, 1)}


def terms() -> dict[str, str]:
    """Each term of the glossary and its definition."""
    body = GLOSSARY.search((ROOT / "chapters" / "glossary.md").read_text(encoding="utf-8"))["body"]
    found = {}
    for block in re.split(r"\n{2,}(?=\S)", body.strip("\n")):
        lines = block.split("\n")
        definition = " ".join(said(" ".join(line.strip() for line in lines if line.startswith(" "))).split())
        for term in (line for line in lines if line and not line.startswith(" ")):
            found[term.strip().lower()] = definition
    return found


def table() -> str:
    """The table as it is stored."""
    content = {
        "papers": papers(),
        "places": places(),
        "equations": equations(),
        "exercises": exercises(),
        "terms": terms(),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
