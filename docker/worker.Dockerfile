# A host that trains and chats. For a CPU-only host build with
# --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
FROM python:3.11-slim
ARG TORCH_INDEX=https://pypi.org/simple
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY pyproject.toml requirements.lock ./
RUN pip install --no-cache-dir --upgrade "pip>=25.1" \
    && pip install --no-cache-dir torch==2.13.0 --index-url "$TORCH_INDEX" \
    && pip install --no-cache-dir --group worker -c requirements.lock
COPY manage.py ./
COPY training ./training
COPY webapp ./webapp
COPY workers ./workers
COPY templates ./templates
COPY static ./static
COPY samples ./samples
RUN useradd --create-home app && mkdir /data && chown app /data
USER app
CMD ["celery", "-A", "workers", "worker", "-Q", "gpu,cpu", "--concurrency", "1"]
