"""`make verify` accepts what agrees, finds every planted number, and leaves the project alone."""

import fnmatch
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from griddispatch.errors import InputError
from griddispatch.pipeline import smoke, stages, verify, verify_paper, verify_tolerances
from griddispatch.pipeline.verify_files import read_sheet
from griddispatch.pipeline.verify_outcome import FAR, Outcome, compare_widths
from griddispatch.pipeline.verify_tolerances import Tolerance

ROOT = Path(__file__).resolve().parents[1]

RULES = """
tolerances:
  rounding: {relative: 1.0e-5}
  solver: {relative: 1.0e-3}
  lone: {relative: 0.1}
files:
  results/facts.json: {kinds: {"*": exact}, any_size: all}
  results/days.csv: {rows: [date], kinds: {"*": solver}, any_size: rows}
  results/scores.csv:
    rows: [policy]
    fixed: [policy]
    kinds: {verdict: exact, "*": learned}
  results/played.csv: {rows: [policy, seed, day], pool: [day, seed], kinds: {"*": learned}}
  results/claims.csv:
    rows: [id]
    interval: ours
    kinds: {ours_text: words, reason: words, "*": learned}
  results/summary.json: {kinds: {claims.*.holds: exact, "*": learned}}
  results/timings/*: time
  paper/tables/*: table
  figures/drawn.svg: picture
  paper/paper.pdf: made
"""
MAIN = """
#import "lib.typ": *
#figure(
  table(..csv("/" + SCORES).flatten()), // (not a bracket of the figure
  caption: [Scores (all of them],
) <scores>
#figure(drawing("drawn"), caption: [A drawing.]) <drawn>
"""
LIB = """
#let SCORES = "results/scores.csv"
#let drawing(name) = image("/figures/" + name + ".svg")
"""
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'
    '<path id="p{0}" d="M 1.5 {0} L 4 7" style="stroke: #1f77b4; stroke-width: 0.6; opacity: 0.5"/>'
    '<use href="#p{0}"/></svg>\n'
)
TABLE = "| Policy | Captured |\n| --- | ---: |\n| A | 9.5 \\[8.8, 10.2\\] |\n| B | \u22124.2 |\n"
PLAYED = [(p, s, d) for p in "AB" for s in range(3) for d in range(4)]
FILES = {
    "results/facts.json": json.dumps({"days": 30, "first": "2020-09-01", "split": {"fit": 21}}),
    "results/days.csv": "date,profit\n2020-09-01,25.1\n2020-09-02,31.2\n2020-09-03,-2.5\n",
    "results/scores.csv": "policy,mean,low,high,verdict\n"
    "A,9.5,8.8,10.2,more\nB,-4.2,-4.9,-3.5,less\nRule,5.0,4.0,6.0,more\n",
    "results/played.csv": "policy,seed,day,reward\n"
    + "".join(f"{p},{s},{d},{10 * d + s + 0.5}\n" for p, s, d in PLAYED),
    "results/summary.json": json.dumps(
        {"claims": {"better": {"value": 3.1, "low": 2.0, "high": 4.2, "holds": True}}}
    ),
    "results/timings/learn.json": json.dumps({"seconds": 12.5, "rows": [{"ms": 1.5}]}),
    "results/timings/claims.csv": "id,ours,low\nfast,12.5,\n",
    "results/claims.csv": "id,ours,low,high,ours_text,reason\n"
    'better,3.1,2.0,4.2,"3.1 [2.0, 4.2]",It is 3.1 times as much.\n',
    "paper/tables/scores.md": TABLE,
    "figures/drawn.svg": SVG.format(2),
    "paper/paper.pdf": "PDF",
}
EVERYTHING = {
    **FILES,
    "paper/verify.yaml": RULES,
    "paper/main.typ": MAIN,
    "paper/lib.typ": LIB,
    "params.yaml": "profile: reduced\n",
    ".gitignore": "/build\n",
    "src/griddispatch/__init__.py": "",
    "dvc.yaml": yaml.safe_dump(
        {
            "stages": {
                name: {"cmd": f"python -m griddispatch.pipeline.module {name}", "outs": outs}
                for name, outs in {
                    "learn": [name for name in FILES if name != "paper/paper.pdf"],
                    "paper": ["paper/paper.pdf"],
                }.items()
            }
        }
    ),
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "a project", EVERYTHING)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return write(tmp_path / "what was made", EVERYTHING)


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")


def problems(project: Path, made: Path, profile: str = "reduced") -> dict[str, list[str]]:
    report = verify.verify(project, made, profile)
    return {name: o.problems for name, o in report.outcomes.items() if o.problems}


def test_what_is_made_again_alike_passes(project: Path, made: Path) -> None:
    report = verify.verify(project, made, "reduced")
    assert not report.failed
    # 3 facts, 3 days, 12 scores, 24 rewards, 4 and 5 of the claim, 2 of the table, 1 drawing
    assert report.compared == 54
    assert [(f.name, f.label) for f in report.floats] == [
        ("Table 1", "scores"),
        ("Figure 1", "drawn"),
    ]


PLANTED = {
    "a CSV": ("results/days.csv", "31.2", "31.9"),
    "a learned CSV, within its interval": ("results/scores.csv", "9.5,8.8", "9.6,8.8"),
    "a swapped sign": ("results/scores.csv", "-4.2,", "4.2,"),
    "an end of an interval": ("results/scores.csv", "10.2,more", "10.3,more"),
    "a verdict": ("results/scores.csv", "-3.5,less", "-3.5,more"),
    "a JSON file": ("results/facts.json", "30", "31"),
    "a date": ("results/facts.json", "2020-09-01", "2020-09-02"),
    "a learned JSON file": ("results/summary.json", "3.1", "3.2"),
    "a claim": ("results/summary.json", "true", "false"),
    "one of many rows": ("results/played.csv", "A,1,2,21.5", "A,1,2,21.6"),
    "a table": ("paper/tables/scores.md", "9.5", "9.6"),
    "a sign in a table": ("paper/tables/scores.md", "\u22124.2", "4.2"),
    "a word in a table": ("paper/tables/scores.md", "| B", "| C"),
    "a drawing": ("figures/drawn.svg", "L 4 7", "L 4 8"),
    "a colour": ("figures/drawn.svg", "#1f77b4", "#ff7f0e"),
    "a colour of digits": ("figures/drawn.svg", "#1f77b4", "#123456"),
    "an opacity": ("figures/drawn.svg", "opacity: 0.5", "opacity: 0.6"),
    "the width of a line": ("figures/drawn.svg", "stroke-width: 0.6", "stroke-width: 0.9"),
    "a sentence": ("results/claims.csv", "times as much", "times as little"),
    "an end of the interval of a claim": ("results/claims.csv", "4.2,", "4.3,"),
    "a missing row": ("results/days.csv", "2020-09-02,31.2\n", ""),
    "a row too many": ("results/days.csv", "2020-09-02", "2020-09-04,1.0\n2020-09-02"),
    "a missing column": ("results/days.csv", "profit", "gain"),
    "NaN in a CSV": ("results/played.csv", "A,1,2,21.5", "A,1,2,nan"),
    "an empty cell": ("results/played.csv", "A,1,2,21.5", "A,1,2,"),
    "NaN in a JSON file": ("results/summary.json", "3.1", "NaN"),
    "no time": ("results/timings/learn.json", "12.5", "NaN"),
    "no time in a CSV": ("results/timings/claims.csv", "12.5", "nan"),
    "another time": ("results/timings/learn.json", "seconds", "minutes"),
    "a time too few": ("results/timings/learn.json", ', "rows": [{"ms": 1.5}]', ""),
}


@pytest.mark.parametrize("which", PLANTED)
@pytest.mark.parametrize("where", ["published", "made"])
def test_a_planted_number_is_found(project: Path, made: Path, which: str, where: str) -> None:
    name, old, new = PLANTED[which]
    edit(project if where == "published" else made, name, old, new)
    assert list(problems(project, made)) == [name]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("results/timings/learn.json", "12.5", "null"),
        ("results/timings/learn.json", '[{"ms": 1.5}]', "[]"),
        ("results/timings/claims.csv", "12.5", ""),
    ],
)
def test_a_time_that_is_not_made_again_is_found(
    project: Path, made: Path, name: str, old: str, new: str
) -> None:
    edit(made, name, old, new)
    assert list(problems(project, made)) == [name]


def test_a_drawing_may_name_its_parts_otherwise(project: Path, made: Path) -> None:
    edit(made, "figures/drawn.svg", 'id="p2"', 'id="q7"')
    edit(made, "figures/drawn.svg", '"#p2"', '"#q7"')
    assert problems(project, made) == {}


def test_a_difference_is_told_where_it_shows(project: Path, made: Path) -> None:
    edit(project, "results/scores.csv", "9.5,8.8", "9.6,8.8")
    report = verify.verify(project, made, "reduced")
    text = verify.verify_report.markdown(report)
    assert "| Table 1 | scores | `results/scores.csv` | 12 | DIFFERS |" in text
    assert "published 9.6, made 9.5" in text
    told = verify.verify_report.told(report, "build/verify/report.md")
    assert told.splitlines()[-1] == "verify: FAILED; report: build/verify/report.md"


def test_a_missing_file_is_found(project: Path, made: Path) -> None:
    (made / "results/days.csv").unlink()
    (project / "paper/paper.pdf").unlink()
    found = problems(project, made)
    assert found["results/days.csv"][0].startswith("was not made again")
    assert found["paper/paper.pdf"][0].startswith("is not published")


def learned_anew(folder: Path, shift: float) -> None:
    """Move every learned number, as a training on another machine does."""
    scores = ["policy,mean,low,high,verdict"]
    for policy, mean, verdict in (("A", 9.5, "more"), ("B", -4.2, "less"), ("Rule", 5.0, "more")):
        wide = 1.0 if policy == "Rule" else 0.7
        ends = (mean + shift - wide, mean + shift, mean + shift + wide)
        scores.append(f"{policy},{ends[1]:.6g},{ends[0]:.6g},{ends[2]:.6g},{verdict}")
    rows = [f"{p},{s},{d},{10 * d + s + 0.5 + shift * (s - 0.9):.6g}" for p, s, d in PLAYED]
    ours = {"value": 3.1 + shift, "low": 2.0 + shift, "high": 4.2 + shift}
    claim = {**ours, "holds": True}
    printed = "{value:.1f} [{low:.1f}, {high:.1f}]".format(**ours)
    line = "better,{value:.6g},{low:.6g},{high:.6g},".format(**ours)
    line += f'"{printed}",It is {ours["value"]:.1f} times as much.'
    write(
        folder,
        {
            "results/scores.csv": "\n".join(scores) + "\n",
            "results/played.csv": "\n".join(["policy,seed,day,reward", *rows]) + "\n",
            "results/summary.json": json.dumps({"claims": {"better": claim}}),
            "results/claims.csv": f"id,ours,low,high,ours_text,reason\n{line}\n",
            "paper/tables/scores.md": TABLE.replace("9.5 \\[8.8, 10.2", "9.8 \\[9.1, 10.5"),
            "figures/drawn.svg": SVG.format(3),
        },
    )


def test_numbers_learned_anew_agree_within_their_intervals(project: Path, made: Path) -> None:
    learned_anew(made, 0.3)
    report = verify.verify(project, made, "reduced")
    assert {name: o.problems for name, o in report.outcomes.items() if o.problems} == {}
    assert sum(len(outcome.apart) for outcome in report.outcomes.values()) > 10
    text = verify.verify_report.markdown(report)
    assert "| Table 1 | scores | `results/scores.csv` | 12 | agrees |" in text


def test_numbers_learned_anew_that_are_another_result_are_found(project: Path, made: Path) -> None:
    learned_anew(made, 3.0)
    found = problems(project, made)
    assert {"results/scores.csv", "results/summary.json"} <= set(found)


def test_another_value_in_one_row_is_found_among_numbers_learned_anew(
    project: Path, made: Path
) -> None:
    learned_anew(made, 0.3)
    edit(made, "results/scores.csv", "9.8,9.1,10.5", "-9.8,-10.5,-9.1")
    assert list(problems(project, made)) == ["results/scores.csv"]


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        ("9.53,9.67", "are outside their intervals"),
        ("2.6,16.6", "are outside their intervals"),
        ("9.59,9.61", "more than 25 times as wide as the other"),
    ],
)
def test_an_interval_of_another_width_is_found_among_numbers_learned_anew(
    project: Path, made: Path, ends: str, why: str
) -> None:
    # Too narrow or too wide: the numbers and the ends still lie close enough.
    learned_anew(made, 0.1)
    edit(made, "results/scores.csv", "8.9,10.3", ends)
    found = problems(project, made)
    assert list(found) == ["results/scores.csv"]
    assert why in found.popitem()[1][0]


def test_a_printed_interval_of_another_width_is_found(project: Path, made: Path) -> None:
    learned_anew(made, 0.3)
    edit(made, "paper/tables/scores.md", "9.1, 10.5", "2.8, 16.8")
    assert list(problems(project, made)) == ["paper/tables/scores.md"]


def test_widths_that_differ_by_rounding_only_agree() -> None:
    outcome = Outcome("x")
    assert compare_widths(outcome, "a", (1.0, 1.0), (0.9, 1.1), 0.1) == 0
    assert compare_widths(outcome, "a", (0.0, 0.0), (0.0, 0.8), 0.1) == FAR  # no event, one event
    assert compare_widths(outcome, "a", (1.0, 1.2), (0.5, 1.4), 0.0) == 0
    assert outcome.problems == []
    assert compare_widths(outcome, "a", (1.0, 1.2), (0.5, 1.6), 0.0) == FAR
    assert outcome.problems == []
    assert compare_widths(outcome, "a", (1.0, 1.2), (0.0, 5.2), 0.0) == FAR
    assert len(outcome.problems) == 1


@pytest.mark.parametrize(
    ("column", "ends"),
    [
        ("gain", (1.0, 3.0)),
        ("gain_low", (1.0, 3.0)),
        ("share", (4.0, 6.0)),
        ("share high", (4.0, 6.0)),
        ("reached", (8.0, 9.0)),
        ("reached_ci_high", (8.0, 9.0)),
        ("reached_low", (7.0, 9.5)),
        ("alone", None),
    ],
)
def test_the_interval_of_a_column_is_found_by_its_name(
    tmp_path: Path, column: str, ends: tuple[float, float] | None
) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        "gain,gain_low,gain_high,share,share low,share high,reached,reached_low,reached_high,"
        "reached_ci_low,reached_ci_high,alone\n2,1,3,5,4,6,8.5,7,9.5,8,9,1\n"
    )
    sheet = read_sheet(file, verify_tolerances.Rule("a.csv"))
    assert sheet.values[f"line 2: {column}"].ends == ends


def test_rounding_and_solver_noise_is_no_difference(project: Path, made: Path) -> None:
    edit(made, "results/days.csv", "31.2", "31.2004")
    edit(made, "results/played.csv", "21.5", "21.5001")
    assert problems(project, made) == {}


class TestAnotherSize:
    """A smoke run: fewer days and rows, other learned values."""

    @pytest.fixture
    def small(self, made: Path) -> Path:
        learned_anew(made, 3.0)
        edit(made, "params.yaml", "reduced", "smoke")
        edit(made, "results/days.csv", "2020-09-02,31.2\n", "")
        edit(made, "results/played.csv", "A,1,2,", "A,1,7,")
        return made

    def test_passes_if_what_does_not_depend_on_it_agrees(self, project: Path, small: Path) -> None:
        assert problems(project, small, "smoke") == {}
        assert problems(project, small) != {}

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("results/facts.json", "30", "31"),
            ("results/days.csv", "25.1", "25.2"),
            ("results/days.csv", "2020-09-03", "2020-09-05"),
            ("results/scores.csv", "Rule", "Ruler"),
            ("results/scores.csv", "policy,mean", "policy,average"),
            ("results/summary.json", "claims", "claim"),
        ],
    )
    def test_a_difference_is_found(
        self, project: Path, small: Path, name: str, old: str, new: str
    ) -> None:
        edit(small, name, old, new)
        assert list(problems(project, small, "smoke")) == [name]

    def test_its_report_says_what_was_not_compared(self, project: Path, small: Path) -> None:
        report = verify.verify(project, small, "smoke")
        text = verify.verify_report.markdown(report)
        assert "| Table 1 | scores | `results/scores.csv` | 0 | made |" in text

    def test_its_numbers_are_those_of_the_reference(
        self, project: Path, small: Path, capsys: pytest.CaptureFixture[str], monkeypatch
    ) -> None:
        monkeypatch.setenv("GRIDDISPATCH_ROOT", str(project))
        assert verify.main(["--made", str(small), "--record"]) == 0
        assert verify.main(["--made", str(small)]) == 0
        edit(small, "results/played.csv", "B,1,2,", "B,1,2,1")
        capsys.readouterr()
        assert verify.main(["--made", str(small)]) == 1
        told = capsys.readouterr().out
        assert "tests/reference/smoke.json: results/played.csv: mean of reward (learned)" in told


def run(root: Path, *command: str) -> None:
    subprocess.run(["git", *command], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    run(project, "init", "-q")
    run(project, "add", "-A")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    run(project, *identity, "commit", "-qm", "all")
    monkeypatch.setenv("GRIDDISPATCH_ROOT", str(project))
    monkeypatch.setattr(smoke, "check", lambda clone: None)
    return project


def contents(root: Path) -> dict[str, str | None]:
    names = (file for file in stages.files(root) if "build" not in file.parts)
    return {str(n): stages.digest(n) for n in names if ".git" not in n.parts}


def test_the_whole_leaves_the_project_as_it_was(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clones = []

    def reproduce(clone: Path) -> None:
        clones.append(clone)
        # Nothing that is published may be there before it is made.
        assert not any((clone / name).exists() for name in FILES)
        write(clone, FILES)

    monkeypatch.setattr(smoke, "reproduce", reproduce)
    before = contents(repository)
    assert verify.main(["--profile", "reduced"]) == 0
    told = capsys.readouterr().out
    assert "11 files" in told
    assert "54 numbers" in told
    assert contents(repository) == before
    assert (repository / verify.REPORT).is_file()
    assert " " in str(clones[0])
    assert not clones[0].exists()

    edit(repository, "results/facts.json", "30", "31")
    assert verify.main(["--profile", "reduced"]) == 1
    assert "facts.json: days: published 31, made 30" in capsys.readouterr().out
    shutil.rmtree(clones[1].parent)


def test_an_interrupted_run_goes_on(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clones = []

    def interrupted(clone: Path) -> None:
        clones.append(clone)
        write(clone, {"build/cells/done": "1"})
        raise KeyboardInterrupt

    def reproduce(clone: Path) -> None:
        clones.append(clone)
        write(clone, FILES)

    monkeypatch.setattr(smoke, "reproduce", interrupted)
    assert verify.main(["--profile", "reduced"]) == 130
    assert verify.main(["--profile", "reduced"]) == 130
    assert clones[0] == clones[1]
    # Other sources: the finished cells of the old ones are of no use.
    edit(repository, "params.yaml", "profile", "# edited\nprofile")
    monkeypatch.setattr(smoke, "reproduce", reproduce)
    assert verify.main(["--profile", "reduced"]) == 0
    assert clones[2] != clones[0]
    assert not clones[0].exists()
    assert not clones[2].exists()


def test_a_comparison_that_breaks_off_keeps_the_finished_run(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clones = []

    def reproduce(clone: Path) -> None:
        clones.append(clone)
        write(clone, {**FILES, "results/days.csv": "date,profit\n1,2,3\n"})

    monkeypatch.setattr(smoke, "reproduce", reproduce)
    for _ in range(2):
        assert verify.main(["--profile", "reduced"]) == 1
        told = capsys.readouterr().err
        assert "compare it with: python -m griddispatch.pipeline.verify --profile reduced" in told
        assert f"--made '{clones[0]}'" in told
        assert "line 2: 3 cells under 2 columns" in told
    assert clones[1] == clones[0]
    assert (clones[0] / "results/facts.json").exists()
    shutil.rmtree(clones[0].parent)


def rules_error(project: Path, old: str, new: str) -> str:
    edit(project, "paper/verify.yaml", old, new)
    with pytest.raises(InputError) as caught:
        verify_tolerances.read(project).check(verify.published(project))
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  paper/paper.pdf: made\n", "", "published file paper/paper.pdf has no kind; add one"),
        (
            "results/facts.json",
            "results/f*: exact\n  results/*.json",
            "facts.json fits results/f* and",
        ),
        ("files:", "files:\n  results/gone.csv: exact", "results/gone.csv fits no published file"),
        ("paper/tables/*", "paper/tables/no*", "paper/tables/scores.md has no kind"),
        ("scores.csv", "nothing.csv", "results/scores.csv has no kind"),
        ("verdict: exact", "verdict: exactly", "has the kind 'exactly'; known are"),
        ("{rows: [date],", "{row: [date],", "write one kind, or fields of"),
        ("any_size: rows", "any_size: some", "any_size is 'some'; write all, rows or a list"),
        ("  lone: {relative: 0.1}\n", "", "tolerances has no 'lone'"),
        ("{relative: 1.0e-3}", "{relativ: 1.0e-3}", "tolerance solver is"),
        ("tolerances:", "tolerance:", "needs exactly the sections"),
    ],
)
def test_a_slip_in_the_rules_is_one_sentence(
    project: Path, old: str, new: str, message: str
) -> None:
    assert message in rules_error(project, old, new)


def test_a_column_without_a_kind_is_named(project: Path, made: Path) -> None:
    edit(project, "paper/verify.yaml", '{verdict: exact, "*": learned}', "{verdict: exact}")
    with pytest.raises(InputError, match=r"scores.csv gives 'mean' no kind"):
        verify.verify(project, made, "reduced")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("results/facts.json", "{", "facts.json cannot be read"),
        ("results/days.csv", "date,profit\n1,2,3\n", "line 2: 3 cells under 2 columns"),
        ("results/days.csv", "date,profit\n1,2\n1,3\n", "two rows with date = 1"),
        ("results/days.csv", "day,profit\n1,2\n", "no column 'date'"),
        ("paper/main.typ", "#figure(table()) \n", "a table has no label"),
    ],
)
def test_a_broken_file_is_one_sentence(
    project: Path, made: Path, name: str, text: str, message: str
) -> None:
    for folder in (project, made):
        write(folder, {name: text})
    with pytest.raises(InputError, match=message):
        verify.verify(project, made, "reduced")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--made", "/nowhere"], "--made /nowhere holds no dvc.yaml"),
        (["--profile", "reduced", "--record"], "--record keeps the values of a smoke run"),
        (["--made", "."], "has the profile 'reduced', not 'smoke'"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("GRIDDISPATCH_ROOT", str(project))
    monkeypatch.chdir(project)
    assert verify.main(arguments) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_tolerances() -> None:
    assert Tolerance(relative=0.1).agree(-10, -9.1)
    assert not Tolerance(relative=0.1).agree(0.1, -0.1)
    assert Tolerance(absolute=1).agree(0.4, -0.4)
    assert Tolerance(factor=10).agree(2e-7, 1.9e-6)
    assert not Tolerance(factor=10).agree(2e-7, 2.1e-6)
    assert not Tolerance(factor=10).agree(2e-7, -2e-7)
    assert Tolerance().agree(float("inf"), float("inf"))
    assert not Tolerance(absolute=9).agree(float("nan"), float("nan"))


def test_a_reference_of_another_processor_judges_no_learned_number(
    project: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(made, "params.yaml", "reduced", "smoke")
    monkeypatch.setenv("GRIDDISPATCH_ROOT", str(project))
    assert verify.main(["--made", str(made), "--record"]) == 0
    write(made, {"build/runs/learn.json": json.dumps({"device": {"cpu": "another"}})})
    learned_anew(made, 3.0)
    assert verify.main(["--made", str(made)]) == 0


def test_every_published_file_of_this_project_has_a_kind() -> None:
    verify_tolerances.read(ROOT).check(verify.published(ROOT))


def test_every_row_that_this_project_published_is_told_apart() -> None:
    rules = verify_tolerances.read(ROOT)
    sheets = [name for name in verify.published(ROOT) if name.endswith((".csv", ".json"))]
    assert len(sheets) > 50
    for name in sheets:
        if rules.of(name).whole != verify_tolerances.MADE:
            read_sheet(ROOT / name, rules.of(name))


# Tables of words, of signs, and of params.yaml: they hold no result.
WITHOUT_RESULTS = {"sources", "symbols", "profiles-table"}


def test_every_figure_of_this_paper_is_carried_by_published_files() -> None:
    published = verify.published(ROOT)
    carried = dict(verify_paper.carried(verify_paper.sources(ROOT)))
    assert len(carried) > 30
    assert {label for label, files in carried.items() if not files} == WITHOUT_RESULTS
    for label, files in carried.items():
        own = [file for file in files if not file.startswith("paper/printed/")]
        assert all(fnmatch.filter(published, file) for file in own), label
