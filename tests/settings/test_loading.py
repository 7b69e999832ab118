"""Settings come from the file and the environment; each value knows from where; mistakes are all told at once."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.kit.errors import ConfigurationError
from mainstay.settings import LOCAL, Settings, SettingsError, with_default_deployments
from mainstay.settings.document import MAX_BYTES

FULL = """\
[server]
host = "0.0.0.0"
port = 9000
workers = 4

[database]
url = "postgresql://mainstay:hidden@db/mainstay"

[logging]
format = "json"

[models]
default = "smollm2-135m-instruct"
preload = ["all-minilm-l6-v2"]

[[providers]]
name = "openai"
kind = "openai"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
proxy = "http://user:hidden@proxy:3128"
headers = { "X-Team" = "research" }
timeouts = { first_byte_seconds = 300, total_seconds = 1200 }

[[providers]]
name = "azure-sweden"
kind = "azure"
base_url = "https://example.openai.azure.com"
api_version = "2024-10-21"
api_key_file = "azure.key"

[[deployments]]
name = "chat"
targets = [{ provider = "local", model = "smollm2-135m-instruct" }]

[[deployments]]
name = "big"
description = "The large one"
targets = [
  { provider = "azure-sweden", model = "gpt-4.1-prod", priority = 1 },
  { provider = "openai", model = "gpt-4.1" },
]
[deployments.prices]
input_per_million = 2
output_per_million = 8.0

[aliases]
"gpt-4.1" = "big"
"gpt-4o" = "gpt-4.1"

[[limits]]
requests_per_minute = 600
tokens_per_minute = 100_000
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def write(home: Path, text: str | bytes, *, mode: int = 0o600) -> Path:
    file = home / "mainstay.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return file


def load(home: Path, text: str | bytes = "", **environ: str) -> Settings:
    write(home, text)
    return Settings.load(home, environ)


def problems(home: Path, text: str | bytes, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(home, text, **environ)
    lines = caught.value.message.splitlines()
    assert lines[:100] == [str(problem) for problem in caught.value.problems][:100]
    return lines


def load_full(home: Path) -> Settings:
    (home / "azure.key").write_text("azure-hidden\n")
    (home / "azure.key").chmod(0o600)
    return load(home, FULL, OPENAI_API_KEY="sk-hidden")


def test_missing_file_means_defaults(home: Path):
    found = Settings.load(home, {})
    assert (found.server.host, found.server.port, found.server.workers) == ("127.0.0.1", 8080, 1)
    assert found.server.max_body_bytes < 100_000_000
    assert (found.models.default, found.logging.log_prompts) == ("auto", False)
    assert (found.deployments, found.aliases, found.warnings) == ((), {}, ())
    assert found.database_url.reveal() == f"sqlite:///{home}/mainstay.db"
    assert found.origin("server.port") == "default"
    assert found.limit_per_key.requests_per_minute is None


def test_full_file_is_read(home: Path):
    found = load_full(home)
    openai, azure = found.providers
    assert openai.api_key.reveal() == "sk-hidden"
    assert openai.headers["X-Team"].reveal() == "research"
    assert (openai.timeouts.connect_seconds, openai.timeouts.first_byte_seconds) == (10, 300)
    assert azure.api_key.reveal() == "azure-hidden"
    chat, big = found.deployments
    assert chat.target.provider == LOCAL
    assert (big.target.provider, big.prices.input_per_million, big.prices.currency) == ("openai", 2.0, "USD")
    assert found.aliases == {"gpt-4.1": "big", "gpt-4o": "gpt-4.1"}
    assert found.limit_per_key.tokens_per_minute == 100_000
    assert found.database_url.reveal().startswith("postgresql://")


def test_network_around_the_server_is_read(home: Path):
    found = load(
        home,
        '[server]\npublic_url = "https://ai.example.com:8443"\ntrusted_proxies = ["10.0.0.0/8", "fd00::1"]\n'
        'cors_origins = ["http://localhost:3000"]\n[outbound]\nallowed_networks = ["10.20.0.0/16"]\n'
        'name_servers = ["192.0.2.53", "::1"]\n[sign_in]\nsession_idle_minutes = 30\n',
    )
    assert found.server.public_url == "https://ai.example.com:8443"
    assert found.server.trusted_proxies == ("10.0.0.0/8", "fd00::1")
    assert found.server.cors_origins == ("http://localhost:3000",)
    assert (found.outbound.allowed_networks, found.outbound.name_servers) == (("10.20.0.0/16",), ("192.0.2.53", "::1"))
    assert (found.sign_in.session_idle_minutes, found.sign_in.session_max_hours) == (30, 168)


def test_each_value_knows_where_it_came_from(home: Path):
    found = load(home, FULL.replace("api_key_file", "# "), OPENAI_API_KEY="k", MAINSTAY_PORT="9001")
    assert found.server.port == 9001
    assert found.origin("server.port") == "MAINSTAY_PORT"
    assert found.origin("server.host") == "mainstay.toml:2"
    assert found.origin("server.region") == "default"
    assert found.origin("deployments", 1, "name") == "mainstay.toml:37"
    assert found.origin("aliases", "gpt-4.1") == "mainstay.toml:48"


def test_no_secret_shows_in_any_text_of_the_settings(home: Path):
    found = load_full(home)
    assert "hidden" not in repr(found)
    assert "Secret(****)" in repr(found)
    assert "research" not in repr(found)


def test_two_targets_are_accepted_with_a_warning_that_one_answers(home: Path):
    (warning,) = load_full(home).warnings
    assert str(warning).startswith(
        "mainstay.toml:39: Deployment 'big' has 2 targets; only one answers: 'gpt-4.1' at 'openai'"
    )


@pytest.mark.parametrize(
    ("variable", "value", "key", "expected"),
    [
        ("MAINSTAY_HOST", "::1", "server.host", "::1"),
        ("MAINSTAY_WORKERS", " 3 ", "server.workers", 3),
        ("MAINSTAY_REGION", "north", "server.region", "north"),
        ("MAINSTAY_PUBLIC_URL", "https://ai.example.com", "server.public_url", "https://ai.example.com"),
        ("MAINSTAY_LOG_LEVEL", "DEBUG", "logging.level", "debug"),
        ("MAINSTAY_LOG_FORMAT", "json", "logging.format", "json"),
        ("MAINSTAY_DEFAULT_MODEL", "tiny", "models.default", "tiny"),
        ("MAINSTAY_THREADS", "2", "models.threads", 2),
    ],
)
def test_environment_wins_over_the_file(home: Path, variable: str, value: str, key: str, expected: object):
    table, _, name = key.partition(".")
    found = load(home, "[server]\nport = 1\n", **{variable: value})
    assert getattr(getattr(found, table), name) == expected
    assert found.origin(key) == variable


def test_empty_variable_says_nothing(home: Path):
    found = load(home, "[server]\nport = 81", MAINSTAY_PORT="", MAINSTAY_DATABASE_URL=" ")
    assert (found.server.port, found.origin("server.port")) == (81, "mainstay.toml:2")


def test_variable_mends_what_the_file_has_wrong(home: Path):
    assert load(home, "[server]\nport = 'x'", MAINSTAY_PORT="82").server.port == 82


def test_bad_variable_is_named(home: Path):
    assert problems(home, "", MAINSTAY_PORT="eighty") == [
        'MAINSTAY_PORT: server.port must be a whole number from 0 to 65535, not "eighty".'
    ]


def test_bad_database_url_is_named_and_not_shown(home: Path):
    (line,) = problems(home, "", MAINSTAY_DATABASE_URL="mysql://user:hidden@db/x")
    assert line.startswith("MAINSTAY_DATABASE_URL: database.url must be sqlite:////")
    assert "hidden" not in line


def test_options_win_over_everything_and_none_says_nothing(home: Path):
    write(home, "[server]\nport = 1\nworkers = 2")
    found = Settings.load(
        home, {"MAINSTAY_PORT": "2"}, options={"server.port": 3, "server.workers": None, "models.default": "m"}
    )
    assert (found.server.port, found.server.workers, found.models.default) == (3, 2, "m")
    assert found.origin("server.port") == "command line"


def test_home_comes_from_the_argument_the_variable_or_the_default(home: Path, monkeypatch: pytest.MonkeyPatch):
    assert Settings.load(home, {"MAINSTAY_HOME": "/elsewhere"}).home == home
    assert Settings.load(None, {"MAINSTAY_HOME": str(home)}).home == home
    monkeypatch.setenv("HOME", str(home))
    assert Settings.load(None, {}).home == home / ".local/share/mainstay"
    assert Settings.load(None, {}).models_folder == home / ".cache/mainstay/models"


def test_relative_paths_become_absolute(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)
    assert Settings.load(Path("inner"), {}).home == home / "inner"
    assert load(home, '[models]\nfolder = "weights"').models_folder == home / "weights"
    (home / "sub").mkdir()
    monkeypatch.chdir(home / "sub")
    assert load(home, "", MAINSTAY_MODELS="weights").models_folder == home / "sub/weights"


def test_home_of_an_unknown_user_is_named(home: Path):
    with pytest.raises(SettingsError, match="MAINSTAY_HOME: '~nobody-of-that-name' is no path"):
        Settings.load(None, {"MAINSTAY_HOME": "~nobody-of-that-name"})


def test_misspelt_variable_is_a_warning(home: Path):
    found = load(home, "", MAINSTAY_PROT="1", MAINSTAY_SOMETHING_ELSE="1")
    assert [str(warning) for warning in found.warnings] == [
        "MAINSTAY_PROT: This variable means nothing here. Did you mean MAINSTAY_PORT?"
    ]


# Mistakes

PROVIDER = '[[providers]]\nname = "p"\nkind = "openai"\nbase_url = "https://x/v1"\n'
DEPLOYMENT = '[[deployments]]\nname = "chat"\ntargets = [{ provider = "local", model = "m" }]\n'


CASES = (Path(__file__).parent / "mistakes.txt").read_text().split("\n" + 40 * "-" + "\n")[1:]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rpartition("=> ")[2].strip()[:60])
def test_mistake_is_told_with_its_line_and_its_remedy(home: Path, case: str):
    text, _, line = case.rpartition("\n=> ")
    found = problems(home, text)
    assert any(problem.startswith(line.rstrip("\n")) for problem in found), found


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\n\n\xff", "mainstay.toml:3: This is not UTF-8 text"),
        (b"[server]\n\x00", "mainstay.toml:2: Invalid statement."),
        (b"\nx = " + b"[" * 5000, "mainstay.toml:2: The file is nested deeper than 32 levels"),
        (b"x = " + b"1" * 5000, "mainstay.toml: Exceeds the limit"),
        (b"x = " + b"{a=" * 300_000, "mainstay.toml:1: The file is nested deeper than 32 levels"),
        (b"a." * 500_000 + b"a = 1", "mainstay.toml:1: The file is nested deeper than 32 levels"),
        (b"#" * (MAX_BYTES + 1), "mainstay.toml: The file "),
        (b"\x00" * 10_000_000, "mainstay.toml: The file "),
    ],
    ids=["not UTF-8", "NUL", "deep arrays", "huge number", "deep tables", "deep key", "too large", "10 MB of NUL"],
)
def test_hostile_file_is_refused(home: Path, content: bytes, line: str):
    assert problems(home, content)[0].startswith(line)


def test_all_mistakes_are_told_at_once_from_top_to_bottom(home: Path):
    found = problems(
        home,
        '[server]\nport = "x"\nprot = 1\n[[providers]]\nname = "p"\nkind = "opneai"\nbase_url = "https://x"\n'
        '[[deployments]]\nname = "chat"\ntargets = [{ provider = "p", model = "" }, { provider = "q", model = "m" }]\n'
        '[aliases]\na = "b"\nb = "a"\n',
        MAINSTAY_WORKERS="0",
    )
    places = [line.partition(": ")[0] for line in found]
    assert places == ["MAINSTAY_WORKERS", *(f"mainstay.toml:{line}" for line in (2, 3, 6, 10, 10, 12, 13))]


def test_element_that_does_not_fit_is_not_also_reported_as_unknown(home: Path):
    found = problems(home, PROVIDER.replace('"openai"', "3") + DEPLOYMENT.replace("local", "p"))
    assert len(found) == 1


def test_mistakes_after_an_element_that_does_not_fit_keep_their_lines(home: Path):
    found = problems(home, '[[providers]]\nname = "bad"\n' + PROVIDER.replace("https", "ftp"))
    assert [line.partition(": ")[0] for line in found] == ["mainstay.toml:1"] * 2 + ["mainstay.toml:6"]


def test_thousands_of_mistakes_are_cut_short(home: Path):
    found = problems(home, "".join(f"k{number} = 1\n" for number in range(5000)).replace("\nk", "\nx"))[-1:]
    assert found == ["... and 4900 more problems."]


@pytest.mark.parametrize(
    "key", ["api_key = 12345678", "api_key = ['sk-hidden']", 'api_kye = "sk-hidden"', 'proxy = "sk-hidden"']
)
def test_secret_in_a_wrong_shape_is_not_shown(home: Path, key: str):
    text = "\n".join(problems(home, PROVIDER + key))
    assert "hidden" not in text
    assert "1234" not in text


def test_password_in_a_base_url_is_refused_and_not_shown(home: Path):
    for url in ("https://user:hidden@x/v1", "user:hidden@x"):
        (line,) = problems(home, PROVIDER.replace("https://x/v1", url))
        assert "hidden" not in line


@pytest.mark.parametrize("first", ["api_key = 'a'", "api_key_env = 'HOME_KEY'"])
def test_key_from_two_places_is_refused(home: Path, first: str):
    (home / "k").write_text("k")
    (home / "k").chmod(0o600)
    found = problems(home, PROVIDER + first + "\napi_key_file = 'k'", HOME_KEY="k")
    assert found == [f'mainstay.toml:6: Provider "p" has {first.partition(" ")[0]} and api_key_file; keep one of them.']


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"a\nb", b"\xff\xfe", b"a" * 20_000, "ключ".encode()])
def test_unusable_key_file_is_refused_and_not_shown(home: Path, content: bytes):
    (home / "key").write_bytes(content)
    (line,) = problems(home, PROVIDER + 'api_key_file = "key"')
    assert line.startswith("mainstay.toml:5: The key")
    assert "words" not in line


def test_keys_that_others_may_read_are_warned_of(home: Path):
    write(home, PROVIDER + "api_key = 'sk-hidden'", mode=0o644)
    (warning,) = Settings.load(home, {}).warnings
    assert str(warning).startswith("mainstay.toml:5: The api_key of provider")
    assert "chmod 600" in warning.message
    assert "hidden" not in warning.message
    (home / "key").write_text("sk-hidden")
    (home / "key").chmod(0o640)
    (warning,) = load(home, PROVIDER + "api_key_file = 'key'").warnings
    assert str(warning) == 'mainstay.toml:5: Others may read the key file "key"; run chmod 600 on it.'


def test_file_without_secrets_may_be_read_by_all(home: Path):
    write(home, PROVIDER, mode=0o644)
    assert Settings.load(home, {}).warnings == ()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_refused_without_waiting(home: Path, make):
    make(home / "mainstay.toml")
    with pytest.raises(SettingsError, match=r"mainstay\.toml: The file .* cannot be read: it is not a file\."):
        Settings.load(home, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_refused(home: Path):
    write(home, "", mode=0)
    with pytest.raises(SettingsError, match="cannot be read: Permission denied"):
        Settings.load(home, {})


def test_named_file_is_read_instead_and_must_exist(home: Path):
    file = home / "other.toml"
    with pytest.raises(SettingsError, match=r"other\.toml: There is no such file\."):
        Settings.load(home, {}, file=file)
    file.write_text("[server]\nport = 7")
    found = Settings.load(home, {}, file=file)
    assert (found.server.port, found.origin("server.port")) == (7, f"{file}:2")


def test_byte_order_mark_and_windows_line_ends_are_read(home: Path):
    found = load(home, b"\xef\xbb\xbf[server]\r\nport = 5\r\n")
    assert (found.server.port, found.origin("server.port")) == (5, "mainstay.toml:2")


# Deployments that nobody declared


def test_models_of_this_machine_become_deployments_when_none_are_declared(home: Path):
    found = with_default_deployments(
        load(home, '[aliases]\n"gpt-4o" = "chat"'), chat_model_id="tiny", embedding_model_id="mini"
    )
    assert [(one.name, one.target.provider, one.target.model) for one in found.deployments] == [
        ("chat", LOCAL, "tiny"),
        ("tiny", LOCAL, "tiny"),
        ("embeddings", LOCAL, "mini"),
        ("mini", LOCAL, "mini"),
    ]
    assert found.aliases == {"gpt-4o": "chat"}


def test_declared_deployments_stay_as_they_are(home: Path):
    found = load(home, DEPLOYMENT)
    assert with_default_deployments(found, chat_model_id="tiny", embedding_model_id=None) is found


def test_alias_to_none_of_the_models_of_this_machine_is_told(home: Path):
    found = load(home, '[aliases]\n"gpt-4o" = "cha"')
    with pytest.raises(SettingsError, match=r'mainstay\.toml:2: The alias "gpt-4o" leads to "cha".* mean "chat"'):
        with_default_deployments(found, chat_model_id="tiny", embedding_model_id=None)


# Whatever a file says

WORDS = st.sampled_from(
    re.findall(
        r"\S+",
        """server port host providers name kind base_url api_key api_key_file api_key_env ca_file headers proxy timeouts
        deployments targets provider model prices input_per_million description aliases limits per database url models
        folder preload x a.b""",
    )
)
SCALARS = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.datetimes(),
    st.text(max_size=8),
    WORDS,
    st.sampled_from(
        ["local", "openai", "azure", "https://x", "http://[", "sqlite:////x", "~zzz", "key", "/dev/zero", "\x00"]
    ),
)
DOCUMENTS = st.dictionaries(
    WORDS,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5)),
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(DOCUMENTS)
def test_any_document_loads_or_is_refused_with_reasons(home: Path, document: dict):
    message = load_or_refuse(home, "".join(toml_lines(document)).encode())
    assert message is None or all(line.startswith("mainstay.toml") for line in message.splitlines())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='[]{}=.,"\n #ab', max_size=100).map(str.encode))
def test_any_bytes_load_or_are_refused_with_reasons(home: Path, content: bytes):
    assert load_or_refuse(home, content) != ""


def load_or_refuse(home: Path, content: bytes) -> str | None:
    try:
        load(home, content)
    except ConfigurationError as error:
        return error.message
    return None


def toml_lines(document: dict):
    for key, value in document.items():
        yield f"{string(key)} = {toml(value)}\n"


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{string(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return string(value)
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def string(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


def test_documents_of_these_tests_are_toml():
    assert tomllib.loads("".join(toml_lines({"a": [{"b": "é"}, 1.5], "": True}))) == {"a": [{"b": "é"}, 1.5], "": True}


# Some tables only


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nport = 'x'\n", "mainstay.toml:2: server.port must be"),
        ("[server\n", "mainstay.toml:1: Expected"),
        ("[[providers]]\nname = 'p'\n", "mainstay.toml:1: "),
        ("[sever]\n", "mainstay.toml:1: Unknown key"),
    ],
)
def test_mistakes_outside_the_tables_that_are_needed_are_told_and_do_no_harm(home: Path, text: str, problem: str):
    write(home, text)
    found = Settings.load(home, {}, only=("database",))
    assert str(found.problems[0]).startswith(problem)
    assert found.database_url.reveal() == f"sqlite:///{home}/mainstay.db"


@pytest.mark.parametrize(
    "text",
    [
        "[database]\nurl = 'x'\n",
        "[database]\nulr = 'sqlite:////x'\n",
        "[databse]\nurl = 'sqlite:////x'\n",
        "[database]\nurl = 'sqlite:////x'\n[server",
    ],
)
def test_no_other_database_is_taken_than_the_one_that_was_perhaps_meant(home: Path, text: str):
    write(home, text)
    with pytest.raises(SettingsError):
        Settings.load(home, {}, only=("database",))


def test_file_that_cannot_be_parsed_does_not_matter_to_what_a_variable_says(home: Path):
    write(home, "[database]\nurl = 'sqlite:////x'\n[server")
    found = Settings.load(home, {"MAINSTAY_DATABASE_URL": "sqlite:////y"}, only=("database",))
    assert (found.database_url.reveal(), len(found.problems)) == ("sqlite:////y", 1)


def test_key_variable_that_only_the_server_needs_is_a_warning(home: Path):
    write(home, PROVIDER + "api_key_env = 'AZURE_KEY'\n")
    (warning,) = Settings.load(home, {}, needs_keys=False).warnings
    expected = 'AZURE_KEY is not set in this shell; the server needs it when it starts, as the key of "p".'
    assert str(warning) == f"mainstay.toml:5: {expected}"
    with pytest.raises(SettingsError, match="AZURE_KEY is not set"):
        Settings.load(home, {})


def test_mistake_that_a_variable_hides_is_a_warning(home: Path):
    (warning,) = load(home, "[server]\nport = 'x'\n", MAINSTAY_PORT="8000").warnings
    assert str(warning).startswith('mainstay.toml:2: server.port must be a whole number from 0 to 65535, not "x".')
    assert warning.message.endswith(" MAINSTAY_PORT is used instead.")


def test_array_that_is_empty_is_called_so(home: Path):
    (line,) = problems(home, '[[deployments]]\nname = "chat"\ntargets = []\n')
    assert line.endswith("must be an array of 1 to 64 elements, not an empty one.")


def test_values_that_are_wrong_themselves_are_told_beside_what_else_is_wrong(home: Path):
    text = '[server]\nhost = "not a host"\n[[providers]]\nname = "local"\nkind = "opneai"\nbase_url = "example.com"\n'
    places = [line.partition(": ")[0] for line in problems(home, text)]
    assert places == [f"mainstay.toml:{line}" for line in (2, 4, 5, 6)]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "fe80::1%eth0", "localhost", "my_host.example.org"])
def test_address_or_name_of_a_host_is_right(home: Path, host: str):
    assert load(home, f'[server]\nhost = "{host}"\n').server.host == host
