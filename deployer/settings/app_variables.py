"""Reads from app.json's ``env`` the variables of an app's processes: defaults, secrets to make, required ones.

The schema is Heroku's ("app.json Schema", ``env``). A secret is made once for each app and kept in the store, so it is
the same in each run and is not in the app's folder, where it could be committed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from buildpack.app.app_json import read_app_json
from buildpack.dataclass import dataclass, field
from buildpack.errors import AppError
from buildpack.system.temporary import make_folder
from deployer.errors.commands import secrets_made, variables_lacking, variables_required

_FOLDER = "secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Variables of app.json, which all others override, and the names of required ones that have no value.

    `made` are the secrets that were made just now. `doubtful` have no value, and app.json does not say explicitly that
    they are required, which is the default of Heroku's schema.
    """

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    place: Path = Path()
    made: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()

    def below(self, assigned: Mapping[str, str]) -> dict[str, str]:
        """Return all variables: those in `assigned`, and these for the ones that are not assigned or empty."""
        return {**assigned, **{name: value for name, value in self.values.items() if not assigned.get(name)}}

    def tell(
        self, *, say: Callable[[str], object], warn: Callable[[str], object], insist: bool, own_file: bool = True
    ) -> None:
        """Report new secrets, and warn of variables without a value; with `insist` raise AppError for required ones.

        `own_file` is true if the command reads the app's .env.
        """
        if self.made:
            say(secrets_made(self.made, self.place))
        if self.required and insist:
            raise variables_required(self.required)
        for names, required in ((self.required, True), (self.doubtful, False)):
            if names:
                warn(variables_lacking(names, required=required, own_file=own_file))


def default_variables(folder: Path, *, given: Collection[str], environ: Mapping[str, str] | None) -> Defaults:
    """Read the app's app.json; `given` are the variables that have a value from elsewhere.

    `environ` says where the store is, which keeps the secrets that are made: 64 hexadecimal digits, as on Heroku. With
    None none is made, and they count as variables without a value. An app.json that cannot be read results in no
    variables; the build reports the error.
    """
    try:
        variables = read_app_json(folder).variables()
    except AppError:
        return Defaults()
    values: dict[str, str] = {}
    made, place = [], Path()
    for name, variable in variables.items():
        if variable.value is not None:
            values[name] = variable.value
        elif variable.secret and name not in given and environ is not None:
            place = place_of_secrets(folder, environ)
            values[name], new = keep_secret(place, name, make=lambda: secrets.token_hex(32))
            made += [name] if new else []
    lacking = {name: each for name, each in variables.items() if not values.get(name) and name not in given}
    return Defaults(
        values=values,
        place=place,
        made=tuple(made),
        required=tuple(name for name, each in lacking.items() if each.required),
        doubtful=tuple(name for name, each in lacking.items() if each.required is None),
    )


def place_of_secrets(folder: Path, environ: Mapping[str, str]) -> Path:
    """Return the folder in the store for the secrets of the app in `folder`."""
    from buildpack.oci.store_path import find_store

    app = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:32]
    return find_store(environ)[0] / _FOLDER / app


def keep_secret(place: Path, name: str, *, make: Callable[[], str]) -> tuple[str, bool]:
    """Return the secret of this name in `place`, and True if it was made just now.

    Two processes that make one at the same time get the same.
    """
    make_folder(place.parent.parent)
    for each in (place.parent, place):
        make_folder(each, 0o700)
        each.chmod(0o700)  # an older version made it
    path, made = place / name, False
    if not path.exists():
        # A link fails if another process made the file in the meantime, and the file is never incomplete.
        beside = place / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                os.fchmod(file.fileno(), 0o600)  # with any umask
                file.write(make())
            os.link(beside, path)
            made = True
        except FileExistsError:
            pass
        finally:
            beside.unlink(missing_ok=True)
    return path.read_text(encoding="ascii"), made
