from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.delivery.dockerfile import Copy, Recipe, Wheels, read_recipe, read_recipe_file
from labkit.errors import LabError
from labkit.paths import DATA

COMPLETE = r"""# a comment
ARG BASE=python:3.13-slim
FROM ${BASE}
WORKDIR /app
COPY tier/requirements.txt ./
RUN pip install --no-cache-dir \
    # a comment in between
    --target lib \
    --requirement requirements.txt
COPY tier/main.py /srv/start.py
copy tier/pages ./pages/
ENV A=1 B="two words"
EXPOSE 8080 9090/tcp
USER 10001:10001
ENTRYPOINT ["python3"]
CMD ["/srv/start.py"]
"""


def test_a_complete_one():
    assert read_recipe(COMPLETE) == Recipe(
        workdir=PurePosixPath("/app"),
        contents=(
            Copy(("tier/requirements.txt",), PurePosixPath("/app"), True),
            Wheels(PurePosixPath("/app/requirements.txt"), PurePosixPath("/app/lib")),
            Copy(("tier/main.py",), PurePosixPath("/srv/start.py"), False),
            Copy(("tier/pages",), PurePosixPath("/app/pages"), True),
        ),
        env={"A": "1", "B": "two words"},
        ports=(8080, 9090),
        user="10001:10001",
        entrypoint=("python3",),
        command=("/srv/start.py",),
    )


@pytest.mark.parametrize("tier", ["frontend", "backend", "database"])
def test_the_demo_apps_own_can_be_read(tier):
    recipe = read_recipe_file(DATA / "demo-app" / tier / "Dockerfile")
    assert recipe.ports == (8080,)
    assert recipe.entrypoint[0] == "python3"


@pytest.mark.parametrize(
    "line",
    [
        "RUN apt-get update",
        "RUN pip install flask",
        "RUN pip install --target lib --requirement r.txt && rm -rf /",
        "RUN pip install --index-url http://elsewhere --target lib --requirement r.txt",
        "RUN",
        "COPY ../secret ./",
        "COPY /etc/passwd ./",
        "COPY --from=build a b",
        "COPY *.py ./",
        "COPY $FILE ./",
        "COPY a",
        "COPY a ../../b",
        "ADD http://elsewhere/x /x",
        "EXPOSE 0",
        "EXPOSE 70000",
        "EXPOSE 53/udp",
        "ENV A",
        "ENTRYPOINT python3 main.py",
        "ENTRYPOINT []",
        'ENTRYPOINT [""]',
        'CMD "python3"',
        'COPY "unclosed ./',
        "FROM another",
    ],
)
def test_what_cannot_be_built_is_named_by_its_line(line):
    with pytest.raises(LabError, match=r"^Dockerfile, line 2: ") as error:
        read_recipe(f'FROM base\n{line}\nENTRYPOINT ["python3"]\n')
    assert line in error.value.what


def test_without_a_command_there_is_nothing_to_start():
    with pytest.raises(LabError, match="neither ENTRYPOINT nor CMD"):
        read_recipe("FROM base\nWORKDIR /app\n")


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        recipe = read_recipe(text)
    except LabError:
        return
    assert recipe.entrypoint or recipe.command


@given(st.lists(st.sampled_from([*COMPLETE.splitlines(), "RUN x", "\\", "", "COPY a b\\", "ENV"]), max_size=12))
def test_nothing_is_ever_copied_from_or_to_outside(lines):
    try:
        recipe = read_recipe("\n".join(lines))
    except LabError:
        return
    for item in recipe.contents:
        if isinstance(item, Copy):
            assert all(".." not in source and not source.startswith("/") for source in item.sources)
            assert ".." not in item.destination.parts
            assert item.destination.is_absolute()
