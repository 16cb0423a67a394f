from __future__ import annotations

from deployer.readiness.boot_log import relevant_lines

GUNICORN = """\
[2026-01-01 10:00:00 +0000] [7] [INFO] Booting worker with pid: 7
[2026-01-01 10:00:00 +0000] [7] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "blasto/__init__.py", line 1, in <module>
ZeroDivisionError: division by zero
[2026-01-01 10:00:00 +0000] [7] [INFO] Worker exiting (pid: 7)
Traceback (most recent call last):
gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>
""".splitlines()


def test_the_last_lines_are_shown():
    assert relevant_lines([str(number) for number in range(30)]) == [str(number) for number in range(10, 30)]
    assert relevant_lines([]) == []


def test_of_gunicorn_s_log_the_worker_s_own_exception_is_shown():
    assert relevant_lines(GUNICORN) == GUNICORN[1:5]


def test_a_long_exception_keeps_its_head_and_its_end():
    long = [GUNICORN[1], *(f"frame {number}" for number in range(50)), "ValueError: no", GUNICORN[5]]
    shown = relevant_lines(long)
    assert len(shown) == 20
    assert (shown[0], shown[-1]) == (GUNICORN[1], "ValueError: no")


def test_an_exception_that_is_cut_off_is_shown_to_its_end():
    assert relevant_lines(GUNICORN[:4]) == GUNICORN[1:4]


UVICORN = """\
INFO:     Started server process [7]
ERROR:    Traceback (most recent call last):
  File "/opt/venv/lib/python3.12/site-packages/starlette/routing.py", line 694, in lifespan
    async with self.lifespan_context(app) as maybe_state:
  File "/app/main.py", line 7, in lifespan
    raise RuntimeError("no database")
RuntimeError: no database

ERROR:    Application startup failed. Exiting.
""".splitlines()


def test_of_uvicorn_s_log_the_app_s_exception_is_shown():
    assert relevant_lines(UVICORN) == UVICORN[1:7]


def test_the_script_that_starts_a_server_is_not_the_app_s_own_code():
    of_server = [
        "Traceback (most recent call last):",
        '  File "/env/bin/gunicorn", line 8, in <module>',
        '  File "/env/lib/python3.13/site-packages/gunicorn/app/wsgiapp.py", line 66, in run',
        "gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>",
    ]
    of_script = ["Traceback (most recent call last):", '  File "/app/bin/serve", line 8, in <module>', "KeyError: 'A'"]
    assert relevant_lines(GUNICORN[:6] + of_server) == GUNICORN[1:5]
    assert relevant_lines([*of_script, *of_server]) == of_script


def test_the_same_exception_of_several_workers_is_shown_once():
    assert relevant_lines(GUNICORN[:6] + GUNICORN) == GUNICORN[1:5]


def test_what_led_to_an_exception_is_shown_with_it():
    chain = [
        "Traceback (most recent call last):",
        '  File "/app/settings.py", line 1, in <module>',
        "KeyError: 'SECRET_KEY'",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        '  File "/opt/venv/lib/python3.12/site-packages/django/conf.py", line 2, in load',
        "ImproperlyConfigured: set SECRET_KEY",
    ]
    assert relevant_lines(["starting", *chain, GUNICORN[5]]) == chain


def test_a_traceback_of_the_server_alone_is_not_preferred_to_its_last_lines():
    of_server = [
        "Traceback (most recent call last):",
        '  File "/usr/lib/python3.12/x.py", line 1',
        "OSError: no",
        "bye",
    ]
    assert relevant_lines(of_server) == of_server


PYDANTIC = """\
Traceback (most recent call last):
  File "/app/settings.py", line 9, in <module>
    settings = Settings()
  File "/opt/venv/lib/python3.12/site-packages/pydantic_settings/main.py", line 1, in __init__
    super().__init__()
pydantic_core._pydantic_core.ValidationError: 2 validation errors for Settings
database_url
  Field required [type=missing, input_value={}, input_type=dict]
secret_key
  Field required [type=missing, input_value={}, input_type=dict]
""".splitlines()


def test_a_message_of_several_lines_is_shown_to_its_end():
    assert relevant_lines(PYDANTIC) == PYDANTIC
    assert relevant_lines([GUNICORN[1], *PYDANTIC, *GUNICORN[5:]]) == [GUNICORN[1], *PYDANTIC]
    assert relevant_lines([*PYDANTIC, "", UVICORN[-1]]) == PYDANTIC


def test_what_the_process_wrote_after_an_exception_is_shown_too():
    handled = [
        "ERROR:root:no ujson, going on without",
        "Traceback (most recent call last):",
        '  File "/app/serve.py", line 3, in <module>',
        "ModuleNotFoundError: No module named 'ujson'",
    ]
    fatal = "fatal: DATABASE_URL is not set"
    assert relevant_lines([*handled, "", fatal]) == [*handled[1:], fatal]
    assert relevant_lines([*handled, *GUNICORN[:1], fatal]) == [*handled[1:], fatal]
    many = [f"INFO:root:step {number}" for number in range(50)]
    assert relevant_lines([*handled, *many, fatal]) == [*handled[1:], *many[-4:], fatal]
    long = [*handled[1:3], *["    frame"] * 50, handled[3]]
    assert relevant_lines([*long, "", fatal]) == [long[0], *long[-18:], fatal]


def test_an_exception_group_is_shown_as_a_whole():
    group = """\
  + Exception Group Traceback (most recent call last):
  |   File "/app/serve.py", line 5, in <module>
  |     raise ExceptionGroup("two", errors)
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/app/serve.py", line 3, in <module>
    | KeyError: 'DATABASE_URL'
    +---------------- 2 ----------------
    | ValueError: no
    +------------------------------------
""".splitlines()
    assert relevant_lines(["starting", *group, GUNICORN[5]]) == group
