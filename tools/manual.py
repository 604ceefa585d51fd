"""Build tool: a manual page. What `sidelog help --man` makes of the tables of commands and options, and in it,
where it leaves a mark, what docs/cli.md says: nothing is written twice.

    manual.py CLI.MD SIDELOG PAGE      PAGE: sidelog, sidelog-COMMAND or sidelog-output; the page goes to stdout
"""
import pathlib
import re
import subprocess
import sys

MARK = '.\\" docs\n'
OVERVIEW = ("Exit statuses", "The store", "How times are written", "On a terminal")
OUTPUT = ("Events",)
OUTPUT_HEAD = """.\\" Made by tools/manual.py from docs/cli.md: do not edit.
.TH SIDELOG-OUTPUT 5 "" "{version}" "sidelog"
.SH NAME
sidelog\\-output \\- the lines that sidelog \\-\\-json prints
.SH DESCRIPTION
"""
OUTPUT_TAIL = """.SH SEE ALSO
.BR sidelog (1),
.BR sidelog\\-query (1),
.BR sidelog\\-export (1)
"""
SPECIAL = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "~": "\\(ti", "^": "\\(ha", '"': "\\(dq"}


def roff(text):
    text = "".join(SPECIAL.get(c, c) for c in text)
    return "\\&" + text if text.startswith((".", "'")) else text


def spans(text):
    """Inline Markdown: code and strong text are bold, links are their words."""
    text = re.sub(r"\[([^\]]+)\]\(#events\)", r"\1 (sidelog-output(5))", text)
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
    out = []
    for part in re.split(r"(``? ?[^`]+ ?`?`|\*\*[^*]+\*\*)", text):
        mark = re.fullmatch(r"(`+|\*\*) ?(.+?) ?\1", part)
        words = roff(mark[2] if mark else part)
        out.append(f"\\fB{words}\\fR" if mark else words if out == [] else words.removeprefix("\\&"))
    return "".join(out) if out[0] else "\\&" * text.startswith(("`.", "**.")) + "".join(out)


def cells(row):
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def table(rows):
    """The first column names, the others say."""
    for row in rows[2:]:
        name, *rest = cells(row)
        yield ".TP\n" + spans(name)
        yield "\n.br\n".join(spans(cell) for cell in rest if cell) or "\\&"


def paragraphs(markdown):
    """Roff of a section: paragraphs, lists, tables with two columns and more, blocks of code, sub-headings."""
    for block in re.split(r"(?m)^(```\n.*?^```\n)", markdown, flags=re.S):
        if block.startswith("```"):
            body = block.removeprefix("```\n").removesuffix("```\n").rstrip("\n")
            yield ".PP\n.nf\n.RS\n" + "\n".join(roff(line) or "\\&" for line in body.split("\n")) + "\n.RE\n.fi"
            continue
        for part in re.split(r"\n{2,}", block.strip("\n")):
            lines = part.split("\n")
            if not part.strip():
                continue
            if part.startswith("|"):
                yield from table(lines)
            elif part.startswith("- "):
                for item in re.split(r"(?m)^- ", part)[1:]:
                    yield ".IP \\(bu 2\n" + spans(" ".join(item.split()))
            elif part.startswith("### "):
                yield ".SS " + spans(part[4:])
            else:
                yield ".PP\n" + "\n".join(spans(line) for line in re.split(r"(?<=[.:;]) +", " ".join(lines)))


def sections(path):
    parts = re.split(r"(?m)^## (.+)\n", path.read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], parts[2::2]))


def owner(title, commands):
    """The page that a section of docs/cli.md belongs to."""
    word = title.split()[0].lower()
    return "sidelog" if title in OVERVIEW else "sidelog-output" if title in OUTPUT else \
        f"sidelog-{word}" if word in commands else None


def main():
    docs, sidelog, page = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]

    def said(*args):
        return subprocess.run([sidelog, *args], capture_output=True, text=True, encoding="utf-8",
                              check=True).stdout

    commands = re.findall(r"(?m)^  ([a-z]+) {2,}\S", said("help").split("\nEverywhere:")[0])
    text = []
    for title, markdown in sections(docs).items():
        whose = owner(title, commands)
        if whose is None:
            sys.exit(f"manual.py: no page takes the section {title} of {docs}")
        if whose == page:
            if page != "sidelog-output":
                name = "details" if f"sidelog-{title.lower()}" == page else title
                text.append(".SH " + roff(name.upper()))
            text += paragraphs(markdown)
    body = re.sub(r"(?m)^(\.S[HS] .*)\n\.PP\n", r"\1\n", "".join(line + "\n" for line in text))
    if page == "sidelog-output":
        version = said("--version").strip().rsplit(".", 1)[0]
        whole = OUTPUT_HEAD.format(version=version) + body.removeprefix(".PP\n") + OUTPUT_TAIL
    else:
        whole = said("help", "--man", *page.split("-")[1:]).replace(MARK, body)
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(whole)


main()
