from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.core.errors import BadAnswer
from kubectl_imagecache.core.survey import ListedImage, Survey, SurveyedLayer
from kubectl_imagecache.core.survey_wire import MOST_PIECES, PIECE, Pieces, pieces
from tests.core.factories import cached, contents, digest


def large(images: int, layers_each: int) -> Survey:
    """Layers are shared by none, which no real disk is as bad as."""
    rows = [f"europe-west4-docker.pkg.dev/acme-{n % 7}/models/app-{n}:v{n}.{n * 7 % 13}" for n in range(images)]
    listed = [
        ListedImage(name, digest(row), f"{n * 7 % 900}.{n % 10} MiB", "linux/amd64")
        for n, row in enumerate(rows)
        for name in (row, digest(f"config {row}"))
    ]
    layers = [
        SurveyedLayer(digest(f"{n}"), f"snapshots/{n}/fs", n * 1_234_567, n * 1_240_000, n * 17)
        for n in range(images * layers_each)
    ]
    return Survey(tuple(listed), tuple(sorted(layers, key=lambda layer: layer.chain_id)), bytes=1 << 40, used=1 << 39)


SIZES = st.integers(0, 1 << 50)
TEXTS = st.text(max_size=60)
LAYERS = st.builds(SurveyedLayer, st.integers(0, 9).map(lambda n: digest(str(n))), TEXTS, SIZES, SIZES, SIZES)
RECORDS = st.lists(st.sampled_from(["abc", "ab", "", "xyz"]), max_size=3).map(
    lambda stacks: contents(*(cached(f"r/app{n}:v1", layers=letters) for n, letters in enumerate(stacks)))
)
SURVEYS = st.builds(
    Survey,
    st.lists(st.builds(ListedImage, TEXTS, TEXTS, TEXTS, TEXTS), max_size=4).map(tuple),
    st.lists(LAYERS, max_size=5, unique_by=lambda layer: layer.chain_id).map(tuple),
    st.none() | RECORDS,
    st.lists(TEXTS, max_size=3).map(tuple),
    st.lists(TEXTS, max_size=3).map(tuple),
    st.booleans(),
    st.integers(0, 9),
    st.booleans(),
    SIZES,
    SIZES,
)


@given(SURVEYS, st.randoms(use_true_random=False))
def test_a_survey_comes_through_in_any_order_and_however_often(survey: Survey, rng: random.Random) -> None:
    # As it travels: through JSON.
    sent = [json.loads(json.dumps(fields)) for fields in pieces(survey) * 2]
    rng.shuffle(sent)
    together = Pieces()
    for fields in sent:
        together.take(fields)
    assert together.survey() == survey
    assert together.missing == 0


@pytest.mark.parametrize(("images", "layers", "most"), [(50, 8, 64 * 1024), (500, 10, 700 * 1024)])
def test_a_round_of_many_images_fits_well_within_a_serial_ports_megabyte(images: int, layers: int, most: int) -> None:
    sent = pieces(large(images, layers))
    assert sum(len(json.dumps(fields)) + 80 for fields in sent) < most
    together = Pieces()
    for fields in sent:
        together.take(fields)
    assert together.survey() == large(images, layers)


def test_what_is_missing_or_damaged_is_noticed_and_may_come_later() -> None:
    survey = large(50, 8)
    sent = pieces(survey)
    assert len(sent) > 3
    damaged = {**sent[1], "data": str(sent[1]["data"]).replace("A", "B")}
    together = Pieces()
    assert together.missing == 1
    for fields in (*sent[:1], damaged, *sent[3:]):
        together.take(fields)
    assert (together.survey(), together.missing) == (None, 2)
    for fields in sent:
        together.take(fields)
    assert (together.survey(), together.missing) == (survey, 0)


def test_pieces_of_two_readings_are_not_mixed() -> None:
    one, other = large(20, 8), replace(large(20, 8), used=5)
    together = Pieces()
    for fields in (*pieces(one)[:2], *pieces(other)):
        together.take(fields)
    assert together.survey() == other


NONSENSE = st.dictionaries(
    st.sampled_from(["piece", "of", "whole", "crc", "data"]), st.none() | st.integers() | st.text(max_size=9)
)


@given(st.lists(NONSENSE, max_size=5))
def test_nonsense_is_dropped(fields: list[dict[str, object]]) -> None:
    together = Pieces()
    for one in fields:
        together.take(one)
    assert together.survey() is None


def lie(**changes: object) -> list[dict[str, object]]:
    """The pieces of a report whose document is not what it should be, but whole."""
    import base64
    import hashlib
    import zlib

    (sent,) = pieces(Survey())
    document = json.loads(zlib.decompress(base64.b64decode(str(sent["data"])))) | changes
    text = base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()
    whole = hashlib.sha256(text.encode()).hexdigest()[:32]
    return [{"piece": 0, "of": 1, "whole": whole, "crc": zlib.crc32(text.encode()), "data": text}]


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"chains": ["../../etc"]},
        {"layers": [[5, "f", 1, 1, 1]]},
        {"layers": [[0, "f", -1, 1, 1]]},
        {"images": [["a", "b"]]},
        {"findings": [1]},
        {"record": {"schema": 1, "images": [{"reference": "A B", "digest": "x", "layers": []}]}},
        {"bytes": 1 << 70},
    ],
)
def test_a_whole_report_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    together = Pieces()
    for fields in lie(**changes):
        together.take(fields)
    with pytest.raises(BadAnswer, match="makes no sense"):
        together.survey()


def test_a_disk_that_holds_too_much_to_report_is_refused_by_the_vm() -> None:
    rng = random.Random(1)
    notes = tuple(rng.randbytes(1500).hex() for _ in range(600))
    with pytest.raises(ValueError, match=f"{MOST_PIECES} are possible"):
        pieces(Survey(notes=notes))
    assert PIECE * MOST_PIECES < 2**20


def test_a_records_layers_that_are_not_on_the_disk_come_through_too() -> None:
    record = contents(cached("r/app:v1", layers="abc"))
    together = Pieces()
    for fields in pieces(Survey(record=record)):
        together.take(fields)
    found = together.survey()
    assert found is not None
    assert isinstance(found.record, Contents)
    assert found.record == record
