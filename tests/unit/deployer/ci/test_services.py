"""The services that add-ons stand for: their images, variables and passwords, and which of them are started."""

from __future__ import annotations

import pytest

from buildpack.app.app_json import Addon
from buildpack.errors import AppError, UsageError
from deployer.ci.services import choose_services, parse_service_images

POSTGRES, REDIS = Addon(name="heroku-postgresql"), Addon(name="heroku-redis")


def choose(*addons, images=None, given=(), warn=print):
    return choose_services(addons, images or {}, given=given, warn=warn, make=lambda: "s3cret")


def test_postgres():
    (service,) = choose(POSTGRES)
    assert (service.variable, service.image) == ("DATABASE_URL", "postgres:17")
    assert service.url("172.18.0.2") == "postgresql://app:s3cret@172.18.0.2:5432/app"
    assert service.environment == {"POSTGRES_USER": "app", "POSTGRES_DB": "app", "POSTGRES_PASSWORD": "s3cret"}
    assert service.probe == ("pg_isready", "-h", "127.0.0.1", "-U", "app", "-d", "app")
    assert "s3cret" not in repr(service)


def test_redis():
    (service,) = choose(REDIS)
    assert (service.variable, service.image) == ("REDIS_URL", "redis:7")
    assert service.url("172.18.0.2") == "redis://:s3cret@172.18.0.2:6379"
    assert service.command[:3] == ["redis-server", "--requirepass", "s3cret"]
    assert "s3cret" not in repr(service)


def test_names_versions_and_other_images():
    addons = (Addon(name="heroku-redis", attached_as="CACHE", version="8.2"), REDIS)
    assert [(one.variable, one.image) for one in choose(*addons)] == [
        ("CACHE_URL", "redis:8.2"),
        ("REDIS_URL", "redis:7"),
    ]
    images = parse_service_images(["heroku-redis=mirror.example.com/redis:6"])
    assert {one.image for one in choose(*addons, images=images)} == {"mirror.example.com/redis:6"}


def test_a_variable_that_is_given_starts_nothing():
    assert [one.addon for one in choose(POSTGRES, REDIS, given={"DATABASE_URL"})] == ["heroku-redis"]


def test_each_service_has_a_password_of_its_own():
    one, two = choose_services((POSTGRES, REDIS), {}, given=(), warn=print)
    assert one.password != two.password


def test_an_add_on_that_is_not_known_is_a_warning():
    warnings = []
    assert choose(Addon(name="papertrail"), warn=warnings.append) == ()
    (text,) = warnings
    assert "papertrail is not started" in text
    assert "--network" in text
    assert "--service-env" in text


def test_two_services_of_one_variable():
    with pytest.raises(AppError, match=r"two add-ons .* set REDIS_URL"):
        choose(REDIS, REDIS)


@pytest.mark.parametrize("text", ["heroku-redis", "heroku-redis=", "heroku-redis=A b", "papertrail=x:1", "=x:1"])
def test_what_is_not_an_image_for_a_service(text):
    with pytest.raises(UsageError, match="cannot be used"):
        parse_service_images([text])


def test_an_image_for_an_add_on_that_the_tests_do_not_have():
    with pytest.raises(UsageError, match="--service heroku-redis has nothing to start"):
        choose(POSTGRES, images={"heroku-redis": "redis:7"})
