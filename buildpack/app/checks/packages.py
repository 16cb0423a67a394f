"""The modules and programs that well-known packages bring.

A package that is not in these tables may bring a module of any name, so the checks say nothing definite beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal

_SAME = """
aiobotocore aiocache aiofiles aiohappyeyeballs aiohttp aiohttp-cors aiomysql aioredis aiosignal aiosmtplib aiosqlite
alembic altair altgraph amqp anthropic anyio apispec apscheduler arel argcomplete arq arrow asgiref asn1crypto
async-timeout asyncmy asyncpg authlib autobahn automat babel backoff bcrypt billiard bleach blessed blinker blosc
bokeh boto boto3 botocore bottle cachecontrol cachelib cachetools cairocffi cairosvg celery celery-types cerberus
certifi channels channels-redis chardet charset-normalizer chromadb circus click click-didyoumean click-plugins
click-repl cloudinary cloudpickle colorama coloredlogs colorlog colour constantly contourpy coverage croniter
cryptography cssselect cycler daphne dash dataclasses-json datadog ddtrace decorator deepdiff defusedxml deprecated
dill diskcache distributed distro dj-database-url dj-rest-auth django django-celery-beat django-celery-results
django-countries django-extensions django-heroku django-htmx django-redis django-rq django-tables2 docker docopt
docutils dramatiq drf-spectacular drf-yasg duckdb ecdsa elasticsearch email-validator emoji environs eventlet
exceptiongroup executing fabric faker falcon fastapi fastapi-cli fastavro fastjsonschema feedparser filelock
firebase-admin flask flask-admin flask-appbuilder flask-apscheduler flask-babel flask-bcrypt flask-caching
flask-celery flask-compress flask-cors flask-debugtoolbar flask-httpauth flask-jwt flask-jwt-extended flask-limiter
flask-login flask-mail flask-mailman flask-marshmallow flask-migrate flask-openid flask-pymongo flask-restful
flask-restplus flask-restx flask-seasurf flask-security flask-session flask-smorest flask-sock flask-socketio
flask-sqlalchemy flask-talisman flask-uploads flask-wtf flower frozenlist fsspec furl gensim geoip2 geopandas geopy
gevent gitdb gradio granian graphene graphene-django greenlet gspread gunicorn h11 h2 hiredis honcho hpack html2text
html5lib httpbin httpcore httplib2 httptools httpx huey humanfriendly humanize hupper hypercorn hyperframe hyperlink
hypothesis idna importlib-metadata importlib-resources incremental inflection iniconfig invoke ipdb ipywidgets isodate
itsdangerous jedi jinja2 jmespath joblib jsonfield jsonlines jsonpatch jsonpickle jsonschema jsonschema-specifications
jupyter-client jupyter-core keras keyring kiwisolver kombu langchain langchain-community langchain-core
langchain-openai ldap3 limits litellm litestar llvmlite loguru lxml mako mangum markdown markupsafe marshmallow
marshmallow-sqlalchemy maxminddb mccabe mistune mlflow mongoengine more-itertools moto motor mpmath msgpack msgspec
multidict mypy nbformat networkx newrelic nltk numba numexpr numpy oauth2client oauthlib openai openapi-spec-validator
openpyxl ordered-set orjson outcome packaging pandas pandera paramiko parsedatetime parso passlib pathspec patsy
pendulum pexpect phonenumbers pika pint pip pipenv platformdirs plotly pluggy polars posthog prefect premailer
prettytable prometheus-client prometheus-flask-exporter promise prompt-toolkit propcache psutil psycogreen psycopg
psycopg-binary psycopg-c psycopg-pool psycopg2 ptyprocess pudb pwdlib pyaml pyarrow pyasn1 pyasn1-modules pycountry
pycparser pydantic pydantic-core pydantic-extra-types pydantic-settings pydub pyfcm pygments pyld pymssql
pyodbc pyotp pyparsing pypdf pyphen pypika pyqrcode pyramid pytesseract pytest-django python-http-client pytz
pytz-deprecation-shim pywebpush qrcode quart quart-cors raven readchar redis referencing regex reportlab requests
requests-cache requests-oauthlib requests-toolbelt responses retrying rich rich-toolkit rq rq-dashboard rq-scheduler
rsa ruff s3fs s3transfer sanic sanic-ext scipy scrapy seaborn selenium sendgrid sentence-transformers sentry-sdk
setproctitle shapely shellingham shortuuid simple-websocket simplejson six slack-bolt slack-sdk slowapi smart-open
smmap sniffio sortedcontainers soupsieve spacy sqlalchemy sqlalchemy-utils sqlmodel sqlparse sse-starlette starlette
statsd statsmodels streamlit stripe structlog supabase supervisor sympy tablib tabulate tenacity tensorflow termcolor
thinc threadpoolctl tiktoken tinycss2 tldextract tokenizers toml tomli tomlkit toolz torchvision tornado tqdm
traitlets transformers treq trio tweepy twilio twisted txaio typeguard typer typing-extensions typing-inspection
tzdata tzlocal ujson unidecode uritemplate urllib3 uvicorn uvicorn-worker uvloop vine voluptuous wagtail waitress
watchdog watchfiles watchgod wcwidth weasyprint webargs webassets webencodings webob websockets webtest werkzeug wheel
whitenoise wrapt wsproto wtforms xlrd xlsxwriter xlwt xmlsec xmltodict yarl yfinance yt-dlp zeep zipp
"""
"""Packages that install one module, which has the package's name with ``_`` for ``-``, unless `_OTHER` lists it."""

_FIRST_PART = """
argon2-cffi azure-storage-blob dogpile-cache factory-boy faiss-cpu jaraco-text mysql-connector-python opentelemetry-api
opentelemetry-instrumentation opentelemetry-sdk psycopg2-binary rpds-py ruamel-yaml snowflake-connector-python
tensorflow-cpu tortoise-orm websocket-client zope-interface
"""
"""Packages whose module is the first part of their name."""

_OTHER_PARTS = """
django-allauth django-anymail django-axes django-bootstrap4 django-crispy-forms django-debug-toolbar django-environ
django-guardian django-import-export django-ninja django-phonenumber-field django-storages django-taggit
django-widget-tweaks python-dateutil python-decouple python-docx python-dotenv python-engineio python-jose python-magic
python-pptx python-slugify python-socketio python3-openid
"""
"""Packages whose module is their name without its first part."""

_OTHER = """
argon2-cffi-bindings _argon2_cffi_bindings
attrs attr attrs
beautifulsoup4 bs4
black black blackd blib2to3 _black_version
brotli brotli _brotli
cffi cffi _cffi_backend
configobj configobj validate
cython cython Cython pyximport
django-bootstrap5 bootstrap5 django_bootstrap5
django-ckeditor ckeditor ckeditor_uploader
django-cors-headers corsheaders
django-filter django_filters
django-oauth-toolkit oauth2_provider
djangorestframework rest_framework
djangorestframework-simplejwt rest_framework_simplejwt
dnspython dns
fonttools fontTools
gitpython git
google-api-python-client googleapiclient apiclient
grpcio grpc
grpcio-tools grpc_tools
ipython IPython
markdown-it-py markdown_it
matplotlib matplotlib mpl_toolkits pylab
mysqlclient MySQLdb
opencv-contrib-python cv2
opencv-contrib-python-headless cv2
opencv-python cv2
opencv-python-headless cv2
pastedeploy paste
peewee peewee playhouse pwiz
phonenumberslite phonenumbers
pillow-simd PIL
pillow PIL
protobuf google
pycryptodome Crypto
pycryptodomex Cryptodome
pycurl curl pycurl
pygithub github
pyjwt jwt
pymongo pymongo bson gridfs
pymupdf fitz pymupdf
pynacl nacl
pycrypto Crypto
pymysql pymysql MySQLdb
pyopenssl OpenSSL
pypdf2 PyPDF2
pysocks socks sockshandler
pytest pytest _pytest py
python-json-logger pythonjsonlogger
python-ldap ldap ldapurl ldif slapdtest
filemagic magic
python-memcached memcache
python3-memcached memcache
python-multipart multipart python_multipart
python-telegram-bot telegram
pyyaml yaml _yaml
pyzmq zmq
scikit-image skimage
scikit-learn sklearn
setuptools setuptools pkg_resources _distutils_hack distutils
social-auth-app-django social_django
social-auth-core social_core
strawberry-graphql strawberry strawberry_django
torch torch functorch torchgen
unittest-xml-reporting xmlrunner
uwsgi uwsgi uwsgidecorators
"""
"""Packages whose modules have other names: the package, then its modules."""

SHARED = frozenset({"azure", "backports", "dogpile", "google", "jaraco", "opentelemetry", "paste", "ruamel", "zope"})
"""Names that many packages put modules into."""

_OWN_PROGRAM = """
aerich alembic arq celery chainlit daphne dramatiq flask granian gunicorn honcho hypercorn litestar quart rq sanic
scrapy streamlit uvicorn
"""
"""Packages whose program has their name."""

PROGRAMS: Mapping[str, tuple[str, ...]] = {name: (name,) for name in _OWN_PROGRAM.split()} | {
    "circusd": ("circus",),
    "ddtrace-run": ("ddtrace",),
    "django-admin": ("django",),
    "fastapi": ("fastapi-cli", "fastapi"),
    "huey_consumer": ("huey",),
    "huey_consumer.py": ("huey",),
    "newrelic-admin": ("newrelic",),
    "opentelemetry-instrument": ("opentelemetry-instrumentation",),
    "pserve": ("pyramid",),
    "rqscheduler": ("rq-scheduler",),
    "supervisord": ("supervisor",),
    "uwsgi": ("uwsgi", "pyuwsgi"),
    "waitress-serve": ("waitress",),
}
"""Programs that Procfiles run, and the packages that bring each."""


@cache
def _tables() -> tuple[Mapping[str, frozenset[str]], Mapping[str, tuple[str, ...]]]:
    """Return each package's modules, and the packages that bring each module."""
    modules = {name: frozenset({name.replace("-", "_")}) for name in _SAME.split()}
    for line in filter(None, _OTHER.splitlines()):
        name, *others = line.split()
        modules[name] = frozenset(others)
    modules |= {name: frozenset({name.partition("-")[0]}) for name in _FIRST_PART.split()}
    modules |= {name: frozenset({name.partition("-")[2].replace("-", "_")}) for name in _OTHER_PARTS.split()}
    owners: dict[str, list[str]] = {}
    for name in reversed(modules):
        for module in modules[name] - SHARED:
            owners.setdefault(module, []).append(name)
    return modules, {module: tuple(names) for module, names in owners.items()}


def modules_of(packages: Iterable[str]) -> frozenset[str] | None:
    """Return the modules that these packages bring; None if one of them is not known here."""
    known, _ = _tables()
    found = [known.get(name) for name in packages]
    return None if None in found else frozenset(module for own in found if own is not None for module in own)


def find_owners(module: str) -> tuple[str, ...]:
    """Return the well-known packages that bring a module, the usual one first; none if it is not known here."""
    return _tables()[1].get(module, ())


def has_only_python(stack: str | None) -> bool:
    """Return True if a stack is known to bring no packages."""
    return kind_of_stack(stack) != "other"


def kind_of_stack(stack: str | None) -> Literal["host", "slim", "full", "other"]:
    """Return the kind of a stack; None is the default one."""
    if stack is None or stack == "host":
        return "host" if stack else "slim"
    name = stack.removeprefix("docker.io/").removeprefix("library/")
    if not name.startswith("python:"):
        return "other"
    return "slim" if "slim" in name or "alpine" in name else "full"
