# The site: Django and the playground, without torch.
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRADIO_ANALYTICS_ENABLED=False
WORKDIR /app
COPY pyproject.toml requirements.lock ./
RUN pip install --no-cache-dir --upgrade "pip>=25.1" \
    && pip install --no-cache-dir --group web -c requirements.lock
COPY manage.py ./
COPY training ./training
COPY webapp ./webapp
COPY templates ./templates
COPY static ./static
COPY samples ./samples
RUN useradd --create-home app && mkdir /data && chown app /data
# As in production, where names of files carry their hash; key and host serve only here.
RUN MOTHERTONGUE_PRODUCTION=1 MOTHERTONGUE_SECRET_KEY=build MOTHERTONGUE_HOSTS=build \
    MOTHERTONGUE_DATA=/tmp/build MOTHERTONGUE_STATIC=/app/collected \
    python manage.py collectstatic --noinput -v 0
USER app
EXPOSE 8000
CMD ["uvicorn", "webapp.asgi:application", "--host", "0.0.0.0", "--port", "8000"]
