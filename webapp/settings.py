"""All settings of the site. Everything that differs between machines is an environment
variable of `.env.example`; the defaults run on one machine with nothing installed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from webapp import env

ROOT = Path(__file__).resolve().parent.parent

# --- Where everything is kept -------------------------------------------------------
DATA = Path(env.text("MOTHERTONGUE_DATA", str(ROOT / "data"))).resolve()
FILES = DATA / "files"  # uploads, dataset versions, models (or the object store)
RUNS = DATA / "runs"  # what jobs write while they run
SAMPLES = ROOT / "samples"

# --- Production or one's own machine -------------------------------------------------
PRODUCTION = env.flag("MOTHERTONGUE_PRODUCTION")
DEBUG = env.flag("MOTHERTONGUE_DEBUG")


def _secret_key() -> str:
    """From the environment; on one's own machine made once and kept in the data folder."""
    if key := env.text("MOTHERTONGUE_SECRET_KEY"):
        return key
    if PRODUCTION:
        raise ImproperlyConfigured(
            "MOTHERTONGUE_SECRET_KEY is missing. Set it to a long random text."
        )
    file = DATA / "secret_key"
    if not file.exists():
        DATA.mkdir(parents=True, exist_ok=True)
        # Site, worker and chat may start at once: whoever links first is right.
        own = DATA / f"secret_key.{os.getpid()}"
        own.touch(mode=0o600)
        own.write_text(secrets.token_urlsafe(50), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(own, file)
        own.unlink()
    return file.read_text(encoding="utf-8")


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = env.names(
    "MOTHERTONGUE_HOSTS", "" if PRODUCTION else "localhost,127.0.0.1,[::1]"
)
if PRODUCTION and not ALLOWED_HOSTS:
    raise ImproperlyConfigured(
        "MOTHERTONGUE_HOSTS is missing. Set it to the site's names, separated by commas."
    )
CSRF_TRUSTED_ORIGINS = env.names("MOTHERTONGUE_ORIGINS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = PRODUCTION
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]  # asked from inside, without TLS
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PRODUCTION else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "SAMEORIGIN"  # the playground is framed by our own pages
SILENCED_SYSTEM_CHECKS = ["security.W019"]  # wants DENY, for sites that frame nothing

# --- Django ----------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "webapp.core",
    "webapp.accounts",
    "webapp.workspaces",
    "webapp.datasets",
    "webapp.bases",
    "webapp.targets",
    "webapp.recipes",
    "webapp.jobs",
    "webapp.models",
    "webapp.playground",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "webapp.core.middleware.content_security_policy",
    "webapp.core.middleware.whole_page_to_sign_in",
]
ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "webapp.workspaces.context.workspace",
            ],
            "builtins": [
                "django.templatetags.i18n",
                "django.templatetags.static",
                "django.contrib.humanize.templatetags.humanize",
                "webapp.core.templatetags.show",
                "webapp.recipes.templatetags.recipes",
            ],
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English"))]
LOCALE_PATHS = [ROOT / "webapp" / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"

# --- Files -----------------------------------------------------------------------------
STATIC_URL = "static/"
STATICFILES_DIRS = [ROOT / "static"]
# Collected while an image is built, where there is no data folder yet.
STATIC_ROOT = Path(env.text("MOTHERTONGUE_STATIC") or DATA / "static")
WHITENOISE_USE_FINDERS = not PRODUCTION
MEDIA_ROOT = FILES
_bucket = env.text("MOTHERTONGUE_BUCKET")
STORAGES = {
    "default": (
        {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": _bucket,
                "endpoint_url": env.text("MOTHERTONGUE_BUCKET_ENDPOINT") or None,
                "file_overwrite": False,
            },
        }
        if _bucket
        else {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    ),
    "staticfiles": {
        "BACKEND": (
            "whitenoise.storage.CompressedManifestStaticFilesStorage"
            if PRODUCTION
            else "django.contrib.staticfiles.storage.StaticFilesStorage"
        )
    },
}
# Bodies are streamed to disk piece by piece (webapp/datasets/uploads.py).
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
UPLOAD_LIMIT_BYTES = env.integer("MOTHERTONGUE_UPLOAD_LIMIT_GB", 50) * 1024**3

# Folders from which base models may be registered; empty: any on one's own machine, none
# in production.
BASE_FOLDERS = env.names("MOTHERTONGUE_BASE_FOLDERS")

# --- Jobs ------------------------------------------------------------------------------
# Empty: workers poll the database. The message of a broker only says "look".
BROKER_URL = env.text("MOTHERTONGUE_BROKER_URL")
LEASE_SECONDS = env.integer("MOTHERTONGUE_LEASE_SECONDS", 60)
LEASE_RENEWAL_SECONDS = env.integer("MOTHERTONGUE_LEASE_RENEWAL_SECONDS", 10)
SELF_FENCE_SECONDS = env.integer("MOTHERTONGUE_SELF_FENCE_SECONDS", 45)
STOP_GRACE_SECONDS = env.integer("MOTHERTONGUE_STOP_GRACE_SECONDS", 30)
DATABASES = {
    "default": env.database(env.text("DATABASE_URL"), DATA, idle_seconds=LEASE_SECONDS)
}
# The program that runs a job; empty: this Python with `-m training`. A host may put a
# launcher or a sandbox before it. SPEC.json and RUN_DIR are appended.
ENGINE = env.text("MOTHERTONGUE_ENGINE")
# A worker gives a job so many of its GPUs; stages that learn use them together.
GPUS_PER_JOB = max(1, env.integer("MOTHERTONGUE_GPUS_PER_JOB", 1))
ATTEMPTS_WITHOUT_CHECKPOINT = 3
UNDO_DAYS = 7

# --- Chat ------------------------------------------------------------------------------
CHAT_RUNTIME_URL = env.text("MOTHERTONGUE_CHAT_URL", "http://127.0.0.1:8601")
# Between playground and runtime; derived, so that both sides of one installation agree.
CHAT_RUNTIME_TOKEN = env.text("MOTHERTONGUE_CHAT_TOKEN")

# --- Log -------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {
        "handlers": ["console"],
        "level": env.text("MOTHERTONGUE_LOG_LEVEL", "INFO"),
    },
}
